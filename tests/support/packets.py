"""Packets as expressions: `Ether(IP4("192.0.2.10", UDP(53)))` is the bytes of a frame.

Every header takes what a liar would change (lengths, versions, offsets) as a keyword.
Checksums are zero: nothing that is tested here reads them. Addresses are TEST-NET's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

HOST4, HOST6 = "198.51.100.5", "2001:db8:5::5"  # who sends, unless a packet says otherwise
NEAR_MAC, FAR_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
ARP, VLAN, QINQ, EAPOL, SLOW, MPLS, PPPOE = (
    0x0806, 0x8100, 0x88A8, 0x888E, 0x8809, 0x8847, 0x8864,
)  # fmt: skip
LSRR, SSRR = 131, 137


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes, and the number by which the header before them announces them."""

    number: int
    wire: bytes

    def __bytes__(self) -> bytes:
        return self.wire


def ones_sum(data: bytes) -> int:
    """RFC 1071."""
    total = int(sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def Raw(number: int, wire: bytes = b"\0" * 16) -> Part:
    return Part(number, wire)


def TCP(port: int, flags: int = SYN, data: bytes = b"", *, sport: int = 40000, seq: int = 1,
        words: int = 5) -> Part:  # fmt: skip
    head = struct.pack("!HHIIBBHHH", sport, port, seq, 0, words << 4, flags, 64240, 0, 0)
    return Part(6, head + data)


def UDP(port: int, data: bytes = b"data", *, sport: int = 40000) -> Part:
    return Part(17, struct.pack("!HHHH", sport, port, 8 + len(data), 0) + data)


def UDPLite(port: int) -> Part:
    return Part(136, UDP(port).wire)


def SCTP(port: int) -> Part:
    return Part(132, struct.pack("!HHII", 40000, port, 0, 0))


def ICMP(kind: int = 8, data: bytes = b"\0" * 8) -> Part:
    return Part(1, struct.pack("!BBHI", kind, 0, 0, 1) + data)


def ICMP6(kind: int = 128, data: bytes = b"\0" * 8) -> Part:
    return Part(58, ICMP(kind, data).wire)


def IP4(dst: str, payload: Part, *, src: str = HOST4, ttl: int = 64, options: bytes = b"",
        offset: int = 0, more: bool = False, ident: int = 7, version: int = 4,
        words: int | None = None, length: int | None = None) -> Part:  # fmt: skip
    options += b"\0" * (-len(options) % 4)
    head = 20 + len(options)
    wire = struct.pack(
        "!BBHHHBBH4s4s", version << 4 | (head // 4 if words is None else words), 0,
        head + len(payload.wire) if length is None else length, ident,
        (0x2000 if more else 0) | offset, ttl, payload.number, 0,
        ip_address(src).packed, ip_address(dst).packed,
    )  # fmt: skip
    check = 0xFFFF - ones_sum(wire + options)
    return Part(0x0800, wire[:10] + check.to_bytes(2, "big") + wire[12:] + options + payload.wire)


def IP6(dst: str, payload: Part, *, src: str = HOST6, hops: int = 64, version: int = 6,
        length: int | None = None) -> Part:  # fmt: skip
    wire = struct.pack(
        "!IHBB16s16s", version << 28, len(payload.wire) if length is None else length,
        payload.number, hops, ip_address(src).packed, ip_address(dst).packed,
    )  # fmt: skip
    return Part(0x86DD, wire + payload.wire)


def HopOptions(payload: Part, *, words: int = 0) -> Part:
    return Part(0, struct.pack("!BBBB4x", payload.number, words, 1, 4) + payload.wire)


def DestOptions(payload: Part) -> Part:
    return Part(60, HopOptions(payload).wire)


def Routing(payload: Part, *, left: int, kind: int = 4) -> Part:
    return Part(43, struct.pack("!BBBB4x", payload.number, 0, kind, left) + payload.wire)


def Fragment(payload: Part, *, offset: int = 0, more: bool = False, ident: int = 7) -> Part:
    """`offset` in units of 8 bytes, as in IP4."""
    head = struct.pack("!BBHI", payload.number, 0, offset << 3 | more, ident)
    return Part(44, head + payload.wire)


def Cut(payload: Part, start: int, end: int | None = None) -> Part:
    """A piece of a part, as a fragment carries it."""
    return Part(payload.number, payload.wire[start:end])


def Ether(payload: Part, *, tags: Sequence[int] = (), dst: bytes = FAR_MAC) -> bytes:
    """A frame; `tags` are the ethertypes of VLAN tags, outermost first."""
    types = [*tags, payload.number]
    head = dst + NEAR_MAC + struct.pack("!H", types[0])
    for number in types[1:]:
        head += struct.pack("!HH", 5, number)
    return head + payload.wire
