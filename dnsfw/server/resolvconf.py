"""`upstreams: system`: the resolvers this host had before dnsfw, and never dnsfw itself.

A loopback address in resolv.conf is a stub, or we. The stub's own list of real
resolvers is used instead; where none is found the operator must name one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from dnsfw.errors import ConfigError
from dnsfw.policy.problems import Wrong
from dnsfw.policy.upstream import Upstream, parse_url, unreachable
from dnsfw.server.address import Endpoint, endpoints, parse_endpoint, plain

__all__ = ["SYSTEM", "find_upstreams", "is_own", "nameservers", "system_upstreams"]

SYSTEM = "system"

RESOLV_CONF = Path("/etc/resolv.conf")
BEHIND_A_STUB = (
    Path("/run/systemd/resolve/resolv.conf"),
    Path("/run/NetworkManager/no-stub-resolv.conf"),
    Path("/run/dnsmasq/resolv.conf"),
)
_MAX_SERVERS = 8
_LONGEST_FILE = 1 << 16


def find_upstreams(
    wanted: Sequence[str | Upstream],
    listening: Sequence[Endpoint],
    resolv_conf: Path = RESOLV_CONF,
    behind: Sequence[Path] = BEHIND_A_STUB,
) -> tuple[Upstream, ...]:
    """The upstreams to ask, in order, each once. ConfigError when one is us, or none is left."""
    found: dict[Upstream, None] = {}
    for item in wanted:
        if item == SYSTEM:
            servers = system_upstreams(resolv_conf, behind, listening)
            found |= dict.fromkeys(map(plain, servers))
        else:
            found[_named(item, listening)] = None
    if (wrong := unreachable(tuple(found))) is not None:
        raise ConfigError(f"upstreams: {wrong.message}; {wrong.remedy}")
    if not found:
        raise ConfigError("no upstream is set; write `dns: {upstreams: [9.9.9.9]}` or --upstream")
    return tuple(found)


def _named(item: str | Upstream, listening: Sequence[Endpoint]) -> Upstream:
    upstream = item if isinstance(item, Upstream) else _parse(item)
    for endpoint in endpoints(upstream):
        if endpoint.wildcard:
            raise ConfigError(f"upstream {item} is no host; write its address")
        if is_own(endpoint, listening):
            raise ConfigError(
                f"upstream {upstream} is dnsfw itself: every query would come back; "
                "name another resolver"
            )
    return upstream


def _parse(text: str) -> Upstream:
    """An upstream of the command line."""
    if "://" not in text:
        return plain(parse_endpoint(text))
    try:
        return parse_url(text)
    except Wrong as wrong:
        raise ConfigError(f"upstream {wrong.message}; {wrong.remedy}".rstrip("; ")) from None


def is_own(endpoint: Endpoint, listening: Iterable[Endpoint]) -> bool:
    """Would a query to `endpoint` reach one of our listeners? (As far as addresses tell.)"""
    for own in listening:
        if own.port != endpoint.port:
            continue
        same_family = own.address.version == endpoint.address.version
        if own.address == endpoint.address:
            return True
        if own.wildcard and same_family and endpoint.address.is_loopback:
            return True
    return False


def system_upstreams(
    resolv_conf: Path, behind: Sequence[Path], listening: Sequence[Endpoint]
) -> tuple[Endpoint, ...]:
    """The real resolvers of this host. ConfigError when only stubs can be found."""
    stubs: list[str] = []
    for path in (resolv_conf, *behind):
        servers = nameservers(path)
        real = tuple(s for s in servers if not s.address.is_loopback and not is_own(s, listening))
        if real:
            return real
        stubs += (str(s.address) for s in servers)
    only = f"only {', '.join(dict.fromkeys(stubs))}, which is a stub or dnsfw itself"
    raise ConfigError(
        f"upstreams: system, but {resolv_conf} names {only if stubs else 'no nameserver'}; "
        "name a resolver: --upstream 9.9.9.9, or dns.upstreams in the policy"
    )


def nameservers(path: Path) -> list[Endpoint]:
    """The `nameserver` lines of a resolv.conf; a missing file names none."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return []
    servers = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                if (parsed := _address(address)) is not None and not parsed.is_unspecified:
                    servers.append(Endpoint(parsed))
    return servers[:_MAX_SERVERS]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
