"""The ports of one role of the old JSON: what each `network_rules` entry says, and who wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from dnsfw.model import PortRange, PortSet
from dnsfw.policy.importers.outcome import Kept, Section
from dnsfw.policy.ports import LAST_PORT, PROTOCOLS, describe
from dnsfw.policy.problems import shown
from dnsfw.values import dataclass

__all__ = ["DIRECTIONS", "Ports", "open_ports", "read_rules"]

DIRECTIONS = ("connect", "bind")
_WORDS = {
    "connect": ("connect",), "outbound": ("connect",), "bind": ("bind",), "inbound": ("bind",),
    "both": DIRECTIONS,
}  # fmt: skip
_NUMBERS = {name: PROTOCOLS[name] for name in ("tcp", "udp")}
_NONE = PortSet()
_WHOLE = {number: PortRange(number, 1, LAST_PORT) for number in _NUMBERS.values()}


@dataclass(slots=True)
class Ports:
    """What the rules of one direction say: specific ports, and port 0 of a protocol."""

    allow: PortSet = _NONE
    deny: PortSet = _NONE
    any: dict[int, bool] = field(default_factory=dict)  # protocol → verdict of port 0

    def conflict(self, ports: PortSet, *, allow: bool) -> PortSet:
        """What an earlier rule says otherwise: the old format has no order between them."""
        return ports.intersect(self.deny if allow else self.allow)

    def add(self, ports: PortSet, *, allow: bool) -> None:
        if allow:
            self.allow = self.allow.union(ports)
        else:
            self.deny = self.deny.union(ports)


def open_ports(ports: Ports, allow_network: bool) -> PortSet:
    """Every port that may be used: by a specific rule, else by port 0, else by the flag."""
    whole = (_WHOLE[n] for n in _NUMBERS.values() if ports.any.get(n, allow_network))
    return PortSet.of(whole).minus(ports.deny).union(ports.allow)


@dataclass(frozen=True, slots=True)
class _Said:
    """One entry, understood."""

    rule: Section
    allow: bool
    number: int  # of the protocol
    span: tuple[int, int]  # (0, 0) for any port
    directions: tuple[str, ...]


def read_rules(
    rules: Iterable[Section], directions: Mapping[str, Ports], allow_network: bool
) -> None:
    """Take the entries in; mistakes and what cannot be kept go where the sections send them."""
    said = [one for rule in rules if (one := _read(rule)) is not None]
    for one in said:
        for word in one.directions:
            _take(one, directions[word])
    for one in said:  # whether a rule changes anything depends on those that follow
        verdict = "allow" if one.allow else "deny"
        became = f"{verdict} {_what(one)} for {' and '.join(one.directions)}"
        if not any(_changes(one, directions[word], allow_network) for word in one.directions):
            became += f"; changes nothing: allow_network is {str(allow_network).lower()}"
        one.rule.found(Kept.READ, (), _source(one.rule), became)


def _read(rule: Section) -> _Said | None:
    allow, number, span = rule.flag("allow"), _protocol(rule), _span(rule)
    words = _direction(rule)
    if "address" in rule:
        rule.found(Kept.LOST, ("address",), _source(rule), "dnsfw keeps rules of ports alone")
        return None
    rule.text("address")
    rule.rest_is_lost("dnsfw knows no such key of a rule")
    if allow is None:
        rule.wrong((), "a rule without 'allow'", 'write "allow": true or false')
    if allow is None or number is None or span is None:
        return None
    return _Said(rule, allow, number, span, words)


def _take(one: _Said, into: Ports) -> None:
    name = _name(one.number)
    if one.span == (0, 0):
        if into.any.setdefault(one.number, one.allow) is not one.allow:
            one.rule.wrong((), f"port 0 of {name} is allowed and denied", "take one out")
        return
    ports = PortSet((PortRange(one.number, *one.span),))
    if clash := into.conflict(ports, allow=one.allow):
        one.rule.wrong((), f"{describe(clash)} is allowed and denied", "take one out")
    into.add(ports, allow=one.allow)


def _changes(one: _Said, ports: Ports, allow_network: bool) -> bool:
    """Whether the verdict would be another one without the rule."""
    if one.span == (0, 0):
        return one.allow is not allow_network
    return one.allow is not ports.any.get(one.number, allow_network)


def _what(one: _Said) -> str:
    if one.span == (0, 0):
        return f"every port of {_name(one.number)}"
    return describe(PortSet((PortRange(one.number, *one.span),)))


def _protocol(rule: Section) -> int | None:
    word = rule.text("protocol")
    if word is None:
        rule.wrong((), "a rule without 'protocol'", 'write "protocol": "tcp" or "udp"')
        return None
    if word.lower() not in _NUMBERS:
        rule.found(Kept.LOST, ("protocol",), f"protocol {word}", "it is tcp or udp")
        return None
    return _NUMBERS[word.lower()]


def _direction(rule: Section) -> tuple[str, ...]:
    word = rule.text("direction")
    if word is None:
        return DIRECTIONS
    if word.lower() not in _WORDS:
        rule.wrong(("direction",), f"{shown(word)} is no direction", "write connect, bind or both")
    return _WORDS.get(word.lower(), DIRECTIONS)


def _span(rule: Section) -> tuple[int, int] | None:
    """(low, high), (0, 0) for any port; None after a mistake."""
    port, low, high = rule.number("port"), rule.number("port_start"), rule.number("port_end")
    if (low is None) != (high is None):
        rule.wrong((), "'port_start' and 'port_end' stand together", "write both")
        return None
    if low is None or high is None:
        low = high = port or 0
    elif port:
        rule.wrong((), "a port and a range in one rule", "make two rules")
        return None
    if not (0 <= low <= high <= LAST_PORT) or (low == 0 and high):
        rule.wrong((), f"{low}-{high} are no ports", f"write 1 to {LAST_PORT}, or 0 for any")
        return None
    return low, high


def _source(rule: Section) -> str:
    said = (f"{key}={value}" for key, value in rule.value.items() if value is not None)
    return "rule " + " ".join(said).replace("True", "true").replace("False", "false")


def _name(number: int) -> str:
    return next(name for name, known in _NUMBERS.items() if known == number)
