"""Queries through the programs that answer, one packet at a time, and replies read back.

A `Way` is one of the places where the kernel answers; `Kitchen` has the tables of one test.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from dnsfw.datapath import abi
from dnsfw.datapath.answers import Answer, AnswerKey, AnswerTable
from dnsfw.datapath.bpf import RunResult, prog_test_run
from dnsfw.datapath.stages import set_stages
from dnsfw.model import HOST, Name, Nanos, RoleId, RolePlan
from dnsfw.wire.codes import CD, RD
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import Template
from tests.support.packets import IP4, IP6, UDP, Ether, Part, ones_sum
from tests.support.wall import ALLOW, DENY, LATER, MAIL, WEB, Wall, boottime

HERE4, HERE6 = "198.51.100.1", "2001:db8:5::1"  # where dnsfw listens, as guests see it
GUEST4, GUEST6 = "198.51.100.5", "2001:db8:5::5"
SERVER4, SERVER6 = "127.0.53.53", "::1"
CLIENT4, CLIENT6 = "127.0.0.1", "::1"
PORT = 40000
ANSWERED = int(abi.DnsMark.MARK_ANSWERED)
_NEXT, _REDIRECT = 0xFFFFFFFF, 7
_XDP_PASS, _XDP_TX = 2, 3
_ROOM = 2048
_CTX_BYTES, _MARK_AT, _IFINDEX_AT = 192, 8, 40


@dataclass(frozen=True, slots=True)
class Way:
    """One adapter: what is run, and what it returns for a reply and for "go on"."""

    name: str
    program: str
    replied: int
    passed: int
    mark_after: int = 0
    link: bool = True  # frames have an Ethernet header
    loopback: bool = False
    xdp: bool = False
    wire: bool = False  # checksums and sources are looked at

    def __str__(self) -> str:
        return self.name

    def to(self, v6: bool) -> str:
        return (SERVER6 if v6 else SERVER4) if self.loopback else HERE6 if v6 else HERE4

    def by(self, v6: bool) -> str:
        return (CLIENT6 if v6 else CLIENT4) if self.loopback else GUEST6 if v6 else GUEST4


LO = Way("lo", "dnsfw_answer_lo", _NEXT, _NEXT, loopback=True)
LO_STAGE = Way("tc_lo", "dnsfw_tc_lo", _NEXT, _NEXT, loopback=True)
GUEST = Way("guest", "dnsfw_guest_in", _REDIRECT, _NEXT, ANSWERED, wire=True)
EDGE = Way("edge", "dnsfw_edge_in", _REDIRECT, _NEXT, ANSWERED, wire=True)
GUEST_L3 = Way("guest_l3", "dnsfw_guest_in_l3", _REDIRECT, _NEXT, ANSWERED, False, wire=True)
INSIDE = Way("inside", "dnsfw_answer_inside", _REDIRECT, _NEXT)
XDP = Way("xdp", "dnsfw_answer_xdp", _XDP_TX, _XDP_PASS, xdp=True, wire=True)
WAYS = (LO, GUEST, EDGE, GUEST_L3, INSIDE, XDP)


@dataclass(frozen=True, slots=True)
class Told:
    """A reply, taken apart; nothing of it is believed before `checked`."""

    frame: bytes
    ip: int  # where the IP header begins

    @property
    def v6(self) -> bool:
        return self.frame[self.ip] >> 4 == 6

    @property
    def udp(self) -> bytes:
        return self.frame[self.ip + (40 if self.v6 else 20) :]

    @property
    def dns(self) -> bytes:
        return self.udp[8:]

    @property
    def addresses(self) -> tuple[str, str]:
        at, size = (self.ip + 8, 16) if self.v6 else (self.ip + 12, 4)
        raw = self.frame[at : at + 2 * size]
        return str(ip_address(raw[:size])), str(ip_address(raw[size:]))

    @property
    def ports(self) -> tuple[int, int]:
        source, destination = struct.unpack("!HH", self.udp[:4])
        return source, destination

    @property
    def check(self) -> int:
        return int.from_bytes(self.udp[6:8], "big")

    @property
    def pseudo(self) -> bytes:
        size = len(self.udp)
        if self.v6:
            return self.frame[self.ip + 8 : self.ip + 40] + struct.pack("!IHBB", size, 0, 0, 17)
        return self.frame[self.ip + 12 : self.ip + 20] + struct.pack("!BBH", 0, 17, size)

    def checked(self) -> Told:
        """The same, once lengths and checksums are what RFC 791, 768 and 8200 say."""
        head = self.frame[self.ip : self.ip + (40 if self.v6 else 20)]
        size = len(self.frame) - self.ip
        if self.v6:
            assert struct.unpack("!H", head[4:6]) == (size - 40,)
            assert head[6:8] == bytes([17, 64])
            assert self.check != 0, "UDP over IPv6 has a checksum (RFC 8200, 8.1)"
        else:
            assert struct.unpack("!H", head[2:4]) == (size,)
            assert head[0] == 0x45 and head[8:10] == bytes([64, 17])
            assert ones_sum(head) == 0xFFFF, "the checksum of the IPv4 header"
        assert struct.unpack("!H", self.udp[4:6]) == (len(self.udp),)
        assert ones_sum(self.pseudo + self.udp) == 0xFFFF, "the checksum of UDP"
        return self


def question(
    name: Name | str,
    qtype: int = 1,
    *,
    id: int = 0x1234,
    flags: int = RD,
    opt: bytes = b"",
    qclass: int = 1,
    counts: tuple[int, int, int] = (1, 0, 0),
) -> bytes:
    """A query as a client writes it; `opt` is the whole record."""
    wire = name if isinstance(name, bytes) else from_text(name)
    head = struct.pack("!HHHHHH", id, flags, *counts, 1 if opt else 0)
    return head + wire + struct.pack("!HH", qtype, qclass) + opt


def opt_record(size: int = 1232, *, do: bool = False, version: int = 0, flags: int = 0,
               high: int = 0, rdata: bytes = b"") -> bytes:  # fmt: skip
    bits = (0x8000 if do else 0) | flags
    return struct.pack("!BHHBBHH", 0, 41, size, high, version, bits, len(rdata)) + rdata


def name_of(length: int) -> Name:
    """A name of so many octets, in labels as long as can be."""
    wire, left = b"", length - 1
    while left:
        label = min(63, left - 1)
        if left - label - 1 == 1:  # a label has at least one octet
            label -= 1
        wire += bytes([label]) + b"abcdefghijklmnopqrstuvwxyz0123456789-_".ljust(63, b"z")[:label]
        left -= label + 1
    return Name(wire + b"\0")


def answer_of(template: Template, born: Nanos, until: Nanos, *, refusal: bool = False) -> Answer:
    """What the kernel is told of a template."""
    parts = template.parts
    return Answer(
        parts.flags, parts.bare_flags, parts.ad, parts.answers, parts.authority, parts.body,
        () if refusal else parts.ttl_at, parts.opt, born, until, refusal,
    )  # fmt: skip


class Kitchen:
    """Listeners, roles and a table of answers; `host` and WEB may ask, WEB by its link."""

    def __init__(self, wall: Wall) -> None:
        self.wall = wall
        self.guest = socket.if_nametoindex("eth1")
        wall.policy(ALLOW, others=[RolePlan(WEB, DENY), RolePlan(MAIL, DENY)])
        for address in (HERE4, HERE6, SERVER4, SERVER6):
            wall.listen(address)
        wall.keep_locals(HERE4, HERE6, CLIENT4, CLIENT6)
        wall.device_is(self.guest, WEB)
        set_stages(wall.table("dnsfw_stages"), wall.loaded.programs, on=True)
        self.table = AnswerTable.open(wall.loaded.maps)
        self.table.switch(answers=True)

    def publish(
        self,
        template: Template,
        name: Name | str,
        qtype: int = 1,
        *,
        role: RoleId = WEB,
        do: bool = False,
        cd: bool = False,
        age: float = -60,
        left: float = LATER / 10**9,
        refusal: bool = False,
    ) -> AnswerKey:
        """An answer that was born `age` seconds ago (by default, it does not age) and lasts for
        `left` more.
        """
        wire = name if isinstance(name, bytes) else from_text(name)
        now = boottime()
        born, until = Nanos(now - int(age * 10**9)), Nanos(now + int(left * 10**9))
        key = AnswerKey(role, Name(wire), qtype, do, cd)
        assert self.table.publish(key, answer_of(template, born, until, refusal=refusal))
        return key

    def ask(
        self,
        way: Way,
        query: bytes,
        *,
        v6: bool = False,
        role: RoleId = WEB,
        sport: int = PORT,
        to: str = "",
        by: str = "",
        sums: str = "whole",
    ) -> Told | None:
        """The reply that the kernel made, checked; None: the packet goes on as it came."""
        to, by = to or way.to(v6), by or way.by(v6)
        packet = UDP(53, query, sport=sport)
        packet = with_check(packet, by, to, sums)
        whole = IP6(to, packet, src=by) if v6 else IP4(to, packet, src=by)
        return self.run(way, whole, role=role)

    def run(self, way: Way, packet: Part | bytes, *, role: RoleId = WEB) -> Told | None:
        frame = packet if isinstance(packet, bytes) else as_wire(way, packet)
        with self._asker(way, role):
            ran, mark = self._run(way, frame, role)
        if ran.data == frame:
            assert ran.retval == way.passed
            return None
        assert ran.retval == way.replied
        assert way.xdp or mark == way.mark_after
        return Told(ran.data, 14 if way.link else 0)

    @contextmanager
    def _asker(self, way: Way, role: RoleId) -> Iterator[None]:
        if way.loopback:
            yield
            return
        device = self.wall.device if way is INSIDE else self.guest
        self.wall.device_is(device, role)
        yield
        self.wall.device_is(device, WEB)

    def _run(self, way: Way, frame: bytes, role: RoleId) -> tuple[RunResult, int]:
        fd = self.wall.loaded.programs[way.program].fd
        if way.xdp:
            ctx = struct.pack("=IIIIII", 0, len(frame), 0, self.guest, 0, 0)
            return prog_test_run(fd, frame, ctx=ctx, room=_ROOM), 0
        context = bytearray(_CTX_BYTES)
        device = 1 if way.loopback else self.wall.device if way is INSIDE else self.guest
        struct.pack_into("=I", context, _IFINDEX_AT, device)
        if way is LO:
            struct.pack_into("=I", context, _MARK_AT, role)
        ran = prog_test_run(fd, frame, ctx=bytes(context), room=_ROOM)
        (mark,) = struct.unpack_from("=I", ran.ctx, _MARK_AT)
        return ran, mark

    def falls(self) -> dict[abi.Fall, int]:
        return {fall: count for fall, count in self.table.counters().items() if count}


def as_wire(way: Way, packet: Part) -> bytes:
    return Ether(packet) if way.link else packet.wire


def with_check(udp: Part, src: str, dst: str, sums: str = "whole") -> Part:
    """The datagram with its checksum: `whole`, `begun` (the rest is left to the device),
    `none`, or `bad`.
    """
    a, b = ip_address(src).packed, ip_address(dst).packed
    size = struct.pack("!I" if len(a) == 16 else "!H", len(udp.wire))
    pseudo = a + b + size + (b"\0\0\0\x11" if len(a) == 16 else b"\0\x11")
    if sums == "begun":
        check = ones_sum(pseudo)
    elif sums == "none":
        check = 0
    else:
        check = 0xFFFF - ones_sum(pseudo + udp.wire) or 0xFFFF
        check ^= 0x0101 if sums == "bad" else 0
    return Part(udp.number, udp.wire[:6] + check.to_bytes(2, "big") + udp.wire[8:])


__all__ = ["CD", "HOST", "LO", "WAYS", "Kitchen", "Told", "Way"]
