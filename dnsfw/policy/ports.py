"""The `:PORTS/PROTO` half of a destination, and how port sets are written for people."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby

from dnsfw.model import Limit, PortRange, PortSet
from dnsfw.policy.problems import Wrong, shown

PROTOCOLS = {
    "tcp": 6,
    "udp": 17,
    "icmp": 1,
    "sctp": 132,
    "udplite": 136,
    "gre": 47,
    "esp": 50,
    "ipip": 4,
}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
HAVE_PORTS = frozenset(PROTOCOLS[name] for name in ("tcp", "udp", "sctp", "udplite"))
TCP_UDP = (PROTOCOLS["tcp"], PROTOCOLS["udp"])

ANY = PortSet.of(PortRange(PROTOCOLS[name]) for name in ("tcp", "udp", "icmp"))
KNOWN = PortSet.of(PortRange(number) for number in PROTOCOLS.values())

LAST_PORT = 65535
_ALL = (0, LAST_PORT)
_PORT = re.compile(r"\d{1,9}")


def parse_ports(ports: str | None, proto: str | None) -> PortSet:
    """What `:ports/proto` covers; None for a part that was not written. Raises Wrong."""
    numbers = _protocols(proto, ports)
    if numbers is None:
        return ANY
    ranges = [_ALL] if ports is None else _ranges(ports)
    made = PortSet.of(PortRange(number, low, high) for number in numbers for low, high in ranges)
    if len(made.ranges) > Limit.PORT_RANGES:
        raise Wrong(
            f"needs {len(made.ranges)} port ranges, {int(Limit.PORT_RANGES)} fit in one rule",
            "join ports into ranges, name one protocol (/tcp) or split the rule",
        )
    return made


def _protocols(proto: str | None, ports: str | None) -> tuple[int, ...] | None:
    """The protocol numbers meant; None for "any of tcp, udp, icmp, whole"."""
    if proto is None:
        return None if ports is None else TCP_UDP
    if proto == "any":
        if ports is not None:
            raise Wrong("/any has no ports", f"leave /any out: :{ports} is tcp and udp")
        return None
    number = PROTOCOLS.get(proto)
    if number is None:
        raise Wrong(*_no_protocol(proto))
    if ports is not None and number not in HAVE_PORTS:
        raise Wrong(f"{proto} has no ports", f"write /{proto} without :{ports}")
    return (number,)


def _no_protocol(proto: str) -> tuple[str, str]:
    if proto.isdecimal():
        name = PROTOCOL_NAMES.get(int(proto)) if len(proto) < 4 else None
        hint = f"write /{name}" if name else f"for a port write :{proto}"
        return (f"a protocol is a name, never a number: {shown(proto)}", hint)
    if proto.lower() in PROTOCOLS or proto.lower() == "any":
        return (f"unknown protocol {shown(proto)}", f"write /{proto.lower()}")
    if re.fullmatch(r"\w+([+,]\w+)+", proto):
        return (
            f"one protocol a rule: {shown(proto)}",
            "write one rule for each; no protocol at all is tcp and udp",
        )
    return (f"unknown protocol {shown(proto)}", f"known are any, {', '.join(PROTOCOLS)}")


def _ranges(ports: str) -> list[tuple[int, int]]:
    if ports == "*":
        return [_ALL]
    return [_range(part) for part in ports.split(",")]


def _range(part: str) -> tuple[int, int]:
    low, dash, high = part.partition("-")
    first = _port(low, part)
    last = _port(high, part) if dash else first
    if last < first:
        raise Wrong(f"port range {shown(part)} runs backwards", f"write {last}-{first}")
    return first, last


def _port(text: str, part: str) -> int:
    if not (_PORT.fullmatch(text) and text.isascii()):
        raise Wrong(f"{shown(part)} is no port", "write 443, 80,443, 8000-8100 or *")
    if not 1 <= int(text) <= LAST_PORT:
        raise Wrong(f"{shown(part)} is no port", "ports go from 1 to 65535")
    return int(text)


def suffix_text(ports: PortSet) -> str:
    """The canonical `:PORTS/PROTO` of a rule's ports: what `parse_ports` reads back."""
    if ports == ANY:
        return ""
    by_proto = _by_protocol(ports)
    protos = tuple(sorted(by_proto))
    (spans,) = set(by_proto.values())
    whole = spans == (_ALL,)
    if protos == TCP_UDP:
        return f":{'*' if whole else _spans_text(spans)}"
    name = PROTOCOL_NAMES[protos[0]]
    return f"/{name}" if whole else f":{_spans_text(spans)}/{name}"


def describe(ports: PortSet) -> str:
    """Any port set for people: `443/tcp+udp, icmp`."""
    if ports == KNOWN:
        return "everything"
    by_spans: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for proto, spans in _by_protocol(ports).items():
        by_spans.setdefault(spans, []).append(PROTOCOL_NAMES.get(proto, str(proto)))
    order = list(PROTOCOLS)
    told = []
    for spans, names in by_spans.items():
        protos = "+".join(sorted(names, key=lambda n: order.index(n) if n in order else 99))
        told.append(protos if spans == (_ALL,) else f"{_spans_text(spans)}/{protos}")
    return ", ".join(told) or "nothing"


@lru_cache(maxsize=4096)  # a policy has few port sets and many rules
def take(ports: PortSet, left: PortSet) -> tuple[PortSet, PortSet]:
    """The ports of a rule that are still to be had, and what is left then."""
    mine = ports.intersect(left)
    return mine, left.minus(mine)


def chunks(ports: PortSet) -> list[PortSet]:
    """The set in pieces that each fit one portset of the kernel."""
    size = int(Limit.PORT_RANGES)
    ranges = ports.ranges
    return [PortSet(ranges[at : at + size]) for at in range(0, len(ranges), size)]


def _by_protocol(ports: PortSet) -> dict[int, tuple[tuple[int, int], ...]]:
    return {
        proto: tuple((r.low, r.high) for r in items)
        for proto, items in groupby(ports.ranges, key=lambda r: r.proto)
    }


def _spans_text(spans: tuple[tuple[int, int], ...]) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
