"""Suffix tables without a kernel: a plain twin of suffix.h's walk, and policies to hold it to."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from dnsfw.datapath import abi
from dnsfw.engine.local import SPECIAL, local_answer
from dnsfw.model import Mode, Name, RoleId
from dnsfw.policy.buckets import UNIT, Buckets, buckets_for
from dnsfw.policy.compile import compile_text
from dnsfw.policy.fingerprints import Image, compile_prints, own_suffixes
from dnsfw.policy.listed_prints import PlainBuilder, build, empty, wanted
from dnsfw.policy.policy import Policy
from dnsfw.policy.siphash import begin, end, more
from dnsfw.wire.name import from_text, labels

KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
PASS, DEFAULT, ODD = abi.Outcome.PASS, abi.Outcome.DEFAULT, abi.Outcome.ODD
_ORDINARY = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


def image_of(policy: Policy, key: tuple[int, int] = KEY) -> Image:
    """The image of a policy, its lists' part built in plain Python."""
    tables = wanted(names.table for role in policy.roles.values() for names in role.lists)
    own = sum(len(own_suffixes(role)) for role in policy.roles.values()) + len(SPECIAL)
    count = sum(map(len, tables)) + own
    fill = build(tables, key, buckets_for(count), PlainBuilder) if tables else None
    listed = fill or empty(key, count)
    return compile_prints(policy, listed, tables, SPECIAL)


class Walk:
    """An image in plain memory, and suffix.h's walk over it."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.data = memoryview(bytearray(image.units * UNIT))
        image.write(self.data, 1)
        self.head = abi.SuffixHead.unpack(bytes(self.data[:UNIT]))
        slots = self.data[UNIT : UNIT * (1 + self.head.buckets)].cast("Q")
        self.buckets = Buckets(slots, self.head.buckets)

    def outcome(self, name: Name, role: RoleId) -> int:
        head = self.head
        column = self.data[UNIT * head.roles + role]
        parts = labels(name)
        if not column or len(parts) > abi.Suffix.LABELS:
            return PASS
        outcome = self._meaning(0, column)[min(len(parts), 2)]
        state = begin((head.key0, head.key1))
        place = 0
        for below in reversed(range(len(parts))):
            state = more(state, bytes((len(parts[below]),)) + parts[below])
            print_, own = end(state)
            place = own if len(parts) - below <= head.home else place
            if not (klass := self.buckets.find((print_, place))):
                continue
            meaning = self._meaning(klass, column)
            if meaning[3] & (abi.Stop.BELOW if below else abi.Stop.AT):
                return PASS
            outcome = meaning[min(below, 2)] or outcome
        if outcome == DEFAULT and any(set(part) - _ORDINARY for part in parts):
            return ODD
        return outcome

    def _meaning(self, klass: int, column: int) -> tuple[int, ...]:
        at = self.head.meanings * UNIT + (klass * self.head.columns + column - 1) * 8
        return struct.unpack_from("<4H", self.data, at)


def complaint(image: Image, policy: Policy, name: Name, role: RoleId, outcome: int) -> str:
    """What is wrong with an outcome, held against what the engine would say; empty: nothing."""
    if outcome == PASS:
        return ""
    ruled = policy.roles[role]
    judgement = ruled.judge(name)
    blame = image.blames[outcome - DEFAULT]
    if ruled.mode is not Mode.ENFORCE:
        return "an audit refuses nothing"
    if local_answer(name, 1, ruled) is not None:
        return "answered here"
    if judgement.answered:
        return "allowed"
    if judgement.rule is not None and judgement.rule.close is not None:
        return "it matters that it was asked"
    if (blame.rule and blame.rule.id) != (judgement.rule and judgement.rule.id):
        return f"blames {blame.rule} and not {judgement.rule}"
    return "" if blame.reason is judgement.reason else f"{blame.reason} is not {judgement.reason}"


# --- random policies: few labels, so that rules and names meet ---

_LABELS = ("a", "b", "c", "api-1", "api-2", "x", "ads", "www")
_TOPS = ("com", "net", "example", "test", "onion")
_PORTS = ("", "", "", ":443", ":22", ":443/tcp", ":53/udp", "/sctp", "/any")


def random_name(rng: random.Random) -> str:
    depth = rng.choice((0, 1, 1, 2, 2, 3, 4))
    return ".".join([*(rng.choice(_LABELS) for _ in range(depth)), rng.choice(_TOPS)])


def _pattern(rng: random.Random) -> str:
    name = f"{rng.choice(_LABELS)}.{random_name(rng)}"
    return rng.choice(("", "", "*.", ".", "+.", "api-*.", "*-1.")) + name


def random_policy(
    rng: random.Random, directory: Path, known: Mapping[str, int] | None = None
) -> Policy:
    """Two roles with rules and lists that overlap."""
    lists = []
    for number in range(rng.choice((0, 1, 2, 3))):
        path = directory / f"{rng.randrange(1 << 60):x}-{number}.txt"
        kind = rng.choice(("plain", "wildcard", "adblock"))
        path.write_text("".join(f"{line}\n" for line in _lines(rng, kind)))
        lists.append((path.name, kind))
    said = [f"default: {rng.choice(('allow', 'deny'))}", "rules:", *_rules(rng, lists, "")]
    how = rng.choice(("nxdomain", "nxdomain", "nxdomain", "refused", "zero"))
    said += [f"dns: {{refuse: {how}}}", "roles:", "  other:"]
    said += [f"    default: {rng.choice(('allow', 'deny'))}"]
    said += [f"    mode: {rng.choice(('enforce', 'enforce', 'enforce', 'audit'))}"]
    said += ["    rules:", *_rules(rng, lists, "    ")]
    text = "\n".join(["version: 1", *said, ""])
    return compile_text(text, str(directory / "policy.yaml"), known)


def _lines(rng: random.Random, kind: str) -> Iterator[str]:
    for _ in range(rng.randrange(1, 12)):
        name = f"{rng.choice(_LABELS)}.{random_name(rng)}"
        match kind:
            case "plain":
                yield name
            case "wildcard":
                yield rng.choice(("", "*.")) + name
            case _:
                option = rng.choice(("", "", "$important"))
                yield rng.choice(("||", "||", "||", "@@||", "||*.")) + name + "^" + option
    yield f"{rng.choice(_LABELS)}.fixed.example" if kind != "adblock" else "||fixed.example^"


def _rules(rng: random.Random, lists: list[tuple[str, str]], indent: str) -> Iterator[str]:
    seen = set()
    for _ in range(rng.randrange(1, 9)):
        what = _pattern(rng)
        if what in seen:
            continue
        seen.add(what)
        word = rng.choice(("allow", "deny"))
        more_ = "" if word == "allow" or rng.random() < 0.8 else ", close: asked"
        broad = ", broad: true" if word == "allow" else ""
        yield f'{indent}  - {{{word}: "{what}{rng.choice(_PORTS)}"{more_}{broad}}}'
    for name, kind in lists:
        if rng.random() < 0.7:
            means = rng.choice(("", ", as: suffix")) if kind == "plain" else ""
            word = rng.choice(("deny", "deny", "deny", "allow"))
            ports = rng.choice(("", "", "", ', ports: "443"'))
            broad = ", broad: true" if word == "allow" else ""
            yield f"{indent}  - {{{word}: {{list: {name}, format: {kind}{means}{ports}}}{broad}}}"


def odd_name(rng: random.Random) -> Name:
    """A name that lies at, below or beside one of the policies', perhaps with odd octets."""
    name = from_text(random_name(rng))
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        label = rng.choice((b"a", b"zz", b"api-9", b"A", b"a.b", b"\0", b"\xff", b"q" * 63))
        if len(name) + len(label) + 1 <= 255:
            name = Name(bytes((len(label),)) + label.lower() + name)
    return name
