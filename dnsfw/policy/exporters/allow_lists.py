"""Allow lists of build systems and of agent sandboxes."""

from __future__ import annotations

import json

from dnsfw.model import PortSet, Verdict
from dnsfw.policy.exporters.name_lists import literal
from dnsfw.policy.exporters.outcome import Left, Named
from dnsfw.policy.first_match import clash
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import LAST_PORT, PROTOCOLS
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong

__all__ = ["allowed_endpoints", "sandbox"]

_MOST_PORTS = 32  # of one rule, each an entry of its own
_TCP, _UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]
_OPEN = "an allow list closes what it does not name"


def allowed_endpoints(role: RolePolicy, left: Left) -> str:
    """`host:port`, one a line. A port means TCP and UDP, as it does in a policy."""
    if role.default is Verdict.ALLOW:
        left.setting(role, "default: allow", _OPEN)
    rules, lines = left.entries(role), dict[str, None]()
    for rule, entry in rules:
        if entry.verdict is Verdict.DENY:
            left.other_side(rule, entry, rules, "deny in a list that only allows")
            continue
        try:
            ports = _single(entry.ports, _TCP)
            if ports is None or ports != _single(entry.ports, _UDP):
                raise Wrong("an endpoint has one port, of TCP and UDP together")
            if len(_protocols(entry.ports)) != 2:
                raise Wrong("an endpoint is TCP and UDP only")
            lines |= {f"{host}:{port}": None for host in _hosts(entry.what) for port in ports}
        except Wrong as wrong:
            left.lost(rule, wrong.message)
    return "# Made by `dnsfw export allowed-endpoints`.\n" + "".join(f"{x}\n" for x in lines)


def sandbox(role: RolePolicy, left: Left) -> str:
    """`allowedDomains` and `deniedDomains`, of which the denied ones always win. TCP only."""
    if role.default is Verdict.ALLOW:
        left.setting(role, "default: allow", _OPEN)
    rules = left.entries(role)
    # A proxy judges what it is asked for, a name or an address: neither speaks for the other.
    ordered = sorted(rules, key=lambda one: (isinstance(one[1].what, Prefix), one[1].verdict))
    names = [one for one in ordered if isinstance(one[1].what, Pattern)]
    beaten = clash([entry for _, entry in names])
    addresses = clash([entry for _, entry in ordered[len(names) :]])
    beaten += [None if at is None else at + len(names) for at in addresses]
    found: dict[Verdict, dict[str, None]] = {Verdict.ALLOW: {}, Verdict.DENY: {}}
    for at, (rule, entry) in enumerate(ordered):
        other = beaten[at]
        if other is not None:
            left.lost(rule, f"'{ordered[other][0].text}' would beat it: what is denied stays so")
            continue
        try:
            domains = _domains((rule, entry), left)
        except Wrong as wrong:
            left.lost(rule, wrong.message)
            continue
        found[entry.verdict] |= dict.fromkeys(domains)
    network = {
        "allowedDomains": list(found[Verdict.ALLOW]), "deniedDomains": list(found[Verdict.DENY])
    }  # fmt: skip
    return json.dumps({"network": network}, indent=2) + "\n"


def _domains(one: Named, left: Left) -> list[str]:
    rule, entry = one
    tcp = PortSet(tuple(r for r in entry.ports.ranges if r.proto == _TCP))
    if not tcp:
        if entry.verdict is Verdict.DENY:
            left.noted(rule, "left out: a sandbox carries TCP alone")
            return []
        raise Wrong("a sandbox carries TCP alone")
    hosts = _hosts(entry.what)
    if not (tcp.covers(_TCP, 1) and tcp.ranges[0].high == LAST_PORT):
        ports = _single(tcp, _TCP)
        if ports is None:
            raise Wrong("a domain has one port")
        hosts = [f"{host}:{port}" for host in hosts for port in ports]
    if tcp != entry.ports:
        left.noted(rule, "told for TCP alone: a sandbox carries nothing else")
    return hosts


def _protocols(ports: PortSet) -> set[int]:
    return {item.proto for item in ports.ranges}


def _single(ports: PortSet, proto: int) -> list[int] | None:
    """The ports of a protocol, one by one; None where they are too many, or none."""
    ranges = [item for item in ports.ranges if item.proto == proto]
    count = sum(item.high - item.low + 1 for item in ranges)
    if not 0 < count <= _MOST_PORTS:
        return None
    return [port for item in ranges for port in range(item.low, item.high + 1)]


def _hosts(what: Pattern | Prefix) -> list[str]:
    """What is written for a host. Raises Wrong."""
    if isinstance(what, Prefix):
        if not what.v4 or what.bits != 128:
            raise Wrong("a list of hosts has no prefixes, and no IPv6 addresses")
        return [what.text]
    if what.kind in (Kind.GLOB, Kind.ONE) or what.text == "*":
        raise Wrong("a host is a name or '*.example.com'")
    name = literal(what)
    return {Kind.EXACT: [name], Kind.BELOW: [f"*.{name}"]}.get(what.kind, [name, f"*.{name}"])
