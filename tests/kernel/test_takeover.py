"""Port 53 taken over, with real sockets: the address hooks refuse test runs.

Queries go to addresses that exist nowhere; what answers is a door of dnsfw.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dnsfw.datapath import abi, libbpf, own
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.events import Events
from dnsfw.datapath.links import link_create
from dnsfw.datapath.syscall import AttachType
from dnsfw.model import HOST, Reason
from tests.support.doors import OpenDoors, open_doors
from tests.support.netlab import Capture, Cgroup, Lab, Netns, wait_until
from tests.support.site import act_in
from tests.support.wall import Wall

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cgroup]

PATIENCE = 5.0  # seconds for what arrives in microseconds
HOOKS = {
    "dnsfw_sock_create": AttachType.CGROUP_INET_SOCK_CREATE,
    "dnsfw_cg_ingress": AttachType.CGROUP_INET_INGRESS,
    "dnsfw_cg_egress": AttachType.CGROUP_INET_EGRESS,
    "dnsfw_recvmsg4": AttachType.CGROUP_UDP4_RECVMSG,
    "dnsfw_recvmsg6": AttachType.CGROUP_UDP6_RECVMSG,
    "dnsfw_getpeer4": AttachType.CGROUP_INET4_GETPEERNAME,
    "dnsfw_getpeer6": AttachType.CGROUP_INET6_GETPEERNAME,
    "dnsfw_connect4": AttachType.CGROUP_INET4_CONNECT,
    "dnsfw_connect6": AttachType.CGROUP_INET6_CONNECT,
    "dnsfw_sendmsg4": AttachType.CGROUP_UDP4_SENDMSG,
    "dnsfw_sendmsg6": AttachType.CGROUP_UDP6_SENDMSG,
}
SERVERS4 = ("192.0.2.53", "198.51.100.53", "203.0.113.53", "8.8.8.8", "9.9.9.9")
SERVERS6 = ("2001:db8::53", "2001:db8:1::53", "2001:db8:2::53", "2001:db8:3::53")
FAMILIES = pytest.mark.parametrize(
    ("family", "servers"),
    [(socket.AF_INET, SERVERS4), (socket.AF_INET6, SERVERS6)],
    ids=["v4", "v6"],
)


@dataclass(frozen=True)
class Site:
    """A guarded namespace and cgroup without any way out."""

    wall: Wall
    guarded: Netns
    cgroup: Cgroup

    def inside(self, act: Callable[[], Any], where: Netns | None = None) -> Any:
        """What `act` returns, or the OSError it raises, in a process of the cgroup."""
        return act_in(self.cgroup.path, where or self.guarded, act)

    def count(self, reason: Reason) -> abi.Counter:
        return self.wall.sink.counters()[reason]


@contextlib.contextmanager
def open_site(loaded: Loaded, lab: Lab) -> Iterator[Site]:
    guarded, cgroup = lab.namespace("in"), lab.cgroup()
    guarded.ip("link add eth0 type veth peer name eth1")
    guarded.ip("link set eth0 up")
    guarded.ip("link set eth1 up")
    guarded.ip("addr add 10.9.0.1/24 dev eth0")
    guarded.ip("addr add fd09::1/64 dev eth0")
    guarded.ip("route add default dev eth0")
    guarded.ip("-6 route add default dev eth0")
    links: list[int] = []
    with guarded.entered():
        wall = Wall(loaded, socket.if_nametoindex("eth0"), own.netns_cookie())
    wall.policy(takeover=True)
    directory = os.open(cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, attach in HOOKS.items():
            links.append(link_create(loaded.programs[name].fd, directory, attach))
        yield Site(wall, guarded, cgroup)
    finally:
        os.close(directory)
        for link in links:
            os.close(link)


@pytest.fixture
def site(loaded: Loaded, lab: Lab) -> Iterator[Site]:
    with open_site(loaded, lab) as opened:
        yield opened


@pytest.fixture
def doors(site: Site, loaded: Loaded) -> Iterator[OpenDoors]:
    with open_doors(loaded, site.guarded, site.wall.netns) as opened:
        yield opened


def udp(family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    return sock


def ask(server: str, port: int = 53, family: int | None = None) -> Callable[[], Any]:
    """One query of an unconnected socket: the reply's first word, the role, its source."""

    def act() -> Any:
        with udp(family or (socket.AF_INET6 if ":" in server else socket.AF_INET)) as sock:
            sock.sendto(b"q", (server, port))
            data, peer = sock.recvfrom(100)
            return (*data.split()[:2], peer[:2])

    return act


# whoever is asked


@FAMILIES
def test_a_query_for_any_server_is_answered_as_by_that_server(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    door, role, peer = site.inside(ask(servers[0]))

    assert door.startswith(b"udp")
    assert int(role) == HOST
    assert peer == (servers[0], 53)
    assert site.count(Reason.TAKEN).allowed == 1


@FAMILIES
def test_a_connected_socket_sees_the_server_as_its_peer(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    def act() -> Any:
        with udp(family) as sock:
            sock.connect((servers[0], 53))
            sock.send(b"q")
            data, peer = sock.recvfrom(100)
            return data, peer[:2], sock.getpeername()[:2]

    data, peer, name = site.inside(act)

    assert data.endswith(b" 1 q")
    assert peer == name == (servers[0], 53)


@FAMILIES
def test_row_57_a_query_over_tcp_is_taken_and_its_peer_is_the_server(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    def act() -> Any:
        with socket.create_connection((servers[0], 53), PATIENCE) as sock:
            sock.sendall(b"q")
            return sock.recv(100), sock.getpeername()[:2]

    data, name = site.inside(act)

    assert data.split()[1:] == [b"1", b"q"], "the kernel says whose the connection is"
    assert name == (servers[0], 53)


@FAMILIES
def test_one_socket_that_asks_four_servers_tells_their_replies_apart(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    """What musl does: all servers at once, and a strict look at who replied."""

    def act() -> Any:
        replies = {}
        with udp(family) as sock:
            for server in servers[:4] * 2:
                sock.sendto(server.encode(), (server, 53))
            for _ in range(8):
                data, peer = sock.recvfrom(100)
                replies[data.split()[2].decode()] = peer[0]
        return replies

    assert site.inside(act) == {server: server for server in servers[:4]}
    assert len({door for door, _ in doors.heard}) == 4


@FAMILIES
def test_row_57_a_query_is_taken_though_the_server_was_asked_without_us_a_moment_ago(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    """By the same socket, and nothing says that this no longer counts: queries are looked at."""
    site.wall.policy()
    site.wall.open(servers[0], text="53/udp")

    def act() -> Any:
        with udp(family) as sock:
            for _ in range(3):
                sock.sendto(b"twelve bytes, or more", (servers[0], 53))
            before = site.wall.table("dnsfw_generation").lookup(bytes(4))
            assert before
            site.wall.policy(takeover=True)
            site.wall.table("dnsfw_generation").update(bytes(4), before)
            sock.sendto(b"q", (servers[0], 53))
            return sock.recvfrom(100)[1][:2]

    assert site.inside(act) == (servers[0], 53)


def test_a_fifth_server_takes_the_place_of_the_first(site: Site, doors: OpenDoors) -> None:
    def act() -> Any:
        got = []
        with udp() as sock:
            for server in SERVERS4:
                sock.sendto(b"q", (server, 53))
                got.append(sock.recvfrom(100)[1][0])
        return got

    assert site.inside(act) == list(SERVERS4)


def test_sendmmsg_to_two_servers_is_taken_for_each(site: Site, doors: OpenDoors) -> None:
    assert site.inside(lambda: sendmmsg(SERVERS4[:2])) == set(SERVERS4[:2])


def sendmmsg(servers: tuple[str, ...]) -> set[str]:
    """One system call, two datagrams, as glibc's resolver sends A and AAAA."""
    import ctypes

    class Iovec(ctypes.Structure):
        _fields_ = (("base", ctypes.c_char_p), ("len", ctypes.c_size_t))

    class Msghdr(ctypes.Structure):
        _fields_ = (
            ("name", ctypes.c_char_p), ("namelen", ctypes.c_uint32),
            ("iov", ctypes.POINTER(Iovec)), ("iovlen", ctypes.c_size_t),
            ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
            ("flags", ctypes.c_int),
        )  # fmt: skip

    class Mmsghdr(ctypes.Structure):
        _fields_ = (("hdr", Msghdr), ("len", ctypes.c_uint))

    names = [
        socket.AF_INET.to_bytes(2, "little") + (53).to_bytes(2, "big")
        + socket.inet_aton(server) + bytes(8)
        for server in servers
    ]  # fmt: skip
    data = Iovec(b"q", 1)
    batch = (Mmsghdr * len(names))(
        *(Mmsghdr(Msghdr(name, 16, ctypes.pointer(data), 1, None, 0, 0), 0) for name in names)
    )
    with udp() as sock:
        sent = ctypes.CDLL(None, use_errno=True).sendmmsg(sock.fileno(), batch, len(names), 0)
        return {sock.recvfrom(100)[1][0] for _ in range(sent)}


def test_a_mapped_address_shows_in_mapped_form(site: Site, doors: OpenDoors) -> None:
    mapped = "::ffff:8.8.8.8"

    def connected() -> Any:
        with udp(socket.AF_INET6) as sock:
            sock.connect((mapped, 53))
            sock.send(b"q")
            return sock.recvfrom(100)[1][0], sock.getpeername()[0]

    def over_tcp() -> Any:
        with socket.socket(socket.AF_INET6) as sock:
            sock.settimeout(PATIENCE)
            sock.connect((mapped, 53))
            return sock.getpeername()[0]

    assert site.inside(ask(mapped))[2] == (mapped, 53)
    assert site.inside(connected) == (mapped, mapped)
    assert site.inside(over_tcp) == mapped


def test_one_socket_may_ask_servers_of_both_families(site: Site, doors: OpenDoors) -> None:
    def act() -> Any:
        got = []
        with udp(socket.AF_INET6) as sock:
            for server in ("::ffff:8.8.8.8", SERVERS6[0], "::ffff:9.9.9.9"):
                sock.sendto(b"q", (server, 53))
                got.append(sock.recvfrom(100)[1][0])
        return got

    assert site.inside(act) == ["::ffff:8.8.8.8", SERVERS6[0], "::ffff:9.9.9.9"]


def test_a_stub_on_loopback_is_taken_over_too(site: Site, doors: OpenDoors) -> None:
    """systemd-resolved's and Docker's are side doors to another resolver."""
    for stub in ("127.0.0.53", "127.0.0.11"):
        assert site.inside(ask(stub))[2] == (stub, 53)


@FAMILIES
def test_a_socket_bound_to_an_address_is_taken_over(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    def act() -> Any:
        with udp(family) as sock:
            sock.bind(("fd09::1" if family == socket.AF_INET6 else "10.9.0.1", 0))
            sock.sendto(b"q", (servers[0], 53))
            return sock.recvfrom(100)[1][:2]

    assert site.inside(act) == (servers[0], 53)


def test_limit_data_in_the_handshake_does_not_show_whose_it_is(
    site: Site, doors: OpenDoors
) -> None:
    """TCP Fast Open: it reaches a door, and nobody known asks there: refused."""
    msg_fastopen = 0x20000000

    def act() -> Any:
        with socket.socket() as sock:  # blocking: its data comes with the handshake's last ACK
            sock.sendto(b"q", msg_fastopen, ("8.8.8.8", 53))
            return sock.getpeername(), sock.recv(100)

    assert site.inside(act) == (("8.8.8.8", 53), b"tcp4 0 q")


def test_limit_mptcp_is_taken_over_and_shows_the_door(site: Site, doors: OpenDoors) -> None:
    """The hook sees the subflow that it leads away, getpeername(2) the socket above it."""

    def act() -> Any:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(("8.8.8.8", 53))
            sock.sendall(b"q")
            return sock.recv(100), sock.getpeername()

    assert site.inside(act) == (b"tcp4 1 q", ("127.0.53.53", doors.ports.tcp4))


# what is left alone


def test_a_query_to_dnsfw_itself_is_left_alone(site: Site, doors: OpenDoors) -> None:
    site.wall.listen("127.0.53.53")
    with site.guarded.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.53.53", 53))
        sock.settimeout(PATIENCE)

        def act() -> Any:
            with udp() as client:
                client.sendto(b"q", ("127.0.53.53", 53))

        site.inside(act)

        assert sock.recv(10) == b"q"
    assert site.count(Reason.TAKEN).allowed == 0


def test_other_ports_and_protocols_are_left_alone(site: Site, doors: OpenDoors) -> None:
    """DoT, DoQ, mDNS: judged as what they are."""
    assert site.inside(ask("8.8.8.8", 853)) == errno.EPERM
    assert site.inside(ask("8.8.8.8", 5353)) == errno.EPERM
    assert site.count(Reason.TAKEN).allowed == 0


def test_a_role_without_takeover_is_judged_by_address(site: Site, doors: OpenDoors) -> None:
    site.wall.policy()

    assert site.inside(ask("8.8.8.8")) == errno.EPERM
    assert site.count(Reason.TAKEN).allowed == 0
    assert doors.heard == []


def test_our_own_sockets_reach_their_upstream(site: Site, doors: OpenDoors) -> None:
    marker = own.OwnSockets(site.wall.loaded.maps)

    def act() -> Any:
        with udp() as sock:
            marker.mark(sock)
            sock.connect(("8.8.8.8", 53))
            return sock.getpeername(), sock.getsockname()[0]

    assert site.inside(act) == (("8.8.8.8", 53), "10.9.0.1")


def test_a_socket_that_connects_elsewhere_forgets_whom_it_asked(
    site: Site, doors: OpenDoors
) -> None:
    door = doors.ports.udp4[0]

    def act() -> Any:
        with udp() as sock:
            sock.connect(("8.8.8.8", 53))
            before = sock.getpeername()
            sock.connect(("127.0.53.53", door))
            return before, sock.getpeername()

    assert site.inside(act) == (("8.8.8.8", 53), ("127.0.53.53", door))


def test_a_socket_that_connects_to_another_server_shows_that_one(
    site: Site, doors: OpenDoors
) -> None:
    def act() -> Any:
        with udp() as sock:
            names = []
            for server in ("8.8.8.8", "9.9.9.9", "8.8.8.8"):
                sock.connect((server, 53))
                sock.send(b"q")
                names.append((sock.getpeername()[0], sock.recvfrom(100)[1][0]))
        return names

    assert site.inside(act) == [(s, s) for s in ("8.8.8.8", "9.9.9.9", "8.8.8.8")]


def test_lockdown_lets_a_query_reach_the_daemon_which_refuses_it(
    site: Site, doors: OpenDoors
) -> None:
    site.wall.policy(takeover=True, lockdown=abi.Lockdown.ON)

    assert site.inside(ask("8.8.8.8"))[2] == ("8.8.8.8", 53)


# who asks


@FAMILIES
def test_nobody_can_choose_his_role_by_a_mark(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    """SO_MARK needs CAP_NET_ADMIN, which root has; the hook overwrites it."""

    def act() -> Any:
        with udp(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 77)
            sock.sendto(b"q", (servers[0], 53))
            datagram = sock.recv(100).split()[1]
        with socket.socket(family) as sock:
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 77)
            sock.connect((servers[0], 53))
            sock.sendall(b"q")
            return datagram, sock.recv(100).split()[1]

    assert site.inside(act) == (b"1", b"1")


def test_who_is_not_guarded_has_no_role(site: Site, doors: OpenDoors) -> None:
    with site.guarded.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.sendto(b"q", ("127.0.53.53", doors.ports.udp4[0]))

        assert sock.recv(100).split()[1] == b"0"
    with site.guarded.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.53.53", doors.ports.tcp4))
        sock.sendall(b"q")

        assert sock.recv(100).split()[1] == b"0"


# what cannot be taken over


def test_a_socket_bound_to_a_device_is_told_so(site: Site, doors: OpenDoors) -> None:
    def bound(device: bytes) -> Callable[[], Any]:
        def act() -> Any:
            with udp() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
                sock.sendto(b"q", ("8.8.8.8", 53))
                return sock.recvfrom(100)[1]

        return act

    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        list(events.read())

        assert site.inside(bound(b"eth0")) == errno.EPERM
        assert site.inside(bound(b"lo")) == ("8.8.8.8", 53)

        told = [event for event in events.read() if event.reason == Reason.BOUND]
    assert [(e.hook, e.port) for e in told] == [(abi.Hook.SENDMSG, 53)]
    assert site.count(Reason.BOUND).denied == 1


def test_a_link_local_server_needs_a_connected_socket(site: Site, doors: OpenDoors) -> None:
    """sendto() looks the route up with the scope's device before the hook can lead it away."""
    server = ("fe80::53", 53, 0, site.wall.device)

    def connected() -> Any:
        with udp(socket.AF_INET6) as sock:
            sock.connect(server)
            sock.send(b"q")
            return sock.recvfrom(100)[1][:2]

    def unconnected() -> Any:
        with udp(socket.AF_INET6) as sock:
            return sock.sendto(b"q", server)

    assert site.inside(connected) == server[:2]
    assert site.inside(unconnected) == errno.EPERM
    assert site.count(Reason.BOUND).denied == 1


@FAMILIES
def test_limit_a_query_sent_by_a_chosen_device_is_refused_late(
    site: Site, doors: OpenDoors, family: int, servers: tuple[str, ...]
) -> None:
    """IP_UNICAST_IF is anybody's and not shown to the address hooks: the rewritten query
    would leave by that device for whoever answers ARP for 127.0.53.53.
    """
    level, option = (socket.IPPROTO_IP, 50) if family == socket.AF_INET else (
        socket.IPPROTO_IPV6, 76
    )  # fmt: skip
    site.guarded.ip("neigh add 127.0.53.53 lladdr 02:00:00:00:00:01 dev eth0")
    site.guarded.ip("neigh add ::1 lladdr 02:00:00:00:00:01 dev eth0")

    def act() -> Any:
        with udp(family) as sock:
            sock.setsockopt(level, option, socket.htonl(site.wall.device))
            return sock.sendto(b"LEAK", (servers[0], 53))

    with Capture(site.guarded, "eth1") as capture:
        assert site.inside(act) == errno.EPERM
        site.guarded.socket(socket.AF_PACKET, socket.SOCK_RAW).sendto(b"E" * 64, ("eth0", 0x88B5))
        wait_until(lambda: capture.saw(b"E" * 64))

        assert not capture.saw(b"LEAK")
    assert doors.heard == []


def test_a_namespace_without_doors_is_refused_and_named(site: Site) -> None:
    with site.guarded.entered():
        cookie = own.netns_cookie()
    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        list(events.read())

        assert site.inside(ask("8.8.8.8")) == errno.EPERM

        told = [
            e for e in events.read() if e.reason == Reason.NO_DOOR and e.hook == abi.Hook.SENDMSG
        ]
    assert [(e.netns, e.pid > 0) for e in told] == [(cookie, True)]
    assert site.count(Reason.NO_DOOR).denied == 1


def test_a_family_without_doors_is_refused_alone(site: Site, loaded: Loaded) -> None:
    with open_doors(loaded, site.guarded, site.wall.netns, v6=False):
        assert site.inside(ask("8.8.8.8"))[2] == ("8.8.8.8", 53)
        assert site.inside(ask(SERVERS6[0])) == errno.EPERM


def test_a_role_that_only_watches_reaches_the_server_it_names(site: Site) -> None:
    site.wall.policy(takeover=True, audit=True)

    def act() -> Any:
        with udp() as sock:
            sock.connect(("8.8.8.8", 53))
            return sock.getpeername(), sock.getsockname()[0]

    assert site.inside(act) == (("8.8.8.8", 53), "10.9.0.1")
    assert site.count(Reason.NO_DOOR).audited == 1


def test_doors_of_another_namespace_do_not_count(
    site: Site, doors: OpenDoors, lab: Lab
) -> None:
    elsewhere = lab.namespace("elsewhere")

    assert site.inside(ask("8.8.8.8"))[2] == ("8.8.8.8", 53)
    assert site.inside(ask("8.8.8.8"), elsewhere) == errno.EPERM


def test_a_socket_announces_its_namespace_before_it_asks(site: Site, lab: Lab) -> None:
    elsewhere = lab.namespace("elsewhere")
    with elsewhere.entered():
        cookie = own.netns_cookie()
    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        list(events.read())

        site.inside(lambda: udp().close(), elsewhere)

        told = [e for e in events.read() if e.reason == Reason.NO_DOOR]
    assert [(e.hook, e.netns, e.verdict) for e in told] == [
        (abi.Hook.SOCK_CREATE, cookie, abi.Verdict.ALLOW)
    ]
    assert told[0].pid > 0


def test_nobody_announces_himself_where_doors_are_or_nothing_is_taken(
    site: Site, doors: OpenDoors, lab: Lab
) -> None:
    elsewhere = lab.namespace("elsewhere")
    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        list(events.read())

        site.inside(lambda: udp().close())
        site.wall.policy()
        site.inside(lambda: udp().close(), elsewhere)

        assert [e for e in events.read() if e.reason == Reason.NO_DOOR] == []


# before Linux 6.15, packet hooks cannot tell namespaces apart


@pytest.fixture
def blind() -> Iterator[Loaded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libbpf, "netns_cookie_in_skb_hooks", lambda: False)
        kernel = libbpf.LibbpfBackend().load({})
    yield kernel
    kernel.close()


@pytest.mark.needs_root
@pytest.mark.needs_bpf
def test_before_6_15_two_namespaces_have_doors_of_their_own(blind: Loaded, lab: Lab) -> None:
    elsewhere, third = lab.namespace("elsewhere"), lab.namespace("third")
    with (
        open_site(blind, lab) as site,
        open_doors(blind, site.guarded, 0) as here,
        open_doors(blind, elsewhere, 0) as there,
    ):
        for where in (site.guarded, elsewhere):
            for server in (SERVERS4[0], SERVERS6[0]):
                assert site.inside(ask(server), where)[1:] == (b"1", (server, 53))
        assert site.inside(ask("8.8.8.8"), third) == errno.EPERM
    assert len(here.heard) == len(there.heard) == 2
