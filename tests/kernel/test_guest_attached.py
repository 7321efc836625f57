"""A container behind a veth, with every right inside: what it sends meets the host's end.

The container's namespace has no hook at all. The host forwards and masquerades.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.events import Events
from dnsfw.model import HOST, Inbound, Reason, RolePlan, addr_from
from tests.support.bypass import by_xdp, has_xdp_sockets, past_the_qdisc
from tests.support.netlab import Capture, Lab, Netns, wait_until
from tests.support.packets import ARP, IP4, MPLS, UDP, VLAN, Ether, Part
from tests.support.site import HERE4, HERE6, PEER4, PEER6, SHUT4, Site, act_in, built, record
from tests.support.wall import ALLOW, DENY, MAIL, WEB

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cgroup]

PATIENCE = 5.0  # seconds for what arrives in microseconds
NEVER = 0.3  # seconds for what must not arrive
BOX4, BOX6, GATE4, GATE6 = "10.77.0.2", "fd77::2", "10.77.0.1", "fd77::1"
OTHER4 = "10.77.1.2"
NAT = "".join(f"""
table {family} nat {{
    chain post {{
        type nat hook postrouting priority 100
        oifname "eth0" masquerade
    }}
}}
""" for family in ("ip", "ip6"))  # fmt: skip


@dataclass
class House:
    """The host (`site.guarded`) with a container `box` behind veth7, and `mate` behind veth8."""

    site: Site
    box: Netns
    mate: Netns
    link: int

    def within(self, act: Callable[[], Any], where: Netns | None = None) -> Any:
        """In a process of the container, as its root, in no guarded cgroup."""
        outer = self.site.lab.cgroup("box")
        return act_in(outer.path, where or self.box, act)

    def mac(self) -> bytes:
        with self.site.guarded.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
            s.bind(("veth7", 0))
            return bytes(s.getsockname()[4])

    def frame(self, part: Part, **tags: Any) -> bytes:
        """To the host."""
        return Ether(part, dst=self.mac(), **tags)


def _wire(lab: Lab, host: Netns, guest: Netns, end: str, v4: str, v6: str) -> None:
    lab.link(host, guest, end, "eth0")
    host.ip(f"addr add {v4}1/24 dev {end}")
    host.ip(f"addr add {v6}1/64 dev {end} nodad")
    guest.ip(f"addr add {v4}2/24 dev eth0")
    guest.ip(f"addr add {v6}2/64 dev eth0 nodad")
    guest.ip(f"route add default via {v4}1")
    guest.ip(f"-6 route add default via {v6}1")


@pytest.fixture
def house(loaded: Loaded, lab: Lab) -> Iterator[House]:
    with built(loaded, lab) as site:
        box, mate = lab.namespace("box"), lab.namespace("mate")
        _wire(lab, site.guarded, box, "veth7", "10.77.0.", "fd77::")
        _wire(lab, site.guarded, mate, "veth8", "10.77.1.", "fd78::")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            site.guarded.sysctl(key, 1)
        site.guarded.sysctl("net.ipv4.conf.all.route_localnet", 1)
        rules = lab.file("nat.nft", NAT)
        done = site.guarded.run(["nft", "-f", str(rules)])
        assert done.returncode == 0, done.stderr
        tcp = [RolePlan(role, DENY, inbound=Inbound.TCP) for role in (WEB, MAIL)]
        site.wall.policy(others=tcp)
        link = site.guard(
            site.guarded, "veth7", ingress="dnsfw_guest_in", egress="dnsfw_guest_out"
        )
        mate_link = site.guard(
            site.guarded, "veth8", ingress="dnsfw_guest_in", egress="dnsfw_guest_out"
        )
        site.guard(site.guarded, "eth0", ingress="dnsfw_tc_ingress", egress="dnsfw_tc_egress")
        site.wall.device_is(link, WEB)
        site.wall.device_is(mate_link, MAIL)
        site.wall.keep_locals(HERE4, HERE6, GATE4, GATE6, "127.0.0.1", "::1")
        yield House(site, box, mate, link)


def datagram(address: str, data: bytes, port: int = 443) -> Callable[[], int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def act() -> int:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            return sock.sendto(data, (address, port))

    return act


BOTH = pytest.mark.parametrize("peer", [PEER4, PEER6], ids=["v4", "v6"])


@BOTH
def test_row_39_a_container_reaches_what_its_role_may_through_nat(
    house: House, peer: str
) -> None:
    """The uplink's own hook sees a source of the host's, and lets pass what was judged."""
    site = house.site
    with site.outside.socket(
        socket.AF_INET6 if ":" in peer else socket.AF_INET, socket.SOCK_STREAM
    ) as server:
        server.bind((peer, 0))
        server.listen()
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        site.wall.open(peer, text=f"{port}/tcp", role=WEB)

        def ask() -> bytes:
            with socket.create_connection((peer, port), PATIENCE) as sock:
                sock.sendall(b"ping")
                return sock.recv(4)

        def refused() -> str:
            try:
                socket.create_connection((peer, port), NEVER).close()
            except TimeoutError:
                return "nothing came"
            return "connected"

        with contextlib.closing(_answer(server)) as who:
            assert house.within(ask) == b"pong"
            assert who.peer in (HERE4, HERE6)  # masqueraded
        assert house.within(refused, house.mate) == "nothing came"
    assert site.count(Reason.JUDGED).allowed > 0
    assert {flow.role for flow in site.wall.flows()} == {WEB}


@dataclass
class _Answer:
    peer: str = ""
    thread: Any = None

    def close(self) -> None:
        self.thread.join(PATIENCE)


def _answer(server: socket.socket) -> _Answer:
    said = _Answer()

    def serve() -> None:
        conn, address = server.accept()
        with conn:
            said.peer = address[0]
            conn.recv(4)
            conn.sendall(b"pong")

    said.thread = threading.Thread(target=serve, daemon=True)
    said.thread.start()
    return said


SENDERS = [
    pytest.param(past_the_qdisc, id="row 17, AF_PACKET with QDISC_BYPASS"),
    pytest.param(
        by_xdp, id="row 18, AF_XDP",
        marks=pytest.mark.skipif(not has_xdp_sockets(), reason="no AF_XDP"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("sender", SENDERS)
def test_row_17_and_18_no_frame_of_a_container_passes_unjudged(
    house: House, sender: Callable[[str, list[bytes]], int]
) -> None:
    """No hook inside the container sees such a frame; the host's end does (rows 16 to 21)."""
    site = house.site
    site.wall.open(PEER4, text="443/udp", role=WEB)
    frames = {
        b"needle-shut": house.frame(IP4(SHUT4, UDP(443, b"needle-shut"), src=BOX4)),
        b"needle-port": house.frame(IP4(PEER4, UDP(444, b"needle-port"), src=BOX4)),
        b"needle-tags": house.frame(IP4(SHUT4, UDP(443, b"needle-tags"), src=BOX4), tags=[VLAN]),
        b"needle-mpls": house.frame(Part(MPLS, b"\0\0\1\x40needle-mpls" + bytes(40))),
        b"needle-host": house.frame(IP4(PEER4, UDP(443, b"needle-host"), src=HERE4)),
        b"needle-frag": house.frame(IP4(PEER4, Part(17, b"needle-frag"), src=BOX4, offset=9)),
        b"needle-open": house.frame(IP4(PEER4, UDP(443, b"needle-open"), src=BOX4)),
    }

    with Capture(site.outside, "eth0") as wire:
        assert house.within(lambda: sender("eth0", list(frames.values()))) == len(frames)
        wait_until(lambda: wire.saw(b"needle-open"), PATIENCE, "the frame that is allowed")
        assert {needle for needle in frames if wire.saw(needle)} == {b"needle-open"}
    for reason in (Reason.NEVER_RESOLVED, Reason.WRONG_PORT, Reason.ETHERTYPE, Reason.SPOOFED,
                   Reason.FRAG_ORPHAN):  # fmt: skip
        assert site.count(reason).denied >= 1, reason


def test_row_22_a_containers_arp_is_no_large_channel(house: House) -> None:
    site = house.site
    short, long = Ether(Part(ARP, bytes(46))), Ether(Part(ARP, bytes(80)))

    assert house.within(lambda: past_the_qdisc("eth0", [short, long])) == 2
    wait_until(lambda: site.count(Reason.ETHERTYPE).denied == 1, PATIENCE, "the long frame")
    assert site.count(Reason.UPKEEP).allowed >= 1


def test_a_container_forges_no_source_that_lets_it_in_by_lo(house: House) -> None:
    """route_localnet, which Docker and Kubernetes set, makes 127.0.0.1 reachable by a wire."""
    site = house.site
    site.wall.policy(others=[RolePlan(WEB, ALLOW), RolePlan(MAIL, DENY)])
    with site.guarded.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 7777))
        server.settimeout(NEVER)
        frame = house.frame(IP4("127.0.0.1", UDP(7777, b"in"), src=BOX4))

        assert house.within(lambda: past_the_qdisc("eth0", [frame])) == 1

        with pytest.raises(TimeoutError):
            server.recv(9)
    assert site.count(Reason.SPOOFED).denied == 1


@BOTH
def test_who_may_come_in_is_answered_and_nobody_else(house: House, peer: str) -> None:
    """From outside to the container's own address, without NAT."""
    site = house.site
    site.outside.ip(f"route add 10.77.0.0/16 via {HERE4}")
    site.outside.ip(f"-6 route add fd77::/64 via {HERE6}")
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    box = BOX6 if family == socket.AF_INET6 else BOX4
    with house.box.socket(family, socket.SOCK_STREAM) as server:
        server.bind((box, 8080))
        server.listen()
        server.settimeout(PATIENCE)
        with site.outside.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect((box, 8080))
            conn, _ = server.accept()
            with conn:
                conn.sendall(b"hello")
                assert client.recv(5) == b"hello"

        site.wall.policy(others=[RolePlan(WEB, DENY, inbound=Inbound.DENY)])
        with site.outside.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(NEVER)
            with pytest.raises(TimeoutError):
                client.connect((box, 8080))
    assert site.count(Reason.INBOUND).denied >= 1


def test_two_containers_are_strangers(house: House) -> None:
    """A look-up by one opens nothing for the other, and each may be begun with as it says."""
    site = house.site
    site.wall.open(PEER4, text="443/udp", role=WEB)

    with Capture(site.outside, "eth0") as wire:
        house.within(datagram(PEER4, b"of-the-mate"), house.mate)
        house.within(datagram(PEER4, b"of-the-box"))
        wait_until(lambda: wire.saw(b"of-the-box"), PATIENCE, "the datagram of the box")
        assert not wire.saw(b"of-the-mate")

    with Capture(house.mate, "eth0") as link:
        house.within(datagram(OTHER4, b"needle-shut"))
        site.wall.open(OTHER4, text="443/udp", role=WEB)
        house.within(datagram(OTHER4, b"needle-udp"))  # MAIL takes TCP alone
        site.wall.policy(others=[RolePlan(WEB, DENY), RolePlan(MAIL, DENY, inbound=Inbound.ALL)])
        house.within(datagram(OTHER4, b"needle-in"))
        wait_until(lambda: link.saw(b"needle-in"), PATIENCE, "the datagram that may come in")
        assert not link.saw(b"needle-shut")
        assert not link.saw(b"needle-udp")


def test_a_container_that_takes_its_neighbours_address_gains_nothing(house: House) -> None:
    site = house.site
    site.wall.source_is("10.77.1.0/24", MAIL, house.link + 2)  # by veth8 alone
    site.wall.open(PEER4, text="443/udp", role=MAIL)
    frame = house.frame(IP4(PEER4, UDP(443, b"needle-forged"), src=OTHER4))

    with Capture(site.outside, "eth0") as wire:
        house.within(lambda: past_the_qdisc("eth0", [frame]))
        house.within(datagram(PEER4, b"needle-honest"), house.mate)
        wait_until(lambda: wire.saw(b"needle-honest"), PATIENCE, "the neighbour's own")
        assert not wire.saw(b"needle-forged")


def test_what_a_container_was_refused_is_told_with_its_link(house: House) -> None:
    site = house.site
    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        while list(events.read()):  # of the tests before
            pass
        house.within(datagram(SHUT4, b"x"))
        wait_until(lambda: site.count(Reason.NEVER_RESOLVED).denied == 1, PATIENCE, "a denial")
        (event,) = [e for e in events.read() if e.addr == addr_from(SHUT4)]

    assert (event.hook, event.role, event.ifindex) == (abi.Hook.TC_GUEST, WEB, house.link)
    assert (event.port, event.proto) == (443, 17)


# behind a bridge, as container engines wire it


def test_row_39_behind_a_bridge_each_port_has_its_role(loaded: Loaded, lab: Lab) -> None:
    with built(loaded, lab) as site:
        box, host = lab.namespace("box"), site.guarded
        host.ip("link add br0 type bridge")
        host.ip("link set br0 up")
        host.ip(f"addr add {GATE4}/24 dev br0")
        lab.link(host, box, "veth7", "eth0")
        host.ip("link set veth7 master br0")
        box.ip(f"addr add {BOX4}/24 dev eth0")
        box.ip(f"route add default via {GATE4}")
        host.sysctl("net.ipv4.ip_forward", 1)
        assert host.run(["nft", "-f", str(lab.file("nat.nft", NAT))]).returncode == 0
        site.wall.policy(others=[RolePlan(WEB, DENY)])
        link = site.guard(host, "veth7", ingress="dnsfw_guest_in", egress="dnsfw_guest_out")
        site.guard(host, "eth0", egress="dnsfw_tc_egress")
        site.wall.device_is(link, WEB)
        site.wall.open(PEER4, text="443/udp", role=WEB)
        outer = lab.cgroup("box")

        with Capture(site.outside, "eth0") as wire:
            act_in(outer.path, box, datagram(SHUT4, b"needle-shut"))
            act_in(outer.path, box, datagram(PEER4, b"needle-open"))
            wait_until(lambda: wire.saw(b"needle-open"), PATIENCE, "the datagram that is allowed")
            assert not wire.saw(b"needle-shut")


# a container that is a subject by its cgroup


def test_row_39_a_container_of_a_cgroup_is_that_role_at_the_hosts_devices_too(
    house: House
) -> None:
    """Its socket is still on the frame when that reaches the host, on any guarded device."""
    site = house.site
    web = site.below("pod")
    site.wall.cgroup_is(site.number(web), MAIL)
    site.attach()
    third = site.lab.namespace("pod")
    _wire(site.lab, site.guarded, third, "veth9", "10.77.2.", "fd79::")
    site.guard(
        site.guarded, "veth9", ingress="dnsfw_tc_ingress", egress="dnsfw_tc_egress"
    )  # a device of the host's, no guest's link
    site.wall.open(PEER4, text="443/udp", role=MAIL)

    with Capture(site.outside, "eth0") as wire:
        assert act_in(web, third, datagram(PEER4, b"needle-open")) == 11
        wait_until(lambda: wire.saw(b"needle-open"), PATIENCE, "the pod's datagram")
    forwarded = [flow for flow in site.wall.flows() if flow.local == addr_from("10.77.2.2")]
    assert [flow.role for flow in forwarded] == [MAIL]


def test_what_a_stranger_was_heard_to_say_a_subject_may_not(house: House) -> None:
    """The same two ends, a moment later: the sender's record says whose frame it is."""
    site = house.site
    web = site.below("pod")
    site.wall.policy(inbound=Inbound.ALL, others=[RolePlan(MAIL, DENY)])
    site.wall.cgroup_is(site.number(web), MAIL)
    third = site.lab.namespace("pod")
    _wire(site.lab, site.guarded, third, "veth9", "10.77.2.", "fd79::")
    site.guard(
        site.guarded, "veth9", ingress="dnsfw_tc_ingress", egress="dnsfw_tc_egress"
    )

    def say() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("10.77.2.2", 7777))
            for _ in range(5):
                sock.sendto(b"twelve bytes, or more", ("10.77.2.1", 5000))
        return 5

    with site.guarded.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("10.77.2.1", 5000))
        server.settimeout(PATIENCE)
        for _ in range(3):
            assert house.within(say, third) == 5
            for _ in range(5):
                server.recv(100)
            before = site.count(Reason.NEVER_RESOLVED).denied
            assert act_in(web, third, say) == 5
            assert site.count(Reason.NEVER_RESOLVED).denied == before + 5


def test_a_cgroup_goes_before_the_link_and_still_answers_whom_the_link_let_in(
    house: House
) -> None:
    site = house.site
    pod = site.below("pod")
    site.wall.cgroup_is(site.number(pod), MAIL)
    site.attach()
    site.wall.open(PEER4, text="443/udp", role=MAIL)
    site.wall.open(SHUT4, text="443/udp", role=WEB)

    with Capture(site.outside, "eth0") as wire:
        assert act_in(pod, house.box, datagram(SHUT4, b"needle-shut")) == errno.EPERM
        assert act_in(pod, house.box, datagram(PEER4, b"needle-open")) == 11
        wait_until(lambda: wire.saw(b"needle-open"), PATIENCE, "the pod's datagram")
        assert not wire.saw(b"needle-shut")

    ours, theirs = socket.socketpair()

    def listen() -> int:
        with socket.socket() as server:
            server.bind((BOX4, 8080))
            server.listen()
            socket.send_fds(theirs, [b"x"], [server.fileno()])
        return 0

    with ours, theirs:
        assert act_in(pod, house.box, listen) == 0
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
    site.outside.ip(f"route add 10.77.0.0/16 via {HERE4}")
    with (
        socket.socket(fileno=fd),  # its backlog takes the connection
        site.outside.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect((BOX4, 8080))


def test_a_process_without_a_role_in_there_is_the_links(house: House) -> None:
    """`host` is what is left: a cgroup that nobody named does not outrank the link."""
    site = house.site
    site.attach()
    site.wall.settle(only_netns=True)
    site.wall.device_is(house.link, WEB)
    site.wall.uid_is(40001, HOST)
    site.wall.open(PEER4, text="443/udp", role=WEB)
    ours, theirs = socket.socketpair()

    def act() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
            sock.sendto(b"needle-shut", (SHUT4, 443))
            return sock.sendto(b"needle-open", (PEER4, 443))

    with ours, theirs, Capture(site.outside, "eth0") as wire:
        assert act_in(site.below("any"), house.box, act) == 11
        wait_until(lambda: wire.saw(b"needle-open"), PATIENCE, "the datagram that is allowed")
        assert not wire.saw(b"needle-shut")
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=fd) as sock:
            made = record(site.wall, sock)
    assert made is not None
    assert made.role == HOST


