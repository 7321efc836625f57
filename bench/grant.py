"""What does a grant add to a look-up?

First the parts, in this process: the question goes in and comes out, the answer goes in
and its grant and reply come out, and the grant is written into the real kernel table.
Beside the write: adding an element with a timeout to an nftables set, by a netlink
transaction that was packed beforehand, and by the nft command.

Then whole look-ups of names that nobody asked before, one after another, in a namespace
of our own: straight from the upstream, through dnsmasq, through dnsmasq with `nftset`
and through dnsfw. All of it shares one core, so that a figure is work and not wake-ups.
"""

from __future__ import annotations

import os
import random
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count

from nfnetlink import SetWriter
from packet import socket_in
from servers import start_dnsfw, start_dnsmasq
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
from zone import NETWORK, ZONE, Upstream, answer, numbered, policy, query

from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.sink import KernelSink
from dnsfw.engine.effects import Ask, Client, OpenThenReply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.model import HOST, Entry
from dnsfw.policy.compile import compile_text
from dnsfw.server.clock import boot_now
from tests.support.netlab import Lab, Netns

BATCH = 2_000  # look-ups, or writes, of one round
BY_COMMAND = 5  # the nft command is slow: a few show it
LIVE = 400  # look-ups of one round through a server
_UPSTREAM = ("127.0.0.1", 5400)
_SET = f"nftset=/{ZONE}/4#inet#bench#open"


def main() -> None:
    options = arguments(__doc__)
    need("nft", "dnsmasq", "ip", root=True)
    report = Report(
        "grant",
        nft=program_version("nft", "--version"),
        dnsmasq=program_version("dnsmasq", "--version"),
    )
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench grant"))
        stack.enter_context(pinned(max(os.sched_getaffinity(0))))
        report.tables.append(_parts(options.rounds))
        report.tables.append(_writes(lab, options.rounds))
        live = _live(lab, options.rounds)
        report.tables.append(live)
        report.tables.append(
            over(live, "the upstream itself", "what the server adds", "dnsmasq with nftset")
        )
    report.publish(options)


# --- the parts ---


class Lookups:
    """Fresh names through a fresh engine and a real table; each stage is timed by itself."""

    def __init__(self, sink: KernelSink) -> None:
        self._sink = sink
        compiled = compile_text(policy())
        sink.apply(compiled.plan())
        self._engine = Engine(compiled, 1, random.SystemRandom())
        self._fresh = count()
        self.entries: list[tuple[Entry, ...]] = []

    def round(self) -> dict[str, float]:
        """Microseconds of CPU of a question, of an answer and of a write."""
        client = Client(0, HOST, Transport.UDP)
        asked = [query(numbered(next(self._fresh)), i) for i in range(BATCH)]
        clock = time.thread_time
        start = clock()
        questions = [self._engine.on_query(wire, client, boot_now()) for wire in asked]
        took = {"question": clock() - start}
        asks = [e for effects in questions for e in effects if isinstance(e, Ask)]
        answers = [answer(ask.wire) for ask in asks]
        start = clock()
        replies = [
            self._engine.on_answer(ask.ask, wire, boot_now())
            for ask, wire in zip(asks, answers, strict=True)
        ]
        took["answer"] = clock() - start
        opened = [e for effects in replies for e in effects if isinstance(e, OpenThenReply)]
        start = clock()
        for effect in opened:
            self._sink.write(effect.entries)
        took["write"] = clock() - start
        if len(opened) != BATCH:
            raise RuntimeError(f"{BATCH - len(opened)} of {BATCH} look-ups opened nothing")
        self.entries = [effect.entries for effect in opened]
        return {stage: 1e6 * seconds / BATCH for stage, seconds in took.items()}


def _parts(rounds: int) -> Table:
    loaded = LibbpfBackend().load({})
    try:
        lookups = Lookups(KernelSink(loaded.maps))
        found: dict[str, float] = {}

        def whole() -> float:
            found.update(lookups.round())
            return sum(found.values())

        return contest("one look-up inside dnsfw", "µs", [
            Contender("all of it, in Python and kernel", whole),
            Contender("· question: read, judge, ask", lambda: found["question"]),
            Contender("· answer: check, filter, grant, reply", lambda: found["answer"]),
            Contender("· grant: written to the kernel", lambda: found["write"]),
        ], rounds, in_order=True)
    finally:
        loaded.close()


def _writes(lab: Lab, rounds: int) -> Table:
    netns = lab.namespace("nft")
    _nft(netns, f"add table inet bench; {_set_text()}")
    loaded = LibbpfBackend().load({})
    writer = SetWriter(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12), "bench", "open")
    lab.closing(writer.close)
    try:
        sink = KernelSink(loaded.maps)
        lookups = Lookups(sink)
        lookups.round()
        renewed = lookups.entries
        numbers = count()

        def renew() -> float:
            start = time.thread_time()
            for entries in renewed:
                sink.write(entries)
            return 1e6 * (time.thread_time() - start) / len(renewed)

        def by_netlink() -> float:
            packed = [
                writer.packed(NETWORK + next(numbers), 3_600_000) for _ in range(BATCH)
            ]
            start = time.thread_time()
            for message in packed:
                writer.send(message)
            return 1e6 * (time.thread_time() - start) / BATCH

        def by_command() -> float:
            start = time.perf_counter()
            for _ in range(BY_COMMAND):
                address = socket.inet_ntoa((NETWORK + next(numbers)).to_bytes(4, "big"))
                _nft(netns, f"add element inet bench open {{ {address} timeout 1h }}")
            return 1e6 * (time.perf_counter() - start) / BY_COMMAND

        table = contest("one grant", "µs", [
            Contender("dnsfw, a new address", lambda: lookups.round()["write"], "nft, by netlink"),
            Contender("dnsfw, renewed", renew, "nft, by netlink"),
            Contender("nft, by netlink", by_netlink),
            Contender("nft, by command", by_command, "nft, by netlink"),
        ], rounds)
        _opened(netns, next(numbers))
        if len(list(sink.entries())) < BATCH:
            raise RuntimeError("dnsfw opened less than it was timed for")
        return table
    finally:
        loaded.close()


def _set_text() -> str:
    return "add set inet bench open { type ipv4_addr; flags timeout; size 1000000; }"


def _nft(netns: Netns, text: str) -> None:
    done = netns.run(["nft", text])
    if done.returncode:
        raise RuntimeError(done.stderr)


# --- whole look-ups ---


def _live(lab: Lab, rounds: int) -> Table:
    netns = lab.namespace("live")
    _nft(netns, f"add table inet bench; {_set_text()}")
    upstream = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    upstream.bind(_UPSTREAM)
    lab.closing(Upstream(upstream).close)
    start_dnsmasq(lab, netns, 5302, _UPSTREAM)
    start_dnsmasq(lab, netns, 5303, _UPSTREAM, _SET)
    cgroup = lab.cgroup()
    start_dnsfw(lab, netns, 5301, _UPSTREAM, cgroup=cgroup)
    fresh = count(200_000)

    def through(port: int) -> Callable[[], float]:
        client = socket_in(netns, cgroup)
        client.settimeout(2)
        client.connect(("127.0.0.1", port))
        lab.closing(client.close)
        return partial(_round, client, fresh)

    table = contest(f"a look-up of a fresh name, median of {LIVE}", "µs", [
        Contender("the upstream itself", through(_UPSTREAM[1])),
        Contender("dnsmasq, no set", through(5302)),
        Contender("dnsmasq with nftset", through(5303)),
        Contender("dnsfw with grants", through(5301), "dnsmasq with nftset"),
    ], rounds)
    _opened(netns, LIVE)
    return table


def _round(client: socket.socket, fresh: Iterator[int]) -> float:
    clock = time.perf_counter_ns
    took = []
    for i in range(LIVE):
        number = next(fresh)
        wire = query(numbered(number), i)
        start = clock()
        client.send(wire)
        reply = client.recv(4096)
        took.append(clock() - start)
        if reply[:2] != wire[:2] or (NETWORK + number).to_bytes(4, "big") not in reply:
            raise RuntimeError(f"a wrong answer for {numbered(number)}")
    return statistics.median(took) / 1000


def _opened(netns: Netns, at_least: int) -> None:
    """The peer did the work it was timed for."""
    shown: subprocess.CompletedProcess[str] = netns.run(["nft", "list set inet bench open"])
    if (found := shown.stdout.count("198.")) < at_least:
        raise RuntimeError(f"the set holds {found} addresses, not {at_least}: {shown.stderr}")


if __name__ == "__main__":
    main()
