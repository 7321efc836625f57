"""Names of addresses: `7.2.0.192.in-addr.arpa`, and 32 nibbles below `ip6.arpa` (RFC 3596)."""

from __future__ import annotations

from dnsfw.model import Addr, Name
from dnsfw.wire.name import labels

__all__ = ["address_of"]

_V4, _V6 = (b"in-addr", b"arpa"), (b"ip6", b"arpa")
_OCTETS, _NIBBLES = 4, 32
_MAPPED = bytes(10) + b"\xff\xff"
# Each has one spelling: `007` would be a second name of the same address, and say something.
_OCTET = {str(n).encode(): n for n in range(256)}
_NIBBLE = {f"{n:x}".encode(): n for n in range(16)}


def address_of(name: Name) -> Addr | None:
    """The address that a whole reverse name stands for; None for every other name."""
    if not name.endswith(b"\x04arpa\x00"):
        return None
    parts = labels(name)
    zone, rest = parts[-2:], parts[:-2]
    if zone == _V4 and len(rest) == _OCTETS:
        octets = [_OCTET.get(label) for label in reversed(rest)]
        whole = [octet for octet in octets if octet is not None]
        return Addr(_MAPPED + bytes(whole)) if len(whole) == _OCTETS else None
    if zone == _V6 and len(rest) == _NIBBLES:
        nibbles = [_NIBBLE.get(label) for label in reversed(rest)]
        known = [nibble for nibble in nibbles if nibble is not None]
        if len(known) == _NIBBLES:
            pairs = zip(known[::2], known[1::2], strict=True)
            addr = bytes(high << 4 | low for high, low in pairs)
            # A mapped address has a name of its own, as IPv4.
            return None if addr.startswith(_MAPPED) else Addr(addr)
    return None
