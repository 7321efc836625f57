"""Devices by ioctl, addresses by netlink, on whatever machine this is."""

from __future__ import annotations

import socket
import struct

import pytest

from dnsfw.datapath import devices
from dnsfw.datapath.devices import Device, DeviceWatch, Layer, addresses, layer_of
from dnsfw.errors import DatapathError
from dnsfw.model import addr_from


@pytest.mark.parametrize(
    ("link_type", "layer"),
    [(1, Layer.FRAME), (772, Layer.FRAME), (0xFFFE, Layer.PACKET), (768, Layer.PACKET),
     (32, None), (280, None)],
)  # fmt: skip
def test_the_link_type_says_where_a_packet_begins(link_type: int, layer: Layer | None) -> None:
    assert layer_of(link_type) is layer


def test_lo_is_found_and_is_not_guarded() -> None:
    lo = devices.device("lo")

    assert lo is not None
    assert (lo.index, lo.loopback, lo.layer) == (socket.if_nametoindex("lo"), True, Layer.FRAME)
    assert "lo" not in devices.guardable()


def test_a_device_that_is_not_there_is_none() -> None:
    assert devices.device("nosuchdevice0") is None


def test_a_bus_that_carries_no_ip_is_not_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    can = Device(7, "can0", None, loopback=False, up=True, carries_ip=False)
    odd = Device(8, "ib0", None, loopback=False, up=True)
    monkeypatch.setattr(devices, "devices", lambda: (can, odd))

    assert devices.guardable() == ("ib0",)


def test_the_addresses_of_lo_are_among_ours() -> None:
    assert addr_from("127.0.0.1") in addresses()


def test_point_to_point_addresses_are_ours_and_not_the_peers() -> None:
    def attribute(kind: int, value: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(value), kind) + value

    peer, ours = socket.inet_aton("10.0.0.2"), socket.inet_aton("10.0.0.1")
    body = bytes(8) + attribute(1, peer) + attribute(2, ours)

    assert list(devices._addresses(body)) == [addr_from("10.0.0.1")]


def test_an_ipv6_address_has_no_local_attribute() -> None:
    body = bytes(8) + struct.pack("=HH", 20, 1) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")

    assert list(devices._addresses(body)) == [addr_from("2001:db8::1")]


def test_a_refused_dump_is_an_error_and_not_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1)

    class Refusing(socket.socket):
        def sendto(self, *_: object) -> int:
            return 0

        def recv(self, *_: object) -> bytes:
            return refusal

    monkeypatch.setattr(devices.socket, "socket", Refusing)

    with pytest.raises(DatapathError):
        addresses()


def test_a_message_of_no_length_does_not_stop_the_reader() -> None:
    assert len(list(devices._messages(bytes(64)))) == 4


def test_a_quiet_watch_reports_nothing() -> None:
    watch = DeviceWatch()
    try:
        watch.drain()

        assert watch.fileno() >= 0
        assert watch.drain() is False
    finally:
        watch.close()


def _attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((7 + len(value)) & ~3, b"\0")


def test_the_ports_of_a_bridge_that_lead_to_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(index: int, name: bytes, kind: bytes = b"", master: int = 0) -> bytes:
        body = struct.pack("=BxHiII", 0, 1, index, 0, 0) + _attribute(3, name + b"\0")
        if master:
            body += _attribute(10, struct.pack("=I", master))
        if kind:
            body += _attribute(18 | 0x8000, _attribute(1, kind + b"\0"))  # NLA_F_NESTED
        return body

    links = [
        link(7, b"veth7", b"veth", 2),
        link(2, b"br0", b"bridge"),
        link(3, b"eth0", b"", 2),  # leads out of this host
        link(8, b"tap0", b"tun", 2),
        link(9, b"veth9", b"veth"),
    ]
    monkeypatch.setattr(devices, "_dump", lambda *_: iter(links))

    assert devices.guest_ports() == {"br0": ("veth7", "tap0")}


def test_what_a_device_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(name: bytes, kind: bytes, below: int, elsewhere: bool = False) -> bytes:
        body = struct.pack("=BxHiII", 0, 1, 9, 0, 0) + _attribute(3, name + b"\0")
        body += _attribute(5, struct.pack("=I", below))
        if elsewhere:  # what is below has this number in another namespace
            body += _attribute(37, struct.pack("=i", 0))
        return body + _attribute(18 | 0x8000, _attribute(1, kind + b"\0"))

    links = [
        link(b"eth0.7", b"vlan", 2),
        link(b"eth1.7", b"vlan", 3),
        link(b"veth5", b"veth", 2),
        link(b"eth0.8", b"vlan", 2),
        link(b"eth0.9", b"vlan", 2, elsewhere=True),
        link(b"tunnel", b"vxlan", 2),  # its frames are datagrams to eth0 itself
        link(b"mv", b"macvlan", 2),
    ]
    monkeypatch.setattr(devices, "_dump", lambda *_: iter(links))

    assert devices.carried_by(2) == ("eth0.7", "eth0.8", "mv")
    assert devices.carried_by(4) == ()


def test_this_hosts_own_links_can_be_listed() -> None:
    assert devices.carried_by(1) == ()
    assert all(names for names in devices.guest_ports().values())
