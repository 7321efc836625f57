"""Whom to ask, and over what: `9.9.9.9`, `tls://9.9.9.9#dns.quad9.net`, `https://…/dns-query`.

An encrypted upstream is strict (RFC 8310, section 5): the certificate must be good and
for its name, or nothing is asked. Beside one, a plain upstream only looks up the names of
the others: no question of a client goes out in clear because somebody cut a connection.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from dnsfw.policy.ports import LAST_PORT
from dnsfw.policy.problems import Wrong, shown
from dnsfw.values import dataclass

__all__ = [
    "Address", "Upstream", "asked", "believes", "helpers", "parse_pin", "parse_url", "unreachable",
]  # fmt: skip

Address = IPv4Address | IPv6Address

_PORTS = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
_PATH = "/dns-query"  # RFC 8484 has no default; every public resolver uses this one
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*"
                   r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # fmt: skip
_URL = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?:\[(?P<v6>[^\]/#]*)\]|(?P<host>[^\[\]:/#]*))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^#]*)?(?:#(?P<name>.*))?"
)
_PRINTABLE_PATH = re.compile(r"/[!-~]*")
_EXAMPLE = "write 'tls://9.9.9.9#dns.quad9.net' or 'https://dns.quad9.net/dns-query'"


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server to ask."""

    scheme: str  # udp (and TCP where an answer is cut), tcp, tls, https
    host: str  # an address or a name
    port: int
    name: str = ""  # whom its certificate must be for
    path: str = ""
    addresses: tuple[Address, ...] = ()  # where it is; none: its name is looked up
    ca: str = ""  # a file of certificates to trust instead of the host's
    pins: tuple[bytes, ...] = ()  # SHA-256 of its public key must be one of these
    trusted: bool = False  # its AD bit is believed

    @property
    def encrypted(self) -> bool:
        return self.scheme in ("tls", "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.scheme == "udp":
            return f"{host}:{self.port}"
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        other = f"#{self.name}" if self.name not in ("", self.host) else ""
        return f"{self.scheme}://{host}{port}{self.path}{other}"

    @property
    def text(self) -> str:
        """Everything that was written, to tell one policy from another."""
        said = [str(self)]
        said += [str(a) for a in self.addresses if str(a) != self.host]
        said += [f"ca {self.ca}"] if self.ca else []
        said += [f"pin {pin.hex()[:8]}" for pin in self.pins]
        return " ".join((*said, "trusted") if self.trusted else said)


def parse_url(text: str) -> Upstream:
    """`tcp://`, `tls://`, `https://`. Raises Wrong."""
    found = _URL.fullmatch(text)
    if found is None:
        raise Wrong(f"{shown(text)} is no upstream", _EXAMPLE)
    scheme = found["scheme"]
    if scheme not in ("tcp", "tls", "https"):
        raise Wrong(f"{shown(text)}: no upstream is asked over {shown(scheme)}", _EXAMPLE)
    host = _host(found["v6"] if found["v6"] is not None else found["host"], text)
    port = int(found["port"] or _PORTS[scheme])
    if not 1 <= port <= LAST_PORT:
        raise Wrong(f"{shown(text)}: ports go from 1 to 65535")
    path, name = found["path"] or "", found["name"]
    if path and (scheme != "https" or not _PRINTABLE_PATH.fullmatch(path)):
        raise Wrong(f"{shown(text)}: {shown(path)} is no path of a server", _EXAMPLE)
    if scheme == "tcp":
        return _tcp(text, host, port, name)
    name = host if name is None else _host(name, text)
    addresses = tuple(a for a in (_address(host),) if a)
    return Upstream(scheme, host, port, name, path or (_PATH if scheme == "https" else ""),
                    addresses)  # fmt: skip


def parse_pin(text: str) -> bytes:
    """`sha256/BASE64` of the public key, as `openssl` and RFC 7858 (A.1) write it. Wrong."""
    try:
        pin = b64decode(text.removeprefix("sha256/"), validate=True)
    except ValueError:
        pin = b""
    if len(pin) != 32:
        raise Wrong(f"{shown(text)} is no pin", "write 'sha256/' and 44 characters of Base64")
    return pin


def asked(upstreams: Sequence[Upstream]) -> tuple[Upstream, ...]:
    """Those that clients' questions go to: the encrypted ones alone, where there are any."""
    return tuple(u for u in upstreams if u.encrypted) or tuple(upstreams)


def helpers(upstreams: Sequence[Upstream]) -> tuple[Upstream, ...]:
    """Those that only look up where the others are."""
    chosen = asked(upstreams)
    return tuple(u for u in upstreams if u not in chosen)


def believes(upstream: Upstream) -> bool:
    """Whether its AD bit means something: nobody but this host can speak for a resolver on
    loopback (RFC 4035, section 4.9.3), and for a proven one the operator's word counts.
    """
    here = all(a.is_loopback for a in upstream.addresses) and bool(upstream.addresses)
    return upstream.trusted or (not upstream.encrypted and here)


def unreachable(upstreams: Sequence[Upstream | None]) -> Wrong | None:
    """What is missing where nobody could look up the name of an upstream. None is `system`."""
    if any(u is None or u.addresses for u in upstreams):
        return None
    names = [u for u in upstreams if u is not None]
    if not names:
        return None
    first = names[0]
    at = f"{first.scheme}://9.9.9.9{first.path}#{first.name}"
    return Wrong(
        f"nobody can look up where {shown(str(first))} is: dnsfw does not ask itself",
        f"write its address, as in '{at}', or a plain upstream beside it, as in '9.9.9.9'",
    )


def _tcp(text: str, host: str, port: int, name: str | None) -> Upstream:
    address = _address(host)
    if address is None or name is not None:
        raise Wrong(f"{shown(text)} is no upstream", "write 'tcp://9.9.9.9'")
    return Upstream("tcp", host, port, addresses=(address,))


def _host(text: str, whole: str) -> str:
    if (address := _address(text)) is not None:
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise Wrong(f"{shown(whole)}: an address has no zone here")
        if address.is_unspecified or address.is_multicast:
            raise Wrong(f"{shown(whole)} is no host", _EXAMPLE)
        return str(address)
    lowered = text.lower().removesuffix(".")
    if not _NAME.fullmatch(lowered) or lowered.rpartition(".")[2].isdigit():
        raise Wrong(f"{shown(whole)}: {shown(text)} is no name of a host", _EXAMPLE)
    return lowered


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
