"""Addresses with ports for `dns.listen` and `dns.upstreams`, and for the command line."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from dnsfw.model import addr_from, addr_text
from dnsfw.policy.policy import Endpoint
from dnsfw.policy.ports import LAST_PORT
from dnsfw.policy.problems import Wrong, shown
from dnsfw.policy.upstream import Upstream, parse_url

DNS_PORT = 53
DEFAULT_LISTEN = "127.0.53.53:53"
SYSTEM = "system"
_SHAPE = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[^\[\]:]*))(?::(?P<port>[0-9]{1,5}))?")


def parse_endpoint(text: str, default_port: int = DNS_PORT) -> Endpoint:
    """`127.0.53.53:53`, `[::1]:53`; the port may be left out. Raises Wrong."""
    # A bare IPv6 address can have no port.
    found = _SHAPE.fullmatch(text) or _SHAPE.fullmatch(f"[{text}]")
    host, port = (found["v6"] or found["v4"] or "", found["port"]) if found else ("", None)
    try:
        addr = ip_address(host)
    except ValueError:
        raise Wrong(
            f"{shown(text)} is no address", "write '127.0.53.53:53' or '[::1]:53'"
        ) from None
    if isinstance(addr, IPv6Address) and addr.scope_id is not None:
        raise Wrong(f"{shown(text)}: an address has no zone here")
    if not 1 <= int(port or default_port) <= LAST_PORT:
        raise Wrong(f"{shown(text)}: ports go from 1 to 65535")
    return Endpoint(addr_from(addr), int(port or default_port))


def parse_upstream(text: str) -> Upstream | None:
    """Whom to ask; None is `system`: whatever the host's resolver uses. Raises Wrong."""
    if text == SYSTEM:
        return None
    if "://" in text:
        return parse_url(text)
    try:
        endpoint = parse_endpoint(text)
    except Wrong:
        raise Wrong(
            f"{shown(text)} is no upstream",
            "write 'system', '9.9.9.9', '[2620:fe::fe]:53' or 'tls://9.9.9.9#dns.quad9.net'",
        ) from None
    address = ip_address(addr_text(endpoint.addr))
    return Upstream("udp", str(address), endpoint.port, addresses=(address,))
