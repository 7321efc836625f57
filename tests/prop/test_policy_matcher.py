"""The matcher against a naive reference that knows only lists of labels.

The reference shares no code with the package: it reads pattern texts itself, scans all
rules for every question, and compares two rules at a time by the sentence of the language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.errors import PolicyError
from dnsfw.model import Name, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN

Labels = tuple[str, ...]
PORTS = {
    "": range(65536),
    ":80": (80,),
    ":443": (443,),
    ":80,443": (80, 443),
    ":79-81": range(79, 82),
}
PROTOS = {"": None, "/tcp": (6,), "/udp": (17,)}
QUESTIONS = ((6, 80), (6, 443), (17, 80), (6, 22))


@dataclass(frozen=True)
class Naive:
    """A rule as the reference sees it."""

    verdict: str
    pattern: str
    ports: str
    proto: str
    order: int

    @property
    def text(self) -> str:
        return f"{self.verdict} {self.pattern}{self.ports}{self.proto}"

    @property
    def yaml(self) -> str:
        broad = ", broad: true" if self.verdict == "allow" and "*" in self.wide else ""
        return f'  - {{{self.verdict}: "{self.pattern}{self.ports}{self.proto}"{broad}}}'

    @property
    def wide(self) -> str:
        """Any pattern with a short suffix may be broad; exact ones never are."""
        return "*" if self.kind != "exact" else ""

    @property
    def kind(self) -> str:
        first = self.pattern.split(".")[0]
        if first == "":
            return "tree"
        if first == "+":
            return "one"
        if first == "*":
            return "below"
        return "glob" if "*" in first else "exact"

    @property
    def literal(self) -> list[str]:
        """The labels that stand for themselves."""
        labels = self.pattern.split(".")
        return labels if self.kind == "exact" else labels[1:]

    def covers(self, proto: int, port: int) -> bool:
        protos = PROTOS[self.proto] or (6, 17)
        return proto in protos and port in PORTS[self.ports]

    def matches(self, name: Labels) -> bool:
        tail = self.literal
        front = list(name[: len(name) - len(tail)])
        if len(name) < len(tail) or list(name[len(name) - len(tail) :]) != tail:
            return False
        if self.kind == "exact":
            return not front
        if self.kind == "tree":
            return True
        if self.kind == "below":
            return len(front) >= 1
        if len(front) != 1:
            return False
        if self.kind == "one":
            return True
        before, after = self.pattern.split(".")[0].split("*")
        for cut in range(len(before), len(front[0]) - len(after)):
            middle = front[0][len(before) : len(front[0]) - len(after)]
            return front[0] == before + middle + after and cut >= 0 and len(middle) >= 1
        return False


def beats(a: Naive, b: Naive) -> bool:
    """Exact first; then the longer literal suffix; at equal suffix glob, +., then *. and .;
    of two globs the one with more literal characters; then deny.
    """
    if (a.kind == "exact") != (b.kind == "exact"):
        return a.kind == "exact"
    if len(a.literal) != len(b.literal):
        return len(a.literal) > len(b.literal)
    order = {"exact": 0, "glob": 1, "one": 2, "below": 3, "tree": 3}
    if order[a.kind] != order[b.kind]:
        return order[a.kind] < order[b.kind]
    if a.kind == b.kind == "glob":
        length_a, length_b = (len(r.pattern.split(".")[0]) for r in (a, b))
        if length_a != length_b:
            return length_a > length_b
    if a.verdict != b.verdict:
        return a.verdict == "deny"
    return a.order < b.order


def winner(rules: Sequence[Naive], name: Labels, proto: int, port: int) -> Naive | None:
    competing = [rule for rule in rules if rule.covers(proto, port) and rule.matches(name)]
    ranked = sorted(competing, key=cmp_to_key(lambda a, b: -1 if beats(a, b) else 1))
    return ranked[0] if ranked else None


def wire(name: Labels) -> Name:
    return Name(b"".join(bytes((len(x),)) + x.encode("latin-1") for x in name) + b"\0")


LABEL = st.sampled_from(["a", "b", "ab", "aa", "aab", "aba", "x", "com"])
QUERY_LABEL = st.one_of(LABEL, st.sampled_from(["abab", "a-b", "a.b", "*", "b.com", "\x00", "é"]))
TAIL = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
GLOB = st.sampled_from(["a*", "b*", "ab*", "a*b", "a*a", "aa*", "a*ab"])
PATTERN = st.one_of(
    TAIL,
    TAIL.map(lambda t: f"*.{t}"),
    TAIL.map(lambda t: f".{t}"),
    TAIL.map(lambda t: f"+.{t}"),
    st.tuples(GLOB, TAIL).map(".".join),
)
RULE = st.tuples(
    st.sampled_from(["allow", "deny"]),
    PATTERN,
    st.sampled_from([*PORTS]),
    st.sampled_from([*PROTOS]),
)
RULES = st.lists(RULE, min_size=1, max_size=8).map(
    lambda rows: [Naive(*row, order) for order, row in enumerate(rows)]
)
NAME = st.lists(QUERY_LABEL, max_size=5).map(tuple)


def compiled(rules: Sequence[Naive], default: str) -> RolePolicy | None:
    """The role, or None where the file has a contradiction (that is tested elsewhere)."""
    lines = "\n".join(rule.yaml for rule in rules)
    try:
        return compile_text(f"version: 1\ndefault: {default}\nrules:\n{lines}\n").host
    except PolicyError as error:
        assert all("contradicts" in line for line in str(error).splitlines()), error
        return None


@settings(max_examples=400, deadline=None)
@given(
    rules=RULES,
    names=st.lists(NAME, min_size=1, max_size=12),
    default=st.sampled_from(["allow", "deny"]),
)
def test_the_matcher_agrees_with_a_scan_of_all_rules(
    rules: list[Naive], names: list[Labels], default: str
) -> None:
    policy = compiled(rules, default)
    if policy is None:
        return
    # Every name of a pattern is asked for as well: agreement at the edges is what matters.
    names += [tuple(rule.literal) for rule in rules]
    names += [("aab", *rule.literal) for rule in rules]
    names += [("b", "a", *rule.literal) for rule in rules]

    for name in names:
        judgement = policy.judge(wire(name))
        ordinary = all(c.isascii() and (c.isalnum() or c in "-_") for x in name for c in x)
        for proto, port in QUESTIONS:
            share = judgement.share(proto, port)
            if default == "deny" and not ordinary:
                assert share.verdict is Verdict.DENY, name
                continue
            expected = winner(rules, name, proto, port)
            if expected is None:
                assert share.rule is None, (name, proto, port)
                assert share.verdict.name.lower() == default
            else:
                assert share.rule is not None, (name, proto, port, expected)
                assert (share.rule.text.split()[0], share.rule.where.line - 4) == (
                    expected.verdict,
                    expected.order,
                ), (name, proto, port)


@settings(max_examples=150, deadline=None)
@given(rules=RULES, name=NAME, default=st.sampled_from(["allow", "deny"]))
def test_shares_never_overlap_and_cover_every_known_protocol(
    rules: list[Naive], name: Labels, default: str
) -> None:
    policy = compiled(rules, default)
    if policy is None:
        return

    shares = policy.judge(wire(name)).shares
    left = KNOWN
    for share in shares:
        assert not share.ports.minus(left), "a port in two shares"
        assert len(share.ports.ranges) <= 16
        left = left.minus(share.ports)

    assert not left


@settings(max_examples=100, deadline=None)
@given(rules=RULES, name=NAME)
def test_the_order_of_the_file_never_changes_a_verdict(rules: list[Naive], name: Labels) -> None:
    one, two = compiled(rules, "deny"), compiled(rules[::-1], "deny")
    if one is None or two is None:
        return

    for proto, port in QUESTIONS:
        verdicts = {p.judge(wire(name)).share(proto, port).verdict for p in (one, two)}
        assert len(verdicts) == 1


NET = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 8, 15, 16, 24, 31, 32])).map(
        lambda x: ip_network(((x[0] & 0x0A01FFFF) | 0x0A000000, x[1]), strict=False)
    ),
    st.tuples(st.integers(0, 2**128 - 1), st.sampled_from([0, 1, 32, 64, 96, 127, 128])).map(
        lambda x: ip_network((x[0] & 0xFFFF | 0x20010DB8 << 96, x[1]), strict=False)
    ),
    st.sampled_from(["::/0", "::/64", "::/80", "::/95", "0.0.0.0/0", "169.254.169.254"]).map(
        ip_network
    ),
)
ADDRESS_RULE = st.tuples(st.sampled_from(["allow", "deny"]), NET, st.sampled_from([*PORTS]))
METADATA = ("169.254.169.254", "fd00:ec2::254")


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(ADDRESS_RULE, min_size=1, max_size=8),
    addrs=st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), max_size=4),
    default=st.sampled_from(["allow", "deny"]),
)
def test_address_rules_agree_with_a_scan_and_so_does_the_kernels_list(
    rows: list[tuple[str, object, str]], addrs: list[object], default: str
) -> None:
    lines = []
    for verdict, net, ports in rows:
        host, _, bits = str(net).partition("/")
        host = f"[{host}]" if ":" in host else host
        lines.append(f'  - {verdict}: "{host}/{bits}{ports}"')
    try:
        text = f"version: 1\ndefault: {default}\nrules:\n" + "\n".join(lines)
        policy = compile_text(text).host
    except PolicyError as error:
        assert "contradicts" in str(error), error
        return
    asked = [ip_address(str(a)) for a in addrs] + [ip_address(m) for m in METADATA]
    asked += [net[0] for _, net, _ in rows] + [net[-1] for _, net, _ in rows]  # type: ignore[index]

    for addr in asked:
        if addr.version == 6 and addr.ipv4_mapped:
            continue
        for port in (80, 443, 22):
            fitting = [
                (-net.prefixlen, verdict == "allow", verdict)  # type: ignore[attr-defined]
                for verdict, net, ports in rows
                if net.version == addr.version and addr in net and port in PORTS[ports]  # type: ignore[attr-defined,operator]
            ]
            expected = min(fitting)[2] if fitting else None
            if default == "deny" and str(addr) in METADATA:
                inside = [f for f in fitting if f[0] == -addr.max_prefixlen]
                expected = min(inside)[2] if inside else "deny"
            found = policy.judge_addr(addr_from(addr), 6, port)
            assert (found.verdict.name.lower() if found else None) == expected, (addr, port)
            assert in_kernel(policy, addr_from(addr), port) == expected, (addr, port)


def in_kernel(policy: RolePolicy, addr: bytes, port: int) -> str | None:
    """The one entry of the longest prefix; the first rule in it that covers the port."""
    number = int.from_bytes(addr, "big")
    for entry in sorted(policy.addresses.entries, key=lambda e: -e.bits):
        if (number ^ int.from_bytes(entry.addr, "big")) >> (128 - entry.bits) == 0:
            covering = [rule for rule in entry.rules if rule.ports.covers(6, port)]
            return covering[0].verdict.name.lower() if covering else None
    return None
