"""The child's packets and codes, without a wall."""

from __future__ import annotations

import errno
import socket
import struct

from dnsfw.datapath import probe_child


def test_the_frame_dies_at_the_first_router() -> None:
    packet = probe_child._packet()

    head = struct.unpack("!10H", packet[:20])
    total = sum(head)
    total = (total & 0xFFFF) + (total >> 16)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # the checksum holds
    assert packet[8] == 1  # TTL
    assert packet[16:20] == socket.inet_aton("192.0.2.1")  # TEST-NET-1
    assert int.from_bytes(packet[2:4], "big") == len(packet)


def test_every_other_probe_stays_on_loopback() -> None:
    reached: list[str] = []
    bound: list[str] = []

    class Recording:
        def connect(self, to: tuple[str, int]) -> None:
            reached.append(to[0])

        def sendto(self, data: bytes, to: tuple[str, int]) -> None:
            reached.append(to[0])

        def send(self, data: bytes) -> None:
            pass

        def bind(self, address: tuple[str, int]) -> None:
            bound.append(address[0])

    for attempt in probe_child.SOCKETS.values():
        attempt(lambda *_: Recording())  # type: ignore[arg-type, return-value]

    assert len(reached) + len(bound) == len(probe_child.SOCKETS)
    assert bound == ["192.0.2.1", "2001:db8::1"]  # nobody's: no port is really taken
    assert all(address.startswith("127.") or address == "::1" for address in reached)


def test_a_refusal_is_told_by_its_number() -> None:
    def refused() -> None:
        raise PermissionError(errno.EPERM, "no")

    assert probe_child.attempt(refused) == errno.EPERM
    assert probe_child.attempt(lambda: None) == 0
