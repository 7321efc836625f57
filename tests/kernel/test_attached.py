"""Every program attached, with real sockets: what a test run of one packet cannot show.

The address hooks refuse test runs, a test run has no listening, raw or marked socket, and
the kernel's own RST and ICMP sockets exist only on a live path. Two namespaces and a link;
the guarded one either by its cgroup or by its device alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from dnsfw.datapath import abi, netlink, own
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.events import Events
from dnsfw.datapath.hooks import has_tcx
from dnsfw.datapath.links import link_create
from dnsfw.datapath.netlink import Side
from dnsfw.datapath.syscall import AttachType
from dnsfw.model import Reason, addr_from
from tests.support.netlab import Capture, Cgroup, Lab, Netns, wait_until
from tests.support.packets import IP4, UDP, VLAN, Ether
from tests.support.site import act_in
from tests.support.wall import ALLOW, LATER, RULE, Wall

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cgroup]

HERE4, HERE6 = "198.51.100.5", "2001:db8:5::5"
PEER4, PEER6 = "198.51.100.6", "2001:db8:5::6"
SHUT4, SHUT6 = "198.51.100.7", "2001:db8:5::7"
PATIENCE = 5.0  # seconds for what arrives in microseconds
NEVER = 0.3  # seconds for what must not arrive

CGROUP_HOOKS = {
    "dnsfw_sock_create": AttachType.CGROUP_INET_SOCK_CREATE,
    "dnsfw_cg_ingress": AttachType.CGROUP_INET_INGRESS,
    "dnsfw_cg_egress": AttachType.CGROUP_INET_EGRESS,
    "dnsfw_connect4": AttachType.CGROUP_INET4_CONNECT,
    "dnsfw_connect6": AttachType.CGROUP_INET6_CONNECT,
    "dnsfw_sendmsg4": AttachType.CGROUP_UDP4_SENDMSG,
    "dnsfw_sendmsg6": AttachType.CGROUP_UDP6_SENDMSG,
}
DEVICE_HOOKS = {
    "dnsfw_tc_ingress": AttachType.TCX_INGRESS,
    "dnsfw_tc_egress": AttachType.TCX_EGRESS,
}


@dataclass(frozen=True)
class Site:
    """The guarded namespace and cgroup, and the peer that nobody guards."""

    wall: Wall
    guarded: Netns
    outside: Netns
    cgroup: Cgroup

    def inside(self, act: Callable[[], Any]) -> Any:
        """What `act` returns, or the OSError it raises, in a process of the cgroup."""
        return act_in(self.cgroup.path, self.guarded, act)


def attach_by_clsact(loaded: Loaded, device: int) -> None:
    """Before Linux 6.6. The filters go with the namespace."""
    netlink.add_clsact(device)
    for name, side in (("dnsfw_tc_ingress", Side.INGRESS), ("dnsfw_tc_egress", Side.EGRESS)):
        netlink.set_filter(device, side, loaded.programs[name].fd, name)


@pytest.fixture(params=["cgroup", "device"])
def site(request: pytest.FixtureRequest, loaded: Loaded, lab: Lab) -> Iterator[Site]:
    guarded, outside, cgroup = lab.namespace("in"), lab.namespace("out"), lab.cgroup()
    lab.link(guarded, outside)
    for netns, last in ((guarded, 5), (outside, 6)):
        netns.ip(f"addr add 198.51.100.{last}/24 dev eth0")
        netns.ip(f"addr add 2001:db8:5::{last}/64 dev eth0 nodad")
    outside.ip(f"addr add {SHUT4}/24 dev eth0")
    outside.ip(f"addr add {SHUT6}/64 dev eth0 nodad")
    links: list[int] = []
    with guarded.entered():
        wall = Wall(loaded, socket.if_nametoindex("eth0"), own.netns_cookie())
        directory = os.open(cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
        hooks = CGROUP_HOOKS if request.param == "cgroup" else DEVICE_HOOKS
        target = directory if request.param == "cgroup" else wall.device
        try:
            if request.param == "device" and not has_tcx():
                attach_by_clsact(loaded, wall.device)
            else:
                for name, attach in hooks.items():
                    links.append(link_create(loaded.programs[name].fd, target, attach))
        finally:
            os.close(directory)
    try:
        yield Site(wall, guarded, outside, cgroup)
    finally:
        for link in links:
            os.close(link)


ONLY_CGROUP = pytest.mark.parametrize("site", ["cgroup"], indirect=True)
ONLY_DEVICE = pytest.mark.parametrize("site", ["device"], indirect=True)
FAMILIES = pytest.mark.parametrize(
    ("family", "here", "peer", "shut"),
    [(socket.AF_INET, HERE4, PEER4, SHUT4), (socket.AF_INET6, HERE6, PEER6, SHUT6)],
    ids=["v4", "v6"],
)


def tcp_connect(family: int, address: str, port: int) -> Callable[[], str]:
    def act() -> str:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(NEVER * 3)
            sock.connect((address, port))
            return sock.recv(5).decode()

    return act


def listener(netns: Netns, family: int, address: str) -> socket.socket:
    sock = netns.socket(family, socket.SOCK_STREAM)
    sock.bind((address, 0))
    sock.listen()
    sock.settimeout(PATIENCE)
    return sock


# the address hooks


@ONLY_CGROUP
@FAMILIES
def test_row_01_and_02_connect_says_eperm_at_once(
    site: Site, family: int, here: str, peer: str, shut: str
) -> None:
    with listener(site.outside, family, peer) as server:
        port = server.getsockname()[1]
        site.wall.open(peer, text=f"{port}/tcp")

        assert site.inside(tcp_connect(family, shut, port)) == errno.EPERM
        assert site.inside(tcp_connect(family, peer, port + 1)) == errno.EPERM

        def greeted() -> str:
            with socket.create_connection((peer, port), PATIENCE) as sock:
                return str(sock.getpeername()[0])

        assert site.inside(greeted) == peer


@ONLY_CGROUP
def test_row_03_a_mapped_address_is_the_ipv4_one(site: Site) -> None:
    with listener(site.outside, socket.AF_INET, PEER4) as server:
        port = server.getsockname()[1]
        site.wall.open(PEER4, text=f"{port}/tcp")

        def mapped(address: str) -> Callable[[], bool]:
            def act() -> bool:
                with socket.socket(socket.AF_INET6) as sock:
                    sock.settimeout(PATIENCE)
                    sock.connect((f"::ffff:{address}", port))
                    return True

            return act

        assert site.inside(mapped(PEER4)) is True
        assert site.inside(mapped(SHUT4)) == errno.EPERM


@ONLY_CGROUP
@FAMILIES
def test_row_07_and_08_a_datagram_elsewhere_says_eperm(
    site: Site, family: int, here: str, peer: str, shut: str
) -> None:
    site.wall.open(peer, text="5000/udp")

    def send() -> list[int]:
        answers = []
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            for address in (peer, shut, peer):
                try:
                    answers.append(sock.sendto(b"x", (address, 5000)))
                except PermissionError:
                    answers.append(-1)
            sock.connect((peer, 5000))
            with contextlib.suppress(PermissionError):
                answers.append(sock.sendto(b"x", (shut, 5000)))
        return answers

    assert site.inside(send) == [1, -1, 1]


@ONLY_CGROUP
def test_row_12_a_transport_without_address_hooks_is_refused_all_the_same(site: Site) -> None:
    site.wall.open(PEER4, text="5000/udp")

    def lite() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136) as sock:
            return sock.sendto(b"x", (PEER4, 5000))

    assert site.inside(lite) == errno.EPERM
    site.wall.open(PEER4, text="5000/udplite")
    assert site.inside(lite) == 1


@ONLY_CGROUP
def test_getaddrinfo_may_look_for_a_source_but_no_datagram_leaves(site: Site) -> None:
    """glibc connects a UDP socket to each address that it sorts."""
    site.wall.open(PEER4, text="443/tcp")

    def probe() -> tuple[str, int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((PEER4, 443))
            source = str(sock.getsockname()[0])
            try:
                sock.send(b"x")
            except PermissionError as error:
                return source, error.errno
        return source, 0

    assert site.inside(probe) == (HERE4, errno.EPERM)
    assert site.inside(tcp_connect(socket.AF_INET, SHUT4, 443)) == errno.EPERM


@ONLY_CGROUP
def test_an_event_says_who_it_was(site: Site) -> None:
    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        list(events.read())

        def knock() -> int:
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_INET, socket.SOCK_RAW, 47) as raw,
            ):
                raw.sendto(b"x", (SHUT4, 0))
            with contextlib.suppress(OSError):
                tcp_connect(socket.AF_INET, SHUT4, 80)()
            return os.getpid()

        pid = site.inside(knock)
        seen = [event for event in events.read() if event.addr == addr_from(SHUT4)]

    hooks = {event.hook: event for event in seen}
    assert set(hooks) == {abi.Hook.CGROUP_EGRESS, abi.Hook.CONNECT}
    for event in seen:
        assert event.pid == pid
        assert event.comm.rstrip(b"\0")
        assert (event.role, event.reason) == (abi.RoleId.HOST, Reason.NEVER_RESOLVED)
    assert hooks[abi.Hook.CONNECT].port == 80
    assert hooks[abi.Hook.CGROUP_EGRESS].proto == 47


# the daemon's own


def test_row_61_only_a_marked_socket_is_the_daemons(site: Site) -> None:
    mark = own.OwnSockets(site.wall.loaded.maps)

    def send(marked: bool) -> Callable[[], int]:
        def act() -> int:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                if marked:
                    mark.mark(sock)
                return sock.sendto(b"needle-own", (SHUT4, 53))

        return act

    with Capture(site.outside, "eth0") as wire:
        refused = site.inside(send(False))
        allowed = site.inside(send(True))
        arrives(lambda: wire.saw(b"needle-own"))
        assert len([f for f in wire.to(SHUT4) if b"needle-own" in f]) == 1
    assert allowed == 10
    assert refused in (errno.EPERM, 10)  # TC drops in silence


def test_an_accepted_socket_of_the_daemons_is_its_own_too(site: Site) -> None:
    site.wall.policy(inbound=abi.Inbound.DENY)
    mark = own.OwnSockets(site.wall.loaded.maps)

    def serve() -> Any:
        with socket.socket() as server:
            mark.mark(server)
            server.bind((HERE4, 5353))
            server.listen()
            server.settimeout(PATIENCE)
            conn, _ = server.accept()
            with conn:
                conn.sendall(b"hello")
                conn.settimeout(PATIENCE)
                return conn.recv(5)

    answers = both(site, serve, lambda: ask(site.outside, HERE4, 5353))
    assert answers == (b"done!", b"hello")


# inbound, and what the kernel itself sends


@FAMILIES
def test_a_guarded_server_answers_who_connects(
    site: Site, family: int, here: str, peer: str, shut: str
) -> None:
    def serve() -> Any:
        with socket.socket(family) as server:
            server.bind((here, 8080))
            server.listen()
            server.settimeout(PATIENCE)
            conn, _ = server.accept()
            with conn:
                conn.sendall(b"hello")
                conn.settimeout(PATIENCE)
                return conn.recv(5)

    assert both(site, serve, lambda: ask(site.outside, here, 8080)) == (b"done!", b"hello")


def test_a_role_that_receives_nothing_accepts_nobody(site: Site) -> None:
    site.wall.policy(inbound=abi.Inbound.DENY)

    def serve() -> Any:
        with socket.socket() as server:
            server.bind((HERE4, 8080))
            server.listen()
            server.settimeout(NEVER * 2)
            server.accept()

    answers = both(site, serve, lambda: ask(site.outside, HERE4, 8080, patience=NEVER))
    assert answers[1] == b"timeout"


@FAMILIES
def test_a_closed_port_says_so(
    site: Site, family: int, here: str, peer: str, shut: str
) -> None:
    """RST and port unreachable leave though the policy allows nothing."""
    with site.outside.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        assert sock.connect_ex((here, 9)) == errno.ECONNREFUSED
    with site.outside.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((here, 9))
        sock.send(b"x" * 1200)
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)


@pytest.mark.parametrize("address", [HERE4, HERE6])
def test_a_ping_is_answered_where_anyone_may_come_in(site: Site, address: str) -> None:
    ping = ["ping", "-c1", "-W1", address]
    assert site.outside.run(ping).returncode == 0

    site.wall.policy(inbound=abi.Inbound.TCP)
    guarded_by_device = site.wall.sink.counters()[Reason.UPKEEP].allowed > 0
    assert (site.outside.run(ping).returncode == 0) is not guarded_by_device


# raw frames, past every cgroup hook


@ONLY_DEVICE
def test_row_16_a_packet_socket_is_judged_by_its_bytes(site: Site) -> None:
    site.wall.open(PEER4, text="443/udp")
    frames = {
        b"needle-open": Ether(IP4(PEER4, UDP(443, b"needle-open"), src=HERE4)),
        b"needle-shut": Ether(IP4(SHUT4, UDP(443, b"needle-shut"), src=HERE4)),
        b"needle-port": Ether(IP4(PEER4, UDP(444, b"needle-port"), src=HERE4)),
        b"needle-tags": Ether(IP4(SHUT4, UDP(443, b"needle-tags"), src=HERE4), tags=[VLAN]),
        b"needle-lies": Ether(IP4(SHUT4, UDP(443, b"needle-lies"), src=HERE4)),
        b"needle-last": Ether(IP4(PEER4, UDP(443, b"needle-last"), src=HERE4)),
    }

    def send() -> int:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            for needle, frame in frames.items():
                proto = 0x1234 if needle == b"needle-lies" else 0x0800  # row 19
                with contextlib.suppress(OSError):
                    sock.sendto(frame, ("eth0", proto))
        return 0

    with Capture(site.outside, "eth0") as wire:
        site.inside(send)
        arrives(lambda: wire.saw(b"needle-last"))
        arrived = {needle for needle in frames if wire.saw(needle)}
    assert arrived == {b"needle-open", b"needle-last"}


def test_row_15_a_forged_source_is_refused_while_the_list_is_kept(site: Site) -> None:
    site.wall.open(PEER4, text="443/udp")
    locals_ = site.wall.table("dnsfw_locals")
    for address in ("::", HERE4):
        locals_.update(abi.LocalKey(site.wall.netns, addr_from(address)).pack(), b"\1")

    def send(source: str, needle: bytes) -> Callable[[], int]:
        def act() -> int:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
                sock.sendto(IP4(PEER4, UDP(443, needle), src=source).wire, (PEER4, 0))
            return 0

        return act

    with Capture(site.outside, "eth0") as wire:
        site.inside(send("203.0.113.66", b"needle-forged"))
        site.inside(send(HERE4, b"needle-honest"))
        arrives(lambda: wire.saw(b"needle-honest"))
        assert not wire.saw(b"needle-forged")
    assert site.wall.sink.counters()[Reason.SPOOFED].denied == 1


@ONLY_CGROUP
@pytest.mark.parametrize(("kind", "proto"), [(socket.SOCK_DGRAM, 0), (socket.SOCK_STREAM, 0),
                                             (socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)],
                         ids=["udp", "tcp", "ping"])  # fmt: skip
def test_row_15_the_kernel_answers_no_source_that_a_socket_made_up(
    site: Site, kind: int, proto: int
) -> None:
    """IPV6_FREEBIND asks for no right. What goes to a closed port of lo from PEER6 would be
    answered to PEER6: an error that quotes 1,232 bytes, an RST, an echo.
    """
    locals_ = site.wall.table("dnsfw_locals")
    for address in ("::", HERE6):
        locals_.update(abi.LocalKey(site.wall.netns, addr_from(address)).pack(), b"\1")
    site.guarded.sysctl("net.ipv4.ping_group_range", "0 2147483647")
    echo = bytes([128, 0, 0, 0, 0, 0, 0, 1]) + b"needle-quoted"

    def send(source: str) -> Callable[[], int]:
        def act() -> int:
            with socket.socket(socket.AF_INET6, kind, proto) as sock:
                sock.settimeout(NEVER)
                sock.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
                sock.bind((source, 4321))
                sock.connect(("::1", 9))
                return sock.send(echo)

        return act

    with Capture(site.outside, "eth0") as wire:
        site.inside(send(PEER6))
        honest = site.inside(send(HERE6))
        time.sleep(NEVER)
        assert not wire.saw(addr_from(PEER6))
    assert honest == (errno.ECONNREFUSED if kind == socket.SOCK_STREAM else len(echo))
    assert site.wall.sink.counters()[Reason.SPOOFED].denied >= 1


@ONLY_CGROUP
def test_row_22_a_workload_is_no_neighbour_of_global_addresses(site: Site) -> None:
    """Hop limit 255 keeps honest receivers off the link away, not an accomplice."""

    def send(to: str) -> Callable[[], int]:
        def act() -> int:
            with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
                scope = socket.if_nametoindex("eth0")
                return sock.sendto(bytes([135, 0]) + bytes(22), (to, 0, 0, scope))

        return act

    assert site.inside(send(PEER6)) == errno.EPERM
    assert site.inside(send("ff02::1")) == 24


@ONLY_CGROUP
def test_row_13_and_23_a_raw_socket_gets_eperm(site: Site) -> None:
    site.wall.grant(PEER4, ("443/tcp 443/udp", ALLOW, RULE, LATER))

    def raw(number: int) -> Callable[[], int]:
        def act() -> int:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, number) as sock:
                return sock.sendto(b"x" * 8, (PEER4, 0))

        return act

    def routed() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            hops = bytes([131, 7, 4]) + socket.inet_aton(SHUT4) + b"\0"
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, hops)
            return sock.sendto(b"x", (PEER4, 443))

    assert site.inside(raw(47)) == errno.EPERM
    assert site.inside(routed) == errno.EPERM


def ask(netns: Netns, address: str, port: int, patience: float = PATIENCE) -> bytes:
    """Connect from outside once someone listens there, hear five bytes, say goodbye."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    heard = b""

    def talk() -> bool:
        nonlocal heard
        with netns.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            try:
                sock.connect((address, port))
            except ConnectionRefusedError:
                return False
            except TimeoutError:
                heard = b"timeout"
                return True
            heard = sock.recv(5)
            sock.sendall(b"done!")
            return True

    wait_until(talk, PATIENCE, "a listener")
    return heard


def both(site: Site, inside: Callable[[], Any], outside: Callable[[], Any]) -> tuple[Any, Any]:
    """Run one side in the cgroup and the other here, at the same time."""
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(site.inside, inside)
        heard = outside()
        return served.result(), heard


def arrives(ready: Callable[[], bool]) -> None:
    wait_until(ready, PATIENCE, "a packet that had to arrive")
