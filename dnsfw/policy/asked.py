"""A destination that somebody asks about: one host, and perhaps one port."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from dnsfw.errors import ConfigError, WireError
from dnsfw.model import Addr, Name, PortSet, addr_from, addr_text
from dnsfw.policy.destination import split
from dnsfw.policy.ports import KNOWN, parse_ports
from dnsfw.policy.problems import Wrong, shown
from dnsfw.policy.psl import fold_dots, to_ascii
from dnsfw.values import dataclass
from dnsfw.wire.name import from_text, to_text

__all__ = ["Asked", "parse_asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A destination to explain: one host, and the ports that are meant."""

    to: Name | Addr
    is_addr: bool
    ports: PortSet
    text: str


def parse_asked(text: str) -> Asked:
    """`HOST[:PORT][/PROTO]`. ConfigError when it is none."""
    try:
        return _parse(text)
    except Wrong as wrong:
        tail = f"; {wrong.remedy}" if wrong.remedy else ""
        raise ConfigError(wrong.message + tail) from None


def _parse(text: str) -> Asked:
    if (addr := _address(text)) is not None:
        return _asked(addr, None, None)
    parts = split(text)
    if parts.bits is not None:
        raise Wrong(f"{shown(text)} is no destination", "name one host: 'example.com:443/tcp'")
    bracketed = parts.what.startswith("[")
    host = parts.what[1:-1] if bracketed else parts.what
    if (addr := _address(host)) is not None:
        return _asked(addr, parts.ports, parts.proto)
    if bracketed:
        raise Wrong(f"{shown(parts.what)} holds no IPv6 address", "write '[2001:db8::1]:443'")
    try:
        name = from_text(".".join(to_ascii(label) for label in fold_dots(host).split(".")))
    except WireError as error:
        raise Wrong(f"{shown(host)}: {error}", "write a name or an address") from None
    return _asked(name, parts.ports, parts.proto)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _asked(to: Name | IPv4Address | IPv6Address, ports: str | None, proto: str | None) -> Asked:
    """A port without a protocol means TCP; neither means everything."""
    if ports is not None and not ports.isdecimal():
        raise Wrong(f"{shown(ports)} is no port", "explain takes one port")
    if ports is not None and proto is None:
        proto = "tcp"
    meant = parse_ports(ports, proto) if proto else KNOWN
    tail = (f":{ports}" if ports else "") + (f"/{proto}" if proto else "")
    if isinstance(to, bytes):
        return Asked(to, False, meant, to_text(to) + tail)
    addr = addr_from(to)
    host = addr_text(addr)
    return Asked(addr, True, meant, (f"[{host}]" if ":" in host and tail else host) + tail)
