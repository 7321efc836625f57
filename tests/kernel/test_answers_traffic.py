"""Real clients answered by the kernel: over lo, at a container's link, inside the container,
native and generic XDP. Nobody listens where they ask, so that every answer is the kernel's.

A wrong checksum passes lo and TC unseen: frames are captured, and native XDP makes the
receiving stack look.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from dnsfw.datapath import abi, bpf, links
from dnsfw.datapath.abi import Fall
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.own import netns_cookie
from dnsfw.datapath.syscall import AttachType, ProgType
from dnsfw.model import HOST
from dnsfw.wire.codes import IN
from dnsfw.wire.name import from_text
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, soa
from tests.support.kernel_answers import (
    GUEST4,
    GUEST6,
    HERE4,
    HERE6,
    SERVER4,
    SERVER6,
    Kitchen,
    Told,
    name_of,
    ones_sum,
    opt_record,
    question,
)
from tests.support.netlab import Capture, Guest, Lab, Netns, sh
from tests.support.wall import WEB, Wall

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]

NATIVE, GENERIC = 1 << 2, 1 << 1  # XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
NAME = from_text("www.example.com")
LONG = name_of(255)
A, AAAA, HTTPS, TXT = 1, 28, 65, 16
ADDRESS4, ADDRESS6 = "192.0.2.7", "2001:db8::7"
PASS = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit

CLIENT = """
import sys, dns.message, dns.query, dns.flags
server, port, most = sys.argv[1], 53, int(sys.argv[3])
for name, kind, options in (
    ("WwW.ExAmPlE.cOm", "A", {}),
    ("www.example.com", "AAAA", {"use_edns": 0}),
    ("www.example.com", "HTTPS", {"use_edns": 0}),
    ("big.example.com", "A", {"use_edns": 0, "payload": 1232}),
    ("big.example.com", "A", {}),
    ("no.example.com", "A", {"use_edns": 0}),
    (sys.argv[2], "A", {"payload": 1232}),
):
    if options.pop("payload", 0) > most:
        continue
    query = dns.message.make_query(name, kind, **options)
    reply = dns.query.udp(query, server, timeout=2, port=port)  # checks source, id and question
    assert str(reply.question[0].name) == str(query.question[0].name), "the case as it was asked"
    print(reply.rcode(), len(reply.answer) and len(reply.answer[0]), reply.edns,
          [str(o) for o in reply.options], bool(reply.flags & dns.flags.TC))
"""
EXPECTED = [
    "0 1 -1 [] False",
    "0 1 0 [] False",
    "0 1 0 [] False",
    "0 60 0 [] False",
    "0 0 -1 [] True",
    "3 0 0 ['EDE 15 (Blocked): rule 0badcafe'] False",
    "0 1 -1 [] False",
]


class Stand:
    """A host and a guest behind a veth; the host's tables are full of answers."""

    def __init__(self, lab: Lab, loaded: Loaded) -> None:
        self.lab = lab
        self.host, self.inner = lab.namespace("host"), lab.namespace("guest")
        lab.link(self.host, self.inner, "eth1", "eth0")
        self.host.ip("link add eth0 type veth peer name eth2")  # `Wall` wants one
        for netns, device, v4, v6 in (
            (self.host, "eth1", HERE4, HERE6), (self.inner, "eth0", GUEST4, GUEST6),
        ):  # fmt: skip
            netns.ip(f"addr add {v4}/24 dev {device}")
            netns.ip(f"addr add {v6}/64 dev {device}")
        with self.host.entered():
            cookie = netns_cookie()
            self.wall = Wall(loaded, socket.if_nametoindex("eth0"), cookie)
            self.kitchen = Kitchen(self.wall)
        with self.inner.entered():
            self.inner_cookie, self.inner_index = netns_cookie(), socket.if_nametoindex("eth0")
        for role in (WEB, HOST):
            self.fill(role)

    def fill(self, role: int) -> None:
        for name in (NAME, LONG):
            self.put(Template(name, 0, [Record(name, A, IN, 300, addr(ADDRESS4))]), name, A, role)
        self.put(Template(NAME, 0, [Record(NAME, AAAA, IN, 300, addr(ADDRESS6))]), NAME, AAAA, role)
        https = struct.pack("!H", 1) + b"\0" + struct.pack("!HH", 1, 3) + b"\2h2"
        self.put(Template(NAME, 0, [Record(NAME, HTTPS, IN, 300, https)]), NAME, HTTPS, role)
        big = from_text("big.example.com")
        many = [Record(big, A, IN, 300 + i, bytes([192, 0, 2, i])) for i in range(60)]
        self.put(Template(big, 0, many), big, A, role)
        no = from_text("no.example.com")
        refused = Template(no, 3, authority=[soa(no, 60)], ede=(15, "rule 0badcafe"))
        self.put(refused, no, A, role)

    def put(self, template: Template, name: bytes, qtype: int, role: int) -> None:
        self.kitchen.publish(template, name, qtype, role=role)  # type: ignore[arg-type]

    @contextmanager
    def attached(self, *hooks: tuple[str, AttachType]) -> Iterator[None]:
        """These programs on devices of the host: (program@device, where)."""
        with self.links(self.host, [(*hook, 0) for hook in hooks]):
            yield

    @contextmanager
    def links(self, netns: Netns, hooks: list[tuple[str, AttachType, int]]) -> Iterator[None]:
        with ExitStack() as stack:
            with netns.entered():
                for hook, where, flags in hooks:
                    program, _, device = hook.partition("@")
                    fd = self.wall.loaded.programs[program].fd
                    index = socket.if_nametoindex(device)
                    stack.callback(os.close, links.link_create(fd, index, where, flags=flags))
            yield

    def hits(self) -> int:
        counters = self.kitchen.table.counters()
        return counters[Fall.ANSWERED] + counters[Fall.REFUSED]


def addr(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    loaded = LibbpfBackend().load({})
    with Lab("tests/kernel/answers") as lab:
        yield Stand(lab, loaded)
    loaded.close()


def works(stand: Stand, netns: Netns, v4: str, v6: str, most: int = 1232) -> None:
    """dnspython, dig and glibc all hear what they should, in replies up to this size."""
    before = stand.hits()
    expected = EXPECTED if most == 1232 else [*EXPECTED[:3], *EXPECTED[4:-1]]
    long = ".".join(label for label in _labels(LONG))
    for server in (v4, v6):
        ran = netns.run([sys.executable, "-c", CLIENT, server, long, str(most)])
        assert ran.stdout.splitlines() == expected, ran.stderr[-1500:] + ran.stdout
        dug = netns.run(
            ["dig", f"@{server}", "+nocookie", "+tries=1", "+timeout=2", "www.example.com"]
        )
        assert f"IN\tA\t{ADDRESS4}" in dug.stdout, dug.stdout
        assert "WARNING" not in dug.stdout
        place = stand.lab.guest(netns, None, server)
        got = place.run(["getent", "ahosts", "www.example.com"])
        assert ADDRESS4 in got.stdout and ADDRESS6 in got.stdout, got.stderr
    assert stand.hits() - before >= 2 * (len(expected) + 3)


def _labels(name: bytes) -> Iterator[str]:
    at = 0
    while length := name[at]:
        yield name[at + 1 : at + 1 + length].decode()
        at += length + 1


def test_over_lo_where_a_cgroup_is_guarded(stand: Stand) -> None:
    """cg_egress marks the query; answer_lo answers it. The workload's socket is `host`'s."""
    cgroup = stand.lab.cgroup()
    fd = os.open(cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
    egress = stand.wall.loaded.programs["dnsfw_cg_egress"].fd
    made = links.link_create(egress, fd, AttachType.CGROUP_INET_EGRESS)
    try:
        with stand.attached(("dnsfw_answer_lo@lo", AttachType.TCX_EGRESS)):
            before = stand.hits()
            for server in (SERVER4, SERVER6):
                place = Guest(stand.host, cgroup)
                long = ".".join(_labels(LONG))
                ran = place.run([sys.executable, "-c", CLIENT, server, long, "1232"])
                assert ran.stdout.splitlines() == EXPECTED, ran.stderr[-1500:]
            assert stand.hits() - before == 2 * len(EXPECTED)
            # outside of the cgroup nobody says who asks
            dug = stand.host.run(
                ["dig", f"@{SERVER4}", "+tries=1", "+timeout=1", "www.example.com"]
            )
            assert ADDRESS4 not in dug.stdout
    finally:
        os.close(made)
        os.close(fd)


def test_over_lo_where_devices_alone_are_guarded(stand: Stand) -> None:
    with stand.attached(("dnsfw_tc_lo@lo", AttachType.TCX_EGRESS)):
        works(stand, stand.host, SERVER4, SERVER6)


def test_at_the_link_of_a_container(stand: Stand) -> None:
    with stand.attached(("dnsfw_guest_in@eth1", AttachType.TCX_INGRESS),
                        ("dnsfw_guest_out@eth1", AttachType.TCX_EGRESS)):  # fmt: skip
        works(stand, stand.inner, HERE4, HERE6)


def test_inside_a_container(stand: Stand) -> None:
    if not stand.wall.loaded.netns_cookie:
        pytest.skip("the kernel does not tell namespaces in packet hooks")
    key = abi.DeviceKey(stand.inner_cookie, stand.inner_index).pack()
    stand.wall.table("dnsfw_devices").update(key, int(WEB).to_bytes(4, "little"))
    try:
        with stand.links(stand.inner, [("dnsfw_answer_inside@eth0", AttachType.TCX_EGRESS, 0)]):
            works(stand, stand.inner, HERE4, HERE6)
    finally:
        stand.wall.table("dnsfw_devices").delete(key)


@contextmanager
def receiving(netns: Netns, device: str) -> Iterator[None]:
    """XDP_TX over a veth needs a program, or GRO, on the other end."""
    fd = bpf._load(ProgType.XDP, PASS, int(AttachType.XDP), b"pass", "load")
    with netns.entered():
        link = links.link_create(fd, socket.if_nametoindex(device), AttachType.XDP, flags=NATIVE)
    try:
        yield
    finally:
        os.close(link)
        os.close(fd)


@pytest.mark.parametrize("mode", [NATIVE, GENERIC], ids=["native", "generic"])
def test_by_xdp(stand: Stand, mode: int) -> None:
    peer = receiving(stand.inner, "eth0") if mode == NATIVE else ExitStack()
    hook = ("dnsfw_answer_xdp@eth1", AttachType.XDP, mode)
    with peer, stand.links(stand.host, [hook]):
        works(stand, stand.inner, HERE4, HERE6, most=512)


@pytest.mark.parametrize("mode", [NATIVE, GENERIC], ids=["native", "generic"])
def test_a_reply_for_which_xdp_has_no_room_is_the_daemons(stand: Stand, mode: int) -> None:
    """What a veth carries has little room behind it; what a network card receives has more."""
    query = question("big.example.com", opt=opt_record())
    hook = ("dnsfw_answer_xdp@eth1", AttachType.XDP, mode)
    with (
        stand.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
        stand.inner.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        stand.links(stand.host, [hook]),
    ):
        before = stand.kitchen.table.counters()[Fall.FAILED]
        listener.bind((HERE4, 53))
        listener.settimeout(2)
        client.connect((HERE4, 53))
        client.send(query)
        assert listener.recv(4096) == query
        assert stand.kitchen.table.counters()[Fall.FAILED] == before + 1


@pytest.mark.parametrize("mode", [NATIVE, GENERIC], ids=["native", "generic"])
def test_a_reply_for_which_xdp_has_no_room_tc_gives(stand: Stand, mode: int) -> None:
    """As on every guest's link, where both stand: the daemon is not asked."""
    peer = receiving(stand.inner, "eth0") if mode == NATIVE else ExitStack()
    hooks = [
        ("dnsfw_answer_xdp@eth1", AttachType.XDP, mode),
        ("dnsfw_guest_in@eth1", AttachType.TCX_INGRESS, 0),
        ("dnsfw_guest_out@eth1", AttachType.TCX_EGRESS, 0),
    ]
    with peer, stand.links(stand.host, hooks):
        works(stand, stand.inner, HERE4, HERE6)


def test_by_native_xdp_no_checksum_is_wrong(stand: Stand) -> None:
    """The receiving stack looks, for a bare frame says nothing of its checksum."""
    statistic = "UdpInCsumErrors"
    before = counted(stand.inner, statistic)
    with (
        receiving(stand.inner, "eth0"),
        stand.links(stand.host, [("dnsfw_answer_xdp@eth1", AttachType.XDP, NATIVE)]),
    ):
        for v6 in (False, True):
            assert ask(stand.inner, HERE6 if v6 else HERE4, question("www.example.com"))
    assert counted(stand.inner, statistic) == before


def counted(netns: Netns, name: str) -> int:
    return int(netns.run(["nstat", "-az", name]).stdout.split()[-2])


def ask(netns: Netns, server: str, query: bytes) -> bytes:
    """One datagram and its reply from an ordinary, connected socket."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with netns.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect((server, 53))
        s.send(query)
        return s.recv(4096)


@pytest.mark.parametrize(
    ("inner", "outer"), [("on", "on"), ("off", "on"), ("on", "off"), ("off", "off")]
)
def test_captured_frames_have_right_checksums(stand: Stand, inner: str, outer: str) -> None:
    """With and without offload on either end: whole when it is not left to a device, begun
    when it is and nobody had to end it.
    """
    sh("nsenter", f"--net={stand.inner.path}", "ethtool", "-K", "eth0", "tx", inner)
    sh("nsenter", f"--net={stand.host.path}", "ethtool", "-K", "eth1", "tx", outer)
    capture = Capture(stand.inner, "eth0")
    try:
        with stand.attached(("dnsfw_guest_in@eth1", AttachType.TCX_INGRESS)):
            for server in (HERE4, HERE6):
                for name in ("www.example.com", "no.example.com"):
                    for opt in (b"", opt_record()):
                        assert ask(stand.inner, server, question(name, opt=opt))
        time.sleep(0.2)
    finally:
        capture.close()
        for netns, device in ((stand.inner, "eth0"), (stand.host, "eth1")):
            sh("nsenter", f"--net={netns.path}", "ethtool", "-K", device, "tx", "on")
    replies = [*capture.to(GUEST4), *capture.to(GUEST6)]
    replies = [frame for frame in replies if _is_reply(frame)]
    assert len(replies) == 8
    for frame in replies:
        told = Told(frame, 14)
        if (inner, outer) == ("on", "on"):
            assert told.check == ones_sum(told.pseudo)
        else:
            told.checked()


def _is_reply(frame: bytes) -> bool:
    told = Told(frame, 14)
    proto = frame[20] if told.v6 else frame[23]
    return proto == 17 and told.ports[0] == 53


def test_over_lo_captured_frames_have_whole_checksums(stand: Stand) -> None:
    capture = Capture(stand.host, "lo")
    try:
        with stand.attached(("dnsfw_tc_lo@lo", AttachType.TCX_EGRESS)):
            for server in (SERVER4, SERVER6):
                assert ask(stand.host, server, question("www.example.com"))
        time.sleep(0.2)
    finally:
        capture.close()
    replies = [f for f in capture.frames if f[12:14] in (b"\x08\0", b"\x86\xdd") and _is_reply(f)]
    assert len(replies) >= 2
    for frame in replies:
        Told(frame, 14).checked()


def test_what_the_kernel_leaves_alone_reaches_the_listener(stand: Stand) -> None:
    """A question that nobody asked before, and one with an option."""
    cookie = opt_record(rdata=bytes([0, 10, 0, 8]) + bytes(8))
    queries = question("new.example.com"), question("www.example.com", opt=cookie)
    with (
        stand.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
        stand.inner.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        stand.attached(
            ("dnsfw_guest_in@eth1", AttachType.TCX_INGRESS),
            ("dnsfw_guest_out@eth1", AttachType.TCX_EGRESS),
        ),
    ):
        listener.bind((HERE4, 53))
        listener.settimeout(2)
        client.connect((HERE4, 53))
        for query in queries:
            client.send(query)
            assert listener.recv(4096) == query
