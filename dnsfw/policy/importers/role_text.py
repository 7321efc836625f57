"""One role of the old JSON as YAML: its ports as rules for every address and every name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dnsfw.model import Limit, PortRange, PortSet
from dnsfw.policy.importers.outcome import comment, quoted
from dnsfw.policy.importers.role_ports import Ports, open_ports
from dnsfw.policy.ports import LAST_PORT, PROTOCOL_NAMES, PROTOCOLS, chunks, suffix_text
from dnsfw.values import dataclass

__all__ = ["RoleLines", "role_text"]

_WORLD = ("0.0.0.0/0", "[::]/0")
_EVERY = (1, LAST_PORT)
_TCP, _UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]


@dataclass(frozen=True, slots=True)
class RoleLines:
    """What is written of a role."""

    name: str
    number: int | None
    allow_network: bool
    connect: PortSet
    bind: PortSet
    notes: Sequence[str] = ()
    subjects: Sequence[str] = ()  # lines of YAML


def role_text(role: RoleLines) -> str:
    """Its part of the policy, below `roles:`."""
    lines = f"  {role.name}:\n"
    if role.number is not None:
        lines += f"    number: {role.number}  # what an older enrolment socket calls it\n"
    lines += "".join(comment(note, "    ") for note in role.notes)
    lines += f"    default: {'allow' if role.allow_network else 'deny'}\n"
    lines += f"    inbound: {_access(role.bind, none='deny', tcp='tcp')}\n"
    lines += f"    loopback: {_access(role.connect, none='own', tcp='')}\n"
    if role.subjects:
        lines += "    subjects:\n" + "".join(dict.fromkeys(role.subjects))
    return lines + "".join(_rules(role))


def _access(ports: PortSet, none: str, tcp: str) -> str:
    """A word, or the list of ports."""
    everything = open_ports(Ports(), True)
    if ports == everything:
        return "all"
    if not ports:
        return none
    if tcp and ports == PortSet.of(r for r in everything.ranges if r.proto == _TCP):
        return tcp
    listed = []
    for one in ports.ranges[: Limit.PORT_RANGES]:  # more is told as lost
        span = str(one.low) if one.low == one.high else f"{one.low}-{one.high}"
        listed.append(f"{span}/{PROTOCOL_NAMES[one.proto]}")
    return "[" + ", ".join(map(quoted, listed)) + "]"


def _rules(role: RoleLines) -> Iterator[str]:
    """What differs from the default, for every address; and for names, that they may be asked."""
    everything = open_ports(Ports(), True)
    verb = "deny" if role.allow_network else "allow"
    differs = everything.minus(role.connect) if role.allow_network else role.connect
    if not differs:
        return
    yield "    rules:\n"
    for suffix in _suffixes(differs):
        where = ", ".join(quoted(f"{world}{suffix}") for world in _WORLD)
        yield f"      - {verb}: [{where}]\n"
        if verb == "allow":  # under `default: deny` a name without a rule is refused
            yield f"      - allow: {quoted(f'*{suffix}')}\n        broad: true\n"


def _suffixes(ports: PortSet) -> Iterator[str]:
    """The `:PORTS/PROTO` of rules that cover exactly these ports."""
    ranges = [r if (r.low, r.high) != _EVERY else PortRange(r.proto) for r in ports.ranges]
    tcp, udp = (PortSet.of(r for r in ranges if r.proto == n) for n in (_TCP, _UDP))
    same = [(r.low, r.high) for r in tcp.ranges] == [(r.low, r.high) for r in udp.ranges]
    for part in (tcp.union(udp),) if same else (tcp, udp):
        yield from map(suffix_text, _fitting(part, same))


def _fitting(ports: PortSet, same: bool) -> Iterator[PortSet]:
    """In pieces that one rule can hold, both protocols side by side where they are equal."""
    if not same:
        yield from chunks(ports)
        return
    half = len(ports.ranges) // 2
    tcp, udp, size = ports.ranges[:half], ports.ranges[half:], int(Limit.PORT_RANGES) // 2
    for at in range(0, half, size):
        yield PortSet(tcp[at : at + size] + udp[at : at + size])
