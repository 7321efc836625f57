"""How many nanoseconds does a packet cost in each hook?

First by BPF_PROG_TEST_RUN: the programs alone, the same frame again and again (everything
hot), on a veth as where they are attached (over lo nothing is kept), with 10, 1,000, 100,000
and a million grants in the table; an empty program says what the test run itself costs. Then
for real: UDP datagrams of one socket to 4,096 granted addresses in turn, so that each is the
conversation that it had longest ago, through a veth in a namespace of our own, with nothing
attached, with each hook, with all of them, and with an nftables set and an ipset of the same
million addresses; and, with the million, all to one address, as most sockets do. The socket
hooks cannot be run by BPF_PROG_TEST_RUN; the second part is theirs too.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from support import (
    Contender,
    Report,
    Table,
    arguments,
    contest,
    need,
    over,
    pinned,
    program_version,
)
from wires import burst

from dnsfw.datapath import abi, bpf, links
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.bpf import AttachType, ProgType
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.own import netns_cookie
from dnsfw.datapath.sink import KernelSink
from dnsfw.model import (
    HOST,
    SECOND,
    Entry,
    FixedEntry,
    FixedRule,
    Grant,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)
from tests.support.netlab import Cgroup, Lab, Netns, sh

SIZES = (10, 1_000, 100_000, 1_000_000)
REPEAT = 20_000  # runs of one test: 5 ms
FIRSTS = 500  # different first packets in a round, each run once
DESTINATIONS = 4_096  # addresses that a send loop goes round
SEND = 0.15  # seconds of sending in a round
_PROBES = 50  # datagrams that show a filter at work, far above the noise of a quiet link
HOUR = 3600 * SECOND

_GRANTED = IPv4Address("198.18.0.0")  # RFC 2544: a network for measuring, and what lies behind it
_FIXED = IPv4Address("203.0.113.7")
_UNKNOWN = IPv4Address("192.0.2.1")
_STRANGER = IPv4Address("192.0.2.2")  # who speaks first may be answered: not the same
_SOURCE = IPv4Address("10.9.0.1")
_GATEWAY = IPv4Address("10.9.0.2")
_NOBODY = "02:00:00:00:00:99"  # nobody's MAC: the other end drops at once
_RULE = RuleId(int(abi.RuleId.FIRST))
_ANY = PortSet.of([PortRange(1), PortRange(6), PortRange(17)])
_PORT = 4433


def main() -> None:
    options = arguments(__doc__)
    need("nft", "ip", "ipset", "iptables-restore", root=True)
    report = Report("packet", nft=program_version("nft", "--version"))
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench packet"))
        loaded = LibbpfBackend(sizes={"dnsfw_grants": SIZES[-1]}).load({})
        stack.callback(loaded.close)
        stack.enter_context(pinned(max(os.sched_getaffinity(0))))
        fill = Filler(loaded)
        for size in SIZES:
            fill.up_to(size)
            with _on_a_wire(lab, loaded, size) as ctx:
                report.tables.append(_test_runs(loaded, size, options.rounds, ctx))
        for size in SIZES:
            fresh = LibbpfBackend(sizes={"dnsfw_grants": SIZES[-1]}).load({})
            stack.callback(fresh.close)
            fill = Filler(fresh)
            fill.up_to(max(size, 10))
            stand = SendStand(lab, fresh, size)
            counts = {"a send": min(DESTINATIONS, size)}
            if size == SIZES[-1]:
                counts["a send to one address"] = 1
            for what, count in counts.items():
                sends = _sends(stand, count, options.rounds)
                title = f"what that adds to {what}, {size:,} open"
                report.tables += [sends, over(sends, "nothing attached", title, "nft set")]
    report.publish(options)


class Filler:
    """Puts grants for ever more addresses into the table."""

    def __init__(self, loaded: Loaded) -> None:
        self._sink = KernelSink(loaded.maps)
        fixed = FixedEntry(HOST, addr_from("203.0.113.0"), 96 + 24, (
            FixedRule(_RULE, _ANY, Verdict.ALLOW),
        ))
        host = RolePlan(HOST, Verdict.DENY)
        self._sink.apply(Plan((host,), (fixed,), frozenset({_RULE})))
        self._filled = 0

    def up_to(self, size: int) -> None:
        until = Nanos(boottime() + HOUR)
        grant = (Grant(until, _RULE, _ANY, Verdict.ALLOW),)
        self._sink.write([
            Entry(HOST, addr_from(_GRANTED + i), grant) for i in range(self._filled, size)
        ])
        self._filled = size


def boottime() -> int:
    """The clock that grants end by."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


# --- the programs alone ---


@dataclass(frozen=True, slots=True)
class Hook:
    """A program that BPF_PROG_TEST_RUN takes."""

    name: str
    kind: ProgType
    inbound: bool = False


_HOOKS = (
    Hook("dnsfw_tc_egress", ProgType.SCHED_CLS),
    Hook("dnsfw_cg_egress", ProgType.CGROUP_SKB),
    Hook("dnsfw_tc_ingress", ProgType.SCHED_CLS, inbound=True),
    Hook("dnsfw_cg_ingress", ProgType.CGROUP_SKB, inbound=True),
)


_CTX_BYTES, _IFINDEX_AT = 192, 40  # struct __sk_buff


@contextmanager
def _on_a_wire(lab: Lab, loaded: Loaded, size: int) -> Iterator[bytes]:
    """In a namespace with a veth: the context of a frame there."""
    netns = lab.namespace(f"alone{size}")
    netns.ip("link add eth0 type veth peer name eth1")
    netns.ip("link set eth0 up")
    with netns.entered():
        ctx = bytearray(_CTX_BYTES)
        struct.pack_into("=I", ctx, _IFINDEX_AT, socket.if_nametoindex("eth0"))
        here = abi.Settings(netns_cookie() if loaded.netns_cookie else 0, 0, 53, 0)
        loaded.maps["dnsfw_settings"].update(bytes(4), here.pack())
        yield bytes(ctx)


def _test_runs(loaded: Loaded, size: int, rounds: int, ctx: bytes) -> Table:
    contenders: list[Contender] = []
    empties = {}
    for kind in (ProgType.SCHED_CLS, ProgType.CGROUP_SKB):
        fd = _empty_program(kind)
        empties[kind] = fd
        name = f"empty {'tc' if kind is ProgType.SCHED_CLS else 'cgroup'} program"
        contenders.append(Contender(name, partial(_run, fd, ctx, udp(_SOURCE, _GRANTED))))
    for hook in _HOOKS:
        program = loaded.programs[hook.name]
        short = hook.name.removeprefix("dnsfw_")
        cases = _cases(program.fd, hook.inbound, ctx)
        contenders += [Contender(f"{short}: {what}", run) for what, run in cases]
    try:
        return contest(f"{size:,} grants, a packet", "ns", contenders, rounds)
    finally:
        for fd in empties.values():
            os.close(fd)


Case = tuple[str, Callable[[], float]]


def _cases(fd: int, inbound: bool, ctx: bytes) -> Iterator[Case]:
    run = partial(_run, fd, ctx)
    if inbound:
        yield "answer of a live flow", partial(run, udp(_GRANTED, _SOURCE, answer=True))
        yield "from nobody we know", partial(run, udp(_STRANGER, _SOURCE, answer=True))
        return
    # ICMP has no flows, so each packet is judged by the tables.
    yield "denied", partial(run, udp(_SOURCE, _UNKNOWN))
    yield "grant", partial(run, echo(_SOURCE, _GRANTED))
    yield "fixed rule", partial(run, echo(_SOURCE, _FIXED))
    yield "live flow", partial(run, udp(_SOURCE, _GRANTED))
    yield "first packet of a flow (run once, cold)", partial(_first, fd, ctx)


def _run(fd: int, ctx: bytes, frame: bytes) -> float:
    return bpf.prog_test_run(fd, frame, ctx=ctx, repeat=REPEAT).duration_ns


_next_port = 20_000


def _first(fd: int, ctx: bytes) -> float:
    """The mean of single runs; the clock around one costs some 40 ns of it."""
    global _next_port
    total = 0
    for _ in range(FIRSTS):
        _next_port = _next_port + 1 if _next_port < 60_000 else 20_000
        frame = udp(_SOURCE, _GRANTED + _next_port % 10, sport=_next_port)
        total += bpf.prog_test_run(fd, frame, ctx=ctx).duration_ns
    return total / FIRSTS


def _empty_program(kind: ProgType) -> int:
    """`return 1`: what a test run costs without us."""
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)
    count = ctypes.c_size_t(len(code) // 8)
    fd: int = libbpf.bpf_prog_load(int(kind), b"dnsfw_empty", b"GPL", code, count, None)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "bpf_prog_load")
    return fd


def ip4(proto: int, source: IPv4Address, to: IPv4Address, payload: bytes) -> bytes:
    """A frame; nobody on the way looks at its checksums."""
    ether = bytes(12) + b"\x08\x00"
    length = 20 + len(payload)
    head = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, proto, 0)
    return ether + head + source.packed + to.packed + payload


def udp(
    source: IPv4Address, to: IPv4Address, *, sport: int = 5000, answer: bool = False
) -> bytes:
    ports = (_PORT, sport) if answer else (sport, _PORT)
    return ip4(17, source, to, struct.pack(">HHHH", *ports, 40, 0) + bytes(32))


def echo(source: IPv4Address, to: IPv4Address) -> bytes:
    return ip4(1, source, to, struct.pack(">BBHHH", 8, 0, 0, 1, 1) + bytes(32))


# --- a real send ---


class SendStand:
    """A namespace that sends through a veth to where nobody is, and all that may judge it."""

    def __init__(self, lab: Lab, loaded: Loaded, size: int) -> None:
        self.loaded, self.size = loaded, size
        self.netns, self.far = lab.namespace(f"near{size}"), lab.namespace(f"far{size}")
        lab.link(self.netns, self.far)
        self.netns.ip(f"addr add {_SOURCE}/24 dev eth0")
        self.netns.ip(f"neigh add {_GATEWAY} lladdr {_NOBODY} dev eth0 nud permanent")
        self.netns.ip(f"route add default via {_GATEWAY}")
        self.cgroup = lab.cgroup(str(size))
        with _attached(loaded, self.netns, self.cgroup, ["sock_create"]):
            self.sender = socket_in(self.netns, self.cgroup)  # behind the wall, as most are
        lab.closing(self.sender.close)
        _nft_tables(lab, self.netns, size)
        _ipset(lab, self.netns, size)


def _sends(stand: SendStand, count: int, rounds: int) -> Table:
    """Datagrams of one socket to so many addresses in turn."""
    netns, far, sender, size = stand.netns, stand.far, stand.sender, stand.size
    destinations = [(str(_GRANTED + i * (size // count)), _PORT) for i in range(count)]
    send = burst(sender.fileno(), destinations, bytes(32))

    def round_with(attached: Callable[[], ExitStack]) -> Callable[[], float]:
        with attached():
            _does_the_job(sender, far)

        def run() -> float:
            with attached():
                return send(SEND)

        return run

    hook = partial(_attached, stand.loaded, netns, stand.cgroup)
    contenders = [
        Contender("nothing attached", lambda: send(SEND)),
        Contender("sendmsg4", round_with(partial(hook, ["sendmsg4"])), "nft set"),
        Contender("cgroup egress", round_with(partial(hook, ["cg_egress"])), "nft set"),
        Contender("TC egress", round_with(partial(hook, ["tc_egress"])), "nft set"),
        Contender("all hooks of dnsfw", round_with(partial(hook, list(_PLACES))), "nft set"),
        Contender("nft set", round_with(partial(_nft, netns, "plain"))),
        Contender("nft conntrack and set", round_with(partial(_nft, netns, "tracked"))),
        Contender("iptables and ipset", round_with(partial(_iptables, netns)), "nft set"),
    ]
    return contest(
        f"a datagram to one of {count:,} addresses, {size:,} open", "ns",
        contenders, rounds, twice="nothing attached",
    )


_PLACES = {
    "sock_create": AttachType.CGROUP_INET_SOCK_CREATE,
    "sendmsg4": AttachType.CGROUP_UDP4_SENDMSG,
    "cg_egress": AttachType.CGROUP_INET_EGRESS,
    "cg_ingress": AttachType.CGROUP_INET_INGRESS,
    "tc_egress": AttachType.TCX_EGRESS,
    "tc_ingress": AttachType.TCX_INGRESS,
}


def _attached(loaded: Loaded, netns: Netns, cgroup: Cgroup, hooks: Sequence[str]) -> ExitStack:
    """Links to the namespace's device and to our cgroup, gone at the end of the with block."""
    stack = ExitStack()
    with netns.entered(), _opened(cgroup.path) as group:
        for hook in hooks:
            tc = hook.startswith("tc")
            target = socket.if_nametoindex("eth0") if tc else group
            fd = loaded.programs[f"dnsfw_{hook}"].fd
            stack.callback(os.close, links.link_create(fd, target, _PLACES[hook]))
    return stack


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _does_the_job(sender: socket.socket, far: Netns) -> None:
    """An address that nobody opened must not be reached, one that is open must."""
    reached = []
    for to in (_UNKNOWN, _GRANTED):
        before = _received(far)
        for _ in range(_PROBES):
            with suppress(PermissionError):
                sender.sendto(b"", (str(to), _PORT))
        reached.append(_received(far) - before >= _PROBES)
    if reached != [False, True]:
        raise RuntimeError(f"unknown and open address reached: {reached}")


def _received(netns: Netns) -> int:
    """Packets that came out at the far end."""
    done = sh("ip", "-j", "-s", "-n", netns.name, "link", "show", "eth0")
    return int(json.loads(done.stdout)[0]["stats64"]["rx"]["packets"])


def _nft_tables(lab: Lab, netns: Netns, size: int) -> None:
    """Two tables that sleep: the set alone, and the set behind connection tracking."""
    elements = ",".join(str(_GRANTED + i) for i in range(size))
    for name, first in (("plain", ""), ("tracked", "ct state established,related accept;")):
        text = f"""table ip {name} {{
            flags dormant
            set open {{ type ipv4_addr; flags timeout; timeout 1h; elements = {{ {elements} }} }}
            chain out {{ type filter hook output priority 0; policy drop;
                {first} ip daddr @open accept; }}
        }}"""
        done = netns.run(["nft", "-f", str(lab.file(f"{name}.nft", text))])
        if done.returncode:
            raise RuntimeError(done.stderr)


def _nft(netns: Netns, table: str) -> ExitStack:
    """Wake a table up until the end of the with block."""
    stack = ExitStack()
    in_netns = ("nsenter", f"--net={netns.path}", "nft")
    sh(*in_netns, "add", "table", "ip", table)
    stack.callback(sh, *in_netns, "add", "table", "ip", table, "{ flags dormant; }")
    return stack


def _ipset(lab: Lab, netns: Netns, size: int) -> None:
    lines = [f"create open hash:ip maxelem {size} timeout 3600"]
    lines += [f"add open {_GRANTED + i}" for i in range(size)]
    file = lab.file("open.ipset", "\n".join(lines) + "\n")
    with file.open() as source:
        sh("nsenter", f"--net={netns.path}", "ipset", "restore", stdin=source)


def _iptables(netns: Netns) -> ExitStack:
    """The rule that asks the set, until the end of the with block."""
    stack = ExitStack()
    rule = ("OUTPUT", "-m", "set", "!", "--match-set", "open", "dst", "-j", "DROP")
    in_netns = ("nsenter", f"--net={netns.path}", "iptables", "-w")
    sh(*in_netns, "-I", *rule)
    stack.callback(sh, *in_netns, "-D", *rule)
    return stack


def socket_in(netns: Netns, cgroup: Cgroup) -> socket.socket:
    """A UDP socket made by a child inside both: it keeps them, and this process stays out."""
    ours, theirs = socket.socketpair()
    if (pid := os.fork()) == 0:
        try:
            (cgroup.path / "cgroup.procs").write_text(str(os.getpid()))
            made = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
            socket.send_fds(theirs, [b"."], [made.fileno()])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(pid, 0)
    if not fds:
        raise RuntimeError("no socket came back from the namespace")
    return socket.socket(fileno=fds[0])


if __name__ == "__main__":
    main()
