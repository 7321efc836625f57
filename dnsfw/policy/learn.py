"""From what was observed to the smallest policy that allows it.

Rows come from a daemon or from a file that anybody could have written, so each is checked.
What comes out is exact names with the ports that were used, and addresses that no name
led to. A wildcard is proposed, never written: only past a number of siblings, and never at
or above a public suffix. Under observation names can be planted: every line says who asked.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from ipaddress import ip_address, ip_network
from typing import Any

from dnsfw.errors import ConfigError
from dnsfw.model import PortRange, PortSet
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.pattern import Kind
from dnsfw.policy.ports import HAVE_PORTS, PROTOCOLS, chunks, suffix_text
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Problems, Wrong, printable
from dnsfw.policy.psl import anybody_registers_below
from dnsfw.policy.syntax_yaml import read_document
from dnsfw.values import dataclass

__all__ = ["SIBLINGS", "Learned", "Lesson", "destinations", "learn", "read_rows", "render"]

SIBLINGS = 10  # names below one parent, before a wildcard is worth a thought
# What a rule can cure. The rest is no matter of rules (malformed, forged, lockdown), or a
# rule said no on purpose; `builtin` is the metadata services: nobody learns them.
_CURABLE = frozenset(
    (
        *("never-resolved", "default", "name-default", "wrong-port", "expired", "filtered"),
        "loopback-other",
    )
)
# As the engine's answer filter has them (engine/ranges.py, which a policy may not read).
_PRIVATE = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"),
        *("fc00::/7", "fec0::/10"),
    )
)
_COMMANDS_TOLD = 3
_PLAIN = re.compile(r"[a-z][a-z0-9.-]*(:[0-9,-]+)?(/[a-z]+)?")
_TEXTS = ("name", "protocol", "reason", "command", "verdict", "asker")
_LONGEST = 128  # of a text in a row; names have 253, and theirs is their own limit
_LONGEST_NAME = 1024  # escaped


@dataclass(slots=True)
class Lesson:
    """One thing that was wanted: a name or an address, on which ports, by whom."""

    what: str
    is_name: bool
    used: set[tuple[int, int]] = field(default_factory=set)  # (protocol number, port)
    tried: set[tuple[int, int]] = field(default_factory=set)  # of these nothing was ever sent
    count: int = 0  # attempts
    queries: int = 0  # for the name alone
    passed: bool = False  # observed under mode audit
    first: int = 0  # seconds since 1970
    last: int = 0
    commands: dict[str, None] = field(default_factory=dict)
    askers: dict[str, None] = field(default_factory=dict)  # where no command is known
    addresses: dict[str, None] = field(default_factory=dict)
    reasons: dict[str, None] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        number = PROTOCOLS.get(row["protocol"])
        if number is not None and (row["port"] or number not in HAVE_PORTS):
            pair = (number, row["port"] if number in HAVE_PORTS else 0)
            (self.used if row["sent"] else self.tried).add(pair)
        if row["protocol"]:
            self.count += row["count"]
        else:
            self.queries += row["count"]
        self.passed = self.passed or row["verdict"] == "allow"
        self.first = min(self.first or row["first"], row["first"])
        self.last = max(self.last, row["last"])
        if row["command"]:
            self.commands[row["command"]] = None
        elif row["asker"]:
            self.askers[row["asker"]] = None
        self.addresses.update(dict.fromkeys(row["addresses"]))
        self.reasons[row["reason"]] = None

    @property
    def ranges(self) -> set[tuple[int, int]]:
        """What a rule must open. A UDP socket that was only connected, where TCP was used on
        the same port, is how getaddrinfo sorts addresses (RFC 6724): nobody misses it.
        """
        tcp = PROTOCOLS["tcp"]
        return self.used | {(n, port) for n, port in self.tried if (tcp, port) not in self.used}

    @property
    def private(self) -> bool:
        """Does a rule for this name need `private: true`?"""
        return self.is_name and any(map(_is_private, self.addresses))

    @property
    def is_hopeless(self) -> bool:
        """Only loopback, link-local and the like were taken out of its answers: no rule's power."""
        return set(self.reasons) == {"filtered"} and not self.private


@dataclass(frozen=True, slots=True)
class Learned:
    """What a policy would have to say, and what only people can decide."""

    lessons: tuple[Lesson, ...]  # each becomes rules
    unported: tuple[Lesson, ...]  # names refused before anybody said for which port
    asked: tuple[Lesson, ...]  # names that were answered, and nobody connected
    refused: tuple[Lesson, ...]  # no rule is proposed: a rule or dnsfw said no on purpose
    proposals: tuple[tuple[str, int], ...]  # a wildcard, and how many names it stands for


def learn(rows: Iterable[Mapping[str, Any]], siblings: int = SIBLINGS) -> Learned:
    """What these rows of `server.observed` come to. ConfigError for a row that is none."""
    wanted: dict[str, Lesson] = {}
    refused: dict[str, Lesson] = {}
    for raw in rows:
        row = _checked(raw)
        where = wanted if row["reason"] in _CURABLE else refused
        what = row["name"] or next(iter(row["addresses"]), "")
        if what:
            where.setdefault(what, Lesson(what, bool(row["name"]))).add(row)
    ported: list[Lesson] = []
    unported: list[Lesson] = []
    asked: list[Lesson] = []
    for what, lesson in wanted.items():
        if lesson.is_hopeless or not destinations(lesson):
            refused.setdefault(what, lesson)
        elif lesson.ranges:
            ported.append(lesson)
        elif lesson.passed:
            asked.append(lesson)
        else:
            unported.append(lesson)
    return Learned(
        tuple(sorted(ported, key=_order)),
        tuple(sorted(unported, key=_order)),
        tuple(sorted(asked, key=_order)),
        tuple(sorted(refused.values(), key=_order)),
        tuple(_proposals(ported, siblings)),
    )


def destinations(lesson: Lesson) -> list[str]:
    """The destinations that would allow exactly this, as `--allow` and a rule take them.

    Empty where the language cannot say it.
    """
    what = lesson.what
    if not lesson.is_name and ":" in what:
        what = f"[{what}]"
    found = [what + suffix for suffix in _suffixes(lesson.ranges)] if lesson.ranges else [what]
    return [text for text in found if _means(text, lesson.is_name)]


def render(learned: Learned, when: Callable[[int], str], source: str) -> str:
    """A policy file. `when` writes a time for people; `source` says where the rows are from."""
    lines = [
        f"# Learned from {printable(source)}. Read every line before you use it:",
        "# whoever could run a program here could plant a name.",
        "version: 1",
        "default: deny",
    ]
    rules = [line for lesson in learned.lessons for line in _rule(lesson, when)]
    for lesson in learned.unported:
        rules += _rule(lesson, when, "any port: it was refused before one was known; narrow it")
    if rules:
        lines += ["", "rules:", *rules]
    if learned.asked:
        lines += ["", "# Asked for, but nobody connected to them; no rule is proposed:"]
        lines += [f"#   {_target(lesson)}: {_seen(lesson, when)}" for lesson in learned.asked]
    if learned.proposals:
        lines += ["", "# Proposals. One would let more pass than was seen:"]
        for pattern, count in learned.proposals:
            lines.append(f"#  - allow: {_quoted(pattern)}  # instead of {count} names above")
    if learned.refused:
        lines += ["", "# Refused on purpose, or by no rule's power; nothing is proposed:"]
        for lesson in learned.refused:
            reasons = ", ".join(lesson.reasons)
            lines.append(f"#   {_target(lesson)}: {reasons}; {_seen(lesson, when)}")
    return "\n".join(lines) + "\n"


def read_rows(text: str, file: str) -> list[Mapping[str, Any]]:
    """The rows of a report of `dnsfw run` (JSON or YAML). ConfigError if it is none."""
    document = read_document(text, file, Problems())
    value = document.value if document is not None else None
    rows = value.get("observed") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{file} is no report of `dnsfw run --report`: it has no 'observed' rows")
    return rows


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with what counts, of the right types; nothing in it can end a comment."""
    texts = {key: row.get(key, "") for key in _TEXTS}
    numbers = {key: row.get(key, 0) for key in ("port", "count", "first", "last")}
    addresses = row.get("addresses", [])
    sent = row.get("sent", True)  # reports of before say nothing of it
    good = (
        isinstance(sent, bool)
        and all(isinstance(text, str) for text in texts.values())
        and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers.values())
        and isinstance(addresses, list)
        and all(isinstance(address, str) and _is_address(address) for address in addresses)
        and 0 <= numbers["port"] < 65536
    )
    if not good:
        raise ConfigError(f"a row of the report is damaged: {printable(repr(row)[:_LONGEST])}")
    cut = {key: printable(text[:_LONGEST]) for key, text in texts.items()}
    more = {"name": texts["name"][:_LONGEST_NAME], "addresses": addresses, "sent": sent}
    return {**cut, **numbers, **more}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_private(text: str) -> bool:
    address = ip_address(text)
    return any(address.version == net.version and address in net for net in _PRIVATE)


def _suffixes(ranges: set[tuple[int, int]]) -> list[str]:
    """TCP and UDP in one where they want the same ports, else a destination a protocol."""
    by_protocol: dict[int, list[int]] = defaultdict(list)
    for number, port in sorted(ranges):
        by_protocol[number].append(port)
    tcp, udp = PROTOCOLS["tcp"], PROTOCOLS["udp"]
    sets: list[PortSet] = []
    if tcp in by_protocol and by_protocol[tcp] == by_protocol.get(udp):
        ports = by_protocol.pop(tcp)
        del by_protocol[udp]
        both = [PortRange(number, p, p) for number in (tcp, udp) for p in ports]
        sets.append(PortSet.of(both))
    for number, ports in by_protocol.items():
        if number in HAVE_PORTS:
            sets += chunks(PortSet.of(PortRange(number, p, p) for p in ports))
        else:
            sets.append(PortSet((PortRange(number),)))
    return [suffix_text(ports) for ports in sets]


def _means(text: str, name: bool) -> bool:
    """Is it a destination, and of a name exactly this name? A row may hold a wildcard."""
    try:
        what = parse_destination(text).what
    except Wrong:
        return False
    return isinstance(what, Prefix) or (name and what.kind is Kind.EXACT)


def _rule(lesson: Lesson, when: Callable[[int], str], more: str = "") -> list[str]:
    lines = [f"  # {_seen(lesson, when)}"]
    if more:
        lines.append(f"  # {more}")
    if not lesson.is_name:
        lines.append("  # by its address: no name led to it")
    for text in destinations(lesson):
        lines.append(f"  - allow: {_quoted(text)}")
        if lesson.private:
            shown = next(a for a in lesson.addresses if _is_private(a))
            lines.append(f"    private: true  # it answered {shown}")
    return lines


def _seen(lesson: Lesson, when: Callable[[int], str]) -> str:
    commands = list(lesson.commands or lesson.askers)
    who = ", ".join(commands[:_COMMANDS_TOLD]) or "unknown"
    if len(commands) > _COMMANDS_TOLD:
        who += f" and {len(commands) - _COMMANDS_TOLD} more"
    count = lesson.count or lesson.queries
    times = "once" if count == 1 else f"{count} times"
    span = when(lesson.first)
    if lesson.last != lesson.first:
        span += f" to {when(lesson.last)}"
    return f"{times} by {who}, {span}"


def _target(lesson: Lesson) -> str:
    texts = destinations(lesson)
    return ", ".join(texts) if texts else printable(lesson.what)


def _order(lesson: Lesson) -> tuple[bool, list[str]]:
    """Names first, neighbours together: by the labels from the right."""
    return (not lesson.is_name, lesson.what.split(".")[::-1] if lesson.is_name else [lesson.what])


def _proposals(lessons: Iterable[Lesson], siblings: int) -> Iterable[tuple[str, int]]:
    """`+.parent` on the ports that its children used, where there are enough of them."""
    families: dict[str, list[Lesson]] = defaultdict(list)
    for lesson in lessons:
        parent = lesson.what.partition(".")[2]
        if lesson.is_name and parent and not anybody_registers_below(parent):
            families[parent].append(lesson)
    for parent, family in sorted(families.items()):
        if len(family) >= siblings:
            wanted = {pair for lesson in family for pair in lesson.ranges}
            for suffix in _suffixes(wanted):
                yield f"+.{parent}{suffix}", len(family)


def _quoted(text: str) -> str:
    """As YAML reads it back as this very string."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
