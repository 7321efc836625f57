"""`WHAT[:PORTS][/PROTO]`: one destination, in a rule or on the command line."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from dnsfw.model import PortSet
from dnsfw.policy.pattern import Pattern, parse_pattern
from dnsfw.policy.ports import PROTOCOLS, parse_ports, suffix_text
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong, shown
from dnsfw.values import dataclass

_MAX_TEXT = 512  # longer than any name with any ports that fit
COMMA = 'a comma splits what is not quoted: write ["example.com:80,443"]'
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://([^/@]*@)?([^/:]*)(:\d+)?.*", re.DOTALL)
_URL_PORTS = {"http": ":80", "https": ":443", "ssh": ":22"}
_SHAPE = re.compile(
    r"(?P<what>\[[^\]]*\]|[^:/\[\]]*)(?:/(?P<bits>\d+))?(?::(?P<ports>[^/]*))?(?:/(?P<proto>[^/]*))?",
    re.DOTALL,
)
_PORT_ALONE = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/[a-z]+)?")
_DOTTED = re.compile(r"[0-9]+\.[0-9.]*")


@dataclass(frozen=True, slots=True)
class Destination:
    """What is meant and on which ports."""

    what: Pattern | Prefix
    ports: PortSet

    @property
    def text(self) -> str:
        """Canonical, and read back as the same destination."""
        return self.what.text + suffix_text(self.ports)


@dataclass(frozen=True, slots=True)
class Parts:
    """A destination cut at its marks; None for a part that was not written."""

    what: str
    bits: str | None
    ports: str | None
    proto: str | None


def parse_destination(text: str) -> Destination:
    """The destination that a rule names. Raises Wrong with a suggestion."""
    parts = split(text)
    what = _what(parts, text)
    return Destination(what, parse_ports(parts.ports, parts.proto))


def split(text: str) -> Parts:
    """Cut at brackets, slash and colon, and catch what people write instead."""
    if not text:
        raise Wrong("the destination is empty", "write a name, an address or a prefix")
    if len(text) > _MAX_TEXT:
        raise Wrong(f"{shown(text)} is longer than {_MAX_TEXT} characters")
    if re.search(r"\s", text):
        raise Wrong(f"{shown(text)} has a blank in it", "write one destination, without blanks")
    if _PORT_ALONE.fullmatch(text):
        raise Wrong(f"{shown(text)} is a port without a host", COMMA)
    if url := _URL.fullmatch(text):
        port = url[4] or _URL_PORTS.get(url[1].lower(), "")
        raise Wrong(f"{shown(text)} is a URL, a rule names a host", f"write '{url[3]}{port}'")
    if not text.startswith("[") and text.count(":") > 1:
        raise Wrong(*_bare_v6(text))
    found = _SHAPE.fullmatch(text)
    if not found:
        raise Wrong(f"{shown(text)} is no destination", "write WHAT[:PORTS][/PROTO]")
    return Parts(found["what"], found["bits"], found["ports"], found["proto"])


def _what(parts: Parts, text: str) -> Pattern | Prefix:
    what, bits = parts.what, parts.bits
    if what.startswith("["):
        return Prefix.of(_network(_v6(what, text), bits, text))
    if _DOTTED.fullmatch(what):
        return Prefix.of(_network(_v4(what), bits, text))
    if bits is not None:
        name = next((n for n, number in PROTOCOLS.items() if str(number) == bits), None)
        hint = f"write '{what}/{name}'" if name else f"for a port write '{what}:{bits}'"
        raise Wrong(f"{shown(text)}: a protocol is a name, never a number", hint)
    return parse_pattern(what)


def _v4(what: str) -> IPv4Address:
    try:
        return IPv4Address(what)
    except ValueError:
        raise Wrong(
            f"{shown(what)} looks like an address and is none",
            "write four decimal numbers without leading zeros: 192.0.2.1",
        ) from None


def _v6(what: str, text: str) -> IPv6Address:
    inner = what[1:-1]
    addr, slash, bits = inner.partition("/")
    try:
        found = IPv6Address(addr)
    except ValueError:
        raise Wrong(f"{shown(what)} holds no IPv6 address", 'write "[2001:db8::1]"') from None
    if slash:
        raise Wrong(f"{shown(text)}: the length stands outside", f'write "[{addr}]/{bits}"')
    if found.scope_id is not None:
        raise Wrong(
            f"{shown(text)}: an address has no zone here", f'write "[{addr.partition("%")[0]}]"'
        )
    if found.ipv4_mapped is not None:
        raise Wrong(f"{shown(text)} is an IPv4 address", f"write '{found.ipv4_mapped}'")
    return found


def _network(
    addr: IPv4Address | IPv6Address, bits: str | None, text: str
) -> IPv4Network | IPv6Network:
    length = addr.max_prefixlen if bits is None else int(bits) if len(bits) < 4 else 999
    if length > addr.max_prefixlen:
        raise Wrong(f"{shown(text)}: a prefix has at most {addr.max_prefixlen} bits")
    net = ip_network((addr, length), strict=False)
    if net.network_address != addr:
        raise Wrong(
            f"{shown(text)} has bits beyond its length",
            f"write '{Prefix.of(net).text}' or '{Prefix.of(ip_network(addr)).text}'",
        )
    return net


def _bare_v6(text: str) -> tuple[str, str]:
    addr, slash, bits = text.partition("/")
    try:
        IPv6Address(addr)
    except ValueError:
        return (f"{shown(text)} has too many colons", 'write NAME:80,443 or "[2001:db8::1]:443"')
    tail = f"/{bits}" if slash else ""
    return (f"{shown(text)}: an IPv6 address stands in brackets", f'write "[{addr}]{tail}"')
