"""Addresses and prefixes in a policy: the 128-bit form the kernel's table is keyed by."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network

from dnsfw.model import Addr, addr_from, addr_text
from dnsfw.values import dataclass

_MAPPED_BITS = 96
MAPPED = Addr(bytes(10) + b"\xff\xff" + bytes(4))  # ::ffff:0:0, where IPv4 lives


@dataclass(frozen=True, slots=True)
class Prefix:
    """`bits` leading bits of `addr`; IPv4 is mapped, so its bits are 96 + n.

    A prefix is of one family: `[::]/0` is every IPv6 address and no IPv4 address.
    """

    addr: Addr
    bits: int

    @classmethod
    def of(cls, net: IPv4Network | IPv6Network) -> Prefix:
        extra = _MAPPED_BITS if isinstance(net, IPv4Network) else 0
        return cls(addr_from(net.network_address), net.prefixlen + extra)

    @property
    def v4(self) -> bool:
        return self.bits >= _MAPPED_BITS and self.addr.startswith(MAPPED[:12])

    @property
    def number(self) -> int:
        """The leading bits alone, as a number: equal for all addresses inside."""
        return int.from_bytes(self.addr, "big") >> (128 - self.bits)

    @property
    def text(self) -> str:
        """As a policy writes it: 10.0.0.0/8, 192.0.2.1, [2001:db8::]/32, [2001:db8::1]."""
        if self.v4:
            length, shown = self.bits - _MAPPED_BITS, addr_text(self.addr)
            return shown if length == 32 else f"{shown}/{length}"
        shown = f"[{IPv6Address(self.addr)}]"
        return shown if self.bits == 128 else f"{shown}/{self.bits}"

    @property
    def span(self) -> tuple[int, int]:
        """First address and one past the last, as numbers."""
        low = self.number << (128 - self.bits)
        return low, low + (1 << (128 - self.bits))

    def shortened(self, bits: int) -> Prefix | None:
        """The prefix of that length around this one; None across families or inwards."""
        if bits > self.bits or (self.v4 and bits < _MAPPED_BITS):
            return None
        shift = 128 - bits
        number = int.from_bytes(self.addr, "big") >> shift << shift
        return Prefix(Addr(number.to_bytes(16, "big")), bits)

    def holds(self, other: Prefix) -> bool:
        """Whether all of `other` lies inside, families kept apart."""
        if self.v4 != other.v4 or other.bits < self.bits:
            return False
        return int.from_bytes(other.addr, "big") >> (128 - self.bits) == self.number
