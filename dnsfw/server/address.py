"""Where a listener or an upstream is: an address and a port, and how people write them."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from dnsfw.errors import ConfigError
from dnsfw.policy.upstream import Upstream
from dnsfw.values import dataclass

__all__ = ["DNS_PORT", "Endpoint", "endpoints", "parse_endpoint", "plain"]

DNS_PORT = 53
_LAST_PORT = 65535

SockAddr = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One UDP and TCP address of a DNS server, ours or somebody else's."""

    address: IPv4Address | IPv6Address
    port: int = DNS_PORT

    def __str__(self) -> str:
        text = str(self.address)
        return f"[{text}]:{self.port}" if self.address.version == 6 else f"{text}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if self.address.version == 6 else socket.AF_INET

    @property
    def sockaddr(self) -> SockAddr:
        """What connect() and bind() want. ConfigError when the interface of a scope is unknown."""
        if isinstance(self.address, IPv4Address):
            return str(self.address), self.port
        bare, _, scope = str(self.address).partition("%")
        return bare, self.port, 0, _scope_id(scope)

    @property
    def wildcard(self) -> bool:
        return self.address.is_unspecified


def plain(endpoint: Endpoint) -> Upstream:
    """The upstream at an address, asked over UDP."""
    return Upstream("udp", str(endpoint.address), endpoint.port, addresses=(endpoint.address,))


def endpoints(upstream: Upstream) -> tuple[Endpoint, ...]:
    """Where an upstream is, as far as that was written down."""
    return tuple(Endpoint(address, upstream.port) for address in upstream.addresses)


def _scope_id(scope: str) -> int:
    if not scope:
        return 0
    try:
        return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    except OSError:
        raise ConfigError(f"no interface is called {scope!r}; see `ip link`") from None


def parse_endpoint(text: str, *, default_port: int = DNS_PORT) -> Endpoint:
    """`9.9.9.9`, `9.9.9.9:53`, `9.9.9.9@53`, `2620:fe::fe`, `[2620:fe::fe]:53`. ConfigError."""
    host, port = _split(text.strip())
    try:
        address = ip_address(host)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not an address; write 9.9.9.9, 9.9.9.9:53, [2620:fe::fe]:53"
        ) from None
    return Endpoint(address, default_port if port is None else _port(port, text))


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if closed and rest[:1] in {":", "@"}:
            return host, rest[1:]
        return (host, None) if closed and not rest else (text, None)
    if "@" in text:
        host, _, port = text.partition("@")
        return host, port
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def _port(text: str, whole: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_PORT:
        return int(text)
    raise ConfigError(f"{whole!r}: a port is 1 to {_LAST_PORT}")
