"""`inbound` and `loopback` of a role: a word, or ports."""

from __future__ import annotations

from dnsfw.model import Inbound, Limit, Loopback, PortSet
from dnsfw.policy.policy import Access
from dnsfw.policy.ports import parse_ports
from dnsfw.policy.problems import Problems, Wrong, shown
from dnsfw.policy.syntax import PolicySection
from dnsfw.policy.syntax_roles import RoleSection
from dnsfw.policy.syntax_yaml import Document, Path

_INBOUND = {"deny": Inbound.DENY, "tcp": Inbound.TCP, "all": Inbound.ALL}
_LOOPBACK = {"all": Loopback.ALL, "own": Loopback.OWN}
_PROTOCOLS = ("tcp", "udp")


def compile_access(
    section: PolicySection | RoleSection, at: Path, document: Document, problems: Problems
) -> Access:
    """What the role may listen for and what it reaches on loopback."""
    inbound, loopback = section.inbound, section.loopback
    listed_in = [] if isinstance(inbound, str) else inbound
    listed_lo = [] if isinstance(loopback, str) else loopback
    return Access(
        _INBOUND[inbound] if isinstance(inbound, str) else Inbound.PORTS,
        _ports(listed_in, (*at, "inbound"), document, problems),
        _LOOPBACK[loopback] if isinstance(loopback, str) else Loopback.PORTS,
        _ports(listed_lo, (*at, "loopback"), document, problems),
    )


def _ports(items: list[str], at: Path, document: Document, problems: Problems) -> PortSet:
    found = PortSet()
    for index, item in enumerate(items):
        where = document.place((*at, index))
        try:
            ports = _port(item)
        except Wrong as wrong:
            problems.wrong(where, wrong)
            continue
        if not ports.minus(found):
            problems.error(where, f"{shown(item)} stands twice", "take one out")
        found = found.union(ports)
    if len(found.ranges) > Limit.PORT_RANGES:
        told = f"needs {len(found.ranges)} port ranges, {int(Limit.PORT_RANGES)} fit"
        remedy = "join ports into ranges, or name one protocol: 443/tcp"
        problems.error(document.place(at), told, remedy)
    return found


def _port(item: str) -> PortSet:
    """`80`, `8000-8100`, `53/udp`: TCP and UDP where no protocol is named. Raises Wrong."""
    ports, slash, proto = item.partition("/")
    if slash and proto not in _PROTOCOLS:
        raise Wrong(f"{shown(item)} is no port", "write 443, 443/tcp, 53/udp or 8000-8100")
    return parse_ports(ports, proto or None)
