"""Which subject decides, against a naive reference; and promise 5 on the compiled level.

The reference walks the order of the language as a person would: kind after kind, and inside a
kind the longest match. It shares no code with the package.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.policy.subjects import Packet, Process, role_of
from dnsfw.wire.name import from_text

ROLES = ("red", "green", "blue")
CGROUPS = st.lists(st.sampled_from(["a.slice", "b.service", "c"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
NETS = st.sampled_from(
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "::/0", "2001:db8::/32"]
)
DEVICES = st.sampled_from(["lan0", "lan1", "wan0"])
SUBJECT = st.one_of(
    CGROUPS.filter(lambda path: path != "/").map(lambda path: {"cgroup": path}),
    st.sampled_from(["a.slice", "b.service"]).map(lambda unit: {"cgroup": unit}),
    st.sampled_from(["/bin/a", "/bin/b"]).map(lambda path: {"executable": path}),
    st.integers(0, 2).map(lambda number: {"uid": number}),
    st.integers(0, 2).map(lambda number: {"gid": number}),
    NETS.map(lambda net: {"source": net}),
    st.tuples(NETS, DEVICES).map(lambda pair: {"source": pair[0], "interface": pair[1]}),
    DEVICES.map(lambda device: {"interface": device}),
    st.tuples(DEVICES, st.sampled_from(["host", *ROLES])).map(
        lambda pair: {"via": pair[0], "role": pair[1]}
    ),
)
Written = list[tuple[str, dict[str, object]]]
WRITTEN = st.lists(st.tuples(st.sampled_from(ROLES), SUBJECT), max_size=14)
PROCESS = st.builds(
    Process,
    cgroup=CGROUPS,
    uid=st.integers(0, 3),
    gid=st.integers(0, 3),
    executable=st.sampled_from(["", "/bin/a", "/bin/b"]),
    via=st.sampled_from(["", "lan0", "lan1", "wan0"]),
)
PACKET = st.builds(
    Packet,
    source=st.sampled_from(["10.1.1.1", "10.1.2.2", "10.9.9.9", "192.0.2.1", "2001:db8::1"]).map(
        ip_address
    ),
    interface=DEVICES,
)


def unambiguous(written: Written) -> Written:
    """Each subject once, and no unit beside the paths that may be it: that is tested elsewhere."""
    seen: dict[str, tuple[str, dict[str, object]]] = {}
    for role, who in written:
        if who.get("role") != role:
            seen.setdefault(str(who), (role, who))
    units = any("/" not in str(who.get("cgroup", "/")) for _, who in seen.values())
    return [
        pair
        for pair in seen.values()
        if not (units and str(pair[1].get("cgroup", "")).startswith("/"))
    ]


def compiled(written: Written) -> Policy:
    lines = ["version: 1", "default: deny", "roles:"]
    for name in ROLES:
        lines.append(f"  {name}:\n    default: deny")
        mine = [who for role, who in written if role == name]
        if mine:
            lines.append("    subjects:")
            lines += [
                "      - {" + ", ".join(f'{k}: "{v}"' for k, v in who.items()) + "}" for who in mine
            ]
    return compile_text("\n".join(lines))


def in_unit(path: str, unit: str) -> int:
    """How deep the unit stands in the path, with only slices above it; 0: not at all."""
    parts = path.strip("/").split("/")
    for depth in range(1, len(parts) + 1):
        if parts[depth - 1] == unit and all(p.endswith(".slice") for p in parts[: depth - 1]):
            return depth
    return 0


def naive_process(written: Written, facts: Process) -> str:
    best, best_depth = "", 0
    for role, who in written:
        wanted = str(who.get("cgroup", ""))
        if wanted.startswith("/"):
            depth = wanted.count("/") if (facts.cgroup + "/").startswith(wanted + "/") else 0
        else:
            depth = in_unit(facts.cgroup, wanted) if wanted else 0
        if depth > best_depth:
            best, best_depth = role, depth
    for key, value in (("executable", facts.executable), ("uid", facts.uid), ("gid", facts.gid)):
        if not best:
            best = next((role for role, who in written if who.get(key) == value != ""), "")
    best = best or "host"
    for role, who in written:
        if who.get("via") == facts.via and who.get("role") == best:
            return role
    return best


def naive_packet(written: Written, facts: Packet) -> str:
    for device in (facts.interface, None):
        longest, best = -1, ""
        for role, who in written:
            if "source" not in who or who.get("interface") != device:
                continue
            net = ip_network(str(who["source"]))
            inside = net.version == facts.source.version and facts.source in net
            if inside and net.prefixlen > longest:
                longest, best = net.prefixlen, role
        if best:
            return best
    for role, who in written:
        if "source" not in who and who.get("interface") == facts.interface:
            return role
    return "host"


@settings(max_examples=400, deadline=None)
@given(
    written=WRITTEN, processes=st.lists(PROCESS, max_size=6), packets=st.lists(PACKET, max_size=6)
)
def test_the_subject_that_decides_agrees_with_a_walk_through_the_order(
    written: Written, processes: list[Process], packets: list[Packet]
) -> None:
    written = unambiguous(written)
    policy = compiled(written)

    for process in processes:
        found = role_of(policy.subjects, process)
        assert policy.role_names[found.role] == naive_process(written, process), process
        assert found.by is None or found.by.role == found.role
        assert found.by not in found.lost
    for packet in packets:
        found = role_of(policy.subjects, packet)
        assert policy.role_names[found.role] == naive_packet(written, packet), packet


RULE = st.tuples(
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["a.com", "*.a.com", ".b.com", "b.a.com:443", "10.0.0.0/8", "10.1.1.1:443"]),
)
SHAPE = st.tuples(
    st.sampled_from(["allow", "deny"]),
    st.lists(RULE, max_size=5),
    st.sampled_from(["", "encrypted"]),
)
NAMES = ["a.com", "b.a.com", "x.b.a.com", "b.com", "x.b.com", "c.com", "dns.google"]
ADDRS = ["10.1.1.1", "10.2.2.2", "192.0.2.1", "169.254.169.254"]


def role_text(shape: tuple[str, list[tuple[str, str]], str]) -> list[str]:
    default, rules, word = shape
    lines = [f"default: {default}"]
    listed = [f"  - {verdict}: '{what}'" for verdict, what in rules]
    listed += ["  - deny: encrypted-dns"] if word else []
    return lines + (["rules:", *listed] if listed else [])


def alone(shape: tuple[str, list[tuple[str, str]], str]) -> Policy:
    return compile_text("\n".join(["version: 1", *role_text(shape)]))


@settings(max_examples=150, deadline=None)
@given(shapes=st.lists(SHAPE, min_size=2, max_size=4))
def test_promise_5_a_rule_of_one_role_never_judges_another(
    shapes: list[tuple[str, list[tuple[str, str]], str]],
) -> None:
    """Each role judges in company exactly as it would alone, and the kernel's tables of one
    role hold no rule of another.
    """
    lines = ["version: 1", *role_text(shapes[0]), "roles:"]
    for number, shape in enumerate(shapes[1:]):
        lines += [f"  r{number}:", *(f"    {line}" for line in role_text(shape))]
    try:
        policy = compile_text("\n".join(lines))
        singles = [alone(shape).host for shape in shapes]
    except PolicyError as error:
        assert "contradicts" in str(error), error
        return

    together = list(policy.roles.values())
    owners = {rule: role.role for role in together for rule in role.rules_by_id}
    assert len(owners) == sum(len(role.rules_by_id) for role in together), "no id in two roles"
    for entry in policy.plan().fixed:
        for fixed in entry.rules:
            assert owners.get(fixed.rule, entry.role) == entry.role
    for role, single in zip(together, singles, strict=True):
        for name in NAMES:
            shares = [(s.ports, s.verdict, s.rule and s.rule.text) for s in
                      role.judge(from_text(name)).shares]  # fmt: skip
            assert shares == [(s.ports, s.verdict, s.rule and s.rule.text) for s in
                              single.judge(from_text(name)).shares]  # fmt: skip
            assert all(s.rule is None or s.rule.role == role.role
                       for s in role.judge(from_text(name)).shares)  # fmt: skip
        for text in ADDRS:
            for proto, port in ((6, 443), (6, 853), (17, 53)):
                found = role.judge_addr(addr_from(text), proto, port)
                other = single.judge_addr(addr_from(text), proto, port)
                assert (found and found.verdict) == (other and other.verdict)
                assert found is None or found.rule is None or found.rule.role == role.role


@settings(max_examples=60, deadline=None)
@given(shape=SHAPE, other=SHAPE)
def test_row_139_a_role_more_or_less_widens_nobody(
    shape: tuple[str, list[tuple[str, str]], str], other: tuple[str, list[tuple[str, str]], str]
) -> None:
    text = "\n".join(["version: 1", *role_text(shape)])
    more = text + "\nroles:\n  extra:\n" + "\n".join(f"    {line}" for line in role_text(other))
    try:
        before, after = compile_text(text).host, compile_text(more).host
    except PolicyError as error:
        assert "contradicts" in str(error), error
        return

    for name in NAMES:
        allowed = {
            s.ports for s in after.judge(from_text(name)).shares if s.verdict is Verdict.ALLOW
        }
        assert allowed == {
            s.ports for s in before.judge(from_text(name)).shares if s.verdict is Verdict.ALLOW
        }
