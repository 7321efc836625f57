"""What kind of address an answer holds: ordinary, private, or one that no answer may hold."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from dnsfw.model import Addr, addr_from
from dnsfw.policy.addresses import METADATA

_MAPPED = bytes(10) + b"\xff\xff"
_NAT64 = bytes.fromhex("0064ff9b0000000000000000")  # RFC 6052, section 2.1
_NAT64_LOCAL = bytes.fromhex("0064ff9b0001")  # RFC 8215: any length from /48 on
_6TO4 = bytes.fromhex("2002")
_TEREDO = bytes.fromhex("20010000")
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))  # RFC 5214, section 6.1


Nat64 = tuple[IPv6Network, ...]


class Kind(Enum):
    ORDINARY = "ordinary"
    PRIVATE = "private"  # the site's own: only where the policy says so
    SPECIAL = "special"  # means this host, this link, a group or nothing: never in an answer


_SPECIAL_4 = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32")
_PRIVATE_4 = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
# ::/96 is the unspecified address, loopback and the deprecated IPv4-compatible form.
_SPECIAL_6 = ("::/96", "fe80::/10", "ff00::/8")
_PRIVATE_6 = ("fc00::/7", "fec0::/10")


def _spans(*texts: str) -> tuple[tuple[bytes, bytes], ...]:
    nets = [IPv6Network(t) if ":" in t else IPv4Network(t) for t in texts]
    return tuple((addr_from(n[0]), addr_from(n[-1])) for n in nets)


# Disjoint and sorted, so that one bisection finds the only span that can hold an address.
_SPANS = sorted(
    [(*span, Kind.SPECIAL) for span in _spans(*_SPECIAL_4, *_SPECIAL_6)]
    + [(*span, Kind.PRIVATE) for span in _spans(*_PRIVATE_4, *_PRIVATE_6)]
)
_LOWS = [low for low, _, _ in _SPANS]
_METADATA = frozenset(prefix.addr for prefix in METADATA)


@lru_cache(maxsize=64)
def _head(net: IPv6Network) -> bytes:
    return net.network_address.packed[: net.prefixlen // 8]


def translated(addr: Addr, nat64: Nat64) -> Addr | None:
    """What this network's translators make of an address. The policy names their prefixes:
    what ipv4only.arpa says of them (RFC 7050) is an answer like any, and no reason to trust one.
    """
    for net in nat64:
        head = _head(net)
        if addr.startswith(head):  # RFC 6052, section 2.2: octet 8 is skipped
            size = len(head)
            inner = addr[size:8] + addr[9:] if size <= 8 else addr[size:]
            return Addr(_MAPPED + inner[:4])
    return None


def embedded(addr: Addr, nat64: Nat64 = ()) -> Addr | None:
    """The IPv4 address that a translator or a tunnel would take out of an IPv6 one."""
    if addr.startswith(_MAPPED):  # IPv4 itself, which most are
        return None
    if nat64 and (found := translated(addr, nat64)) is not None:
        return found
    inner: bytes | None = None
    if addr.startswith(_NAT64):
        inner = addr[12:]
    elif addr.startswith(_NAT64_LOCAL):
        # RFC 6052, section 2.2: with a /48 the rest is zero and octet 8 is skipped.
        inner = addr[12:] if any(addr[11:]) else addr[6:8] + addr[9:11]
    elif addr.startswith(_6TO4):
        inner = addr[2:6]
    elif addr.startswith(_TEREDO):
        inner = bytes(octet ^ 0xFF for octet in addr[12:])  # RFC 4380, section 4
    elif addr[8:12] in _ISATAP:
        inner = addr[12:]
    return Addr(_MAPPED + inner) if inner is not None else None


def kind(
    addr: Addr, own: frozenset[Addr] = frozenset(), *, ipv6: bool = False, nat64: Nat64 = ()
) -> Kind:
    """The kind of an address; `own` are this host's, `ipv6` says it came in an AAAA record.

    An IPv4 address in a disguise is special as soon as it is not ordinary: nobody has an
    honest reason to send 10.0.0.1 as ::ffff:10.0.0.1 or 64:ff9b::a00:1.
    """
    if nat64 and (inner := translated(addr, nat64)) is not None:
        return Kind.ORDINARY if kind(inner, own) is Kind.ORDINARY else Kind.SPECIAL
    found = Kind.PRIVATE if addr in _METADATA or addr in own else _listed(addr)
    if found is Kind.SPECIAL:
        return found
    if found is Kind.ORDINARY:
        inner = embedded(addr)
        if inner is None or kind(inner, own) is Kind.ORDINARY:
            return Kind.ORDINARY
        return Kind.SPECIAL
    disguised = ipv6 and addr.startswith(_MAPPED)
    return Kind.SPECIAL if disguised else found


def _listed(addr: Addr) -> Kind:
    """What the lists above say of an address."""
    at = bisect_right(_LOWS, addr) - 1
    if at >= 0:
        _, high, found = _SPANS[at]
        if addr <= high:
            return found
    return Kind.ORDINARY


def is_loopback(addr: Addr) -> bool:
    """127.0.0.0/8 or ::1."""
    return addr.startswith(_MAPPED + b"\x7f") or addr == bytes(15) + b"\x01"


_TUNNELS = ((_NAT64, 96), (_NAT64_LOCAL, 48), (_6TO4, 16), (_TEREDO, 32))


def borders(
    prefixes: Iterable[tuple[bytes, int]], own: Iterable[Addr], nat64: Nat64
) -> list[bytes]:
    """Where what is not simply `Kind.ORDINARY` begins and ends, and these prefixes do (of the
    128-bit form): an address has an even number of borders at it or before it, or something is
    to be looked at. ISATAP, which is no prefix, is not among them.
    """
    spans = [(int.from_bytes(low, "big"), int.from_bytes(high, "big")) for low, high, _ in _SPANS]
    more = [*prefixes, *((addr, 128) for addr in (*_METADATA, *own)), *_TUNNELS]
    more += [(_head(net), len(_head(net)) * 8) for net in nat64]
    for addr, bits in more:
        low = int.from_bytes(addr.ljust(16, b"\0"), "big") >> (128 - bits) << (128 - bits)
        spans.append((low, low + (1 << (128 - bits)) - 1))
    found: list[int] = []
    for low, high in sorted(spans):
        if found and low <= found[-1]:
            found[-1] = max(found[-1], high + 1)
        else:
            found += (low, high + 1)
    # Behind the last address there is none to compare with.
    return [n.to_bytes(17, "big")[1:] if n >> 128 == 0 else b"\xff" * 17 for n in found]


def is_isatap(addr: Addr) -> bool:
    """Whether it may hold an IPv4 address as RFC 5214 writes it."""
    return addr[8:12] in _ISATAP
