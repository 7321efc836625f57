"""Entries as rules of YAML, and the ports that one rule can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnsfw.model import PortRange, PortSet, Verdict
from dnsfw.policy.addresses import METADATA
from dnsfw.policy.first_match import Entry
from dnsfw.policy.importers.outcome import quoted
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.ports import ANY, PROTOCOL_NAMES, TCP_UDP, chunks, suffix_text
from dnsfw.policy.prefix import Prefix

__all__ = ["holds_metadata", "port_suffixes", "rule_lines", "said"]


def port_suffixes(ports: PortSet) -> Iterator[str]:
    """The `:PORTS/PROTO` of the rules that together cover exactly these ports."""
    if not ANY.minus(ports):
        yield ""
        ports = ports.minus(ANY)
    ports = PortSet(tuple(_from_one(item) for item in ports.ranges))
    tcp, udp = (_of(ports, number) for number in TCP_UDP)
    if tcp and _spans(tcp) == _spans(udp):
        half = 8  # of the ranges that fit one rule: each stands there for both protocols
        for at in range(0, len(tcp.ranges), half):
            yield suffix_text(PortSet(tcp.ranges[at : at + half] + udp.ranges[at : at + half]))
        ports = ports.minus(tcp).minus(udp)
    for number in PROTOCOL_NAMES:
        yield from map(suffix_text, chunks(_of(ports, number)))


def rule_lines(entries: Iterable[Entry], indent: str = "  ") -> str:
    """The lines below `rules:`, each rule once."""
    lines: dict[str, None] = {}
    for entry in entries:
        verb = "allow" if entry.verdict is Verdict.ALLOW else "deny"
        broad = verb == "allow" and isinstance(entry.what, Pattern) and entry.what.broad
        for suffix in port_suffixes(entry.ports):
            text = quoted(entry.what.text + suffix)
            line = f"{indent}- {verb}: {text}\n"
            lines[line + (f"{indent}  broad: true\n" if broad else "")] = None
    return "".join(lines)


def said(entry: Entry) -> str:
    """The rules of an entry in one line, for a finding."""
    verb = "allow" if entry.verdict is Verdict.ALLOW else "deny"
    return f"{verb} " + ", ".join(entry.what.text + one for one in port_suffixes(entry.ports))


def holds_metadata(what: Pattern | Prefix) -> bool:
    """Whether a prefix holds a metadata service, which only a prefix inside it opens."""
    return isinstance(what, Prefix) and any(what.holds(one) for one in METADATA)


def _from_one(item: PortRange) -> PortRange:
    """A piece of all ports, as it can be written: there is no port 0."""
    whole = item == PortRange(item.proto)
    return item if whole or item.low else PortRange(item.proto, 1, item.high)


def _of(ports: PortSet, proto: int) -> PortSet:
    return PortSet(tuple(item for item in ports.ranges if item.proto == proto))


def _spans(ports: PortSet) -> list[tuple[int, int]]:
    def span(item: PortRange) -> tuple[int, int]:
        return item.low, item.high

    return list(map(span, ports.ranges))
