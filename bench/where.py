"""Where does the time of a query go, inside the process that answers it?

The sockets, the engine, the journal, the history and the tables of one daemon (these in memory,
so it needs no root), a client that keeps 64 questions in flight and an upstream that answers at
once, each a process of its own. First what a query costs, in CPU time of the process, its
system calls included. Then Python's own profiler counts the CPU time of every function; being
counted makes calls two or three times dearer than they are, so only the order and the shares
mean something. By layer and by function: microseconds a query, without what it calls.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from pstats import Stats
from tempfile import TemporaryDirectory
from typing import Any

import support  # noqa: F401 - it makes the checkout importable
from support import ROOT, Report, Row, Table, arguments, pinned
from zone import ZONE, Upstream, numbered, policy, query

from dnsfw.datapath.memory import memory_maps
from dnsfw.datapath.sink import KernelSink
from dnsfw.engine.engine import Engine
from dnsfw.policy.compile import compile_text
from dnsfw.server.address import Endpoint, plain
from dnsfw.server.clock import Alarm, boot_now
from dnsfw.server.faults import Faults
from dnsfw.server.history import History
from dnsfw.server.journal import Journal
from dnsfw.server.loop import calm_collector, run
from dnsfw.server.performer import Performer
from dnsfw.server.udp import UdpListener
from dnsfw.server.upstream import Upstreams

NAMES = 1_000
WINDOW = 64
SECONDS = 0.5
SHOWN = 30  # functions
_PATIENCE = 20  # times the seconds of a round, until enough was asked
_ADDRESSES = 262_144
_HERE = ip_address("127.0.0.1")
_REPEATED = "repeated names"
_KINDS: dict[str, Callable[[int], str]] = {
    _REPEATED: lambda number: numbered(number % NAMES),
    "fresh names": numbered,
    "fresh names that are refused": lambda number: f"n{number}.refused.example",
}
_LAYERS = ("wire", "policy", "engine", "datapath", "server")
_OTHERS = "Python and libraries"


def main() -> None:
    options = arguments(
        __doc__, ("--seconds", {"type": float, "default": SECONDS, "help": "of one round"})
    )
    report = Report("where")
    cores = sorted(os.sched_getaffinity(0))
    with pinned(cores[0]):
        for title in _KINDS:
            found = [
                run(_round(options.seconds, cores[-1], title)) for _ in range(options.rounds)
            ]
            report.tables += _tables(title, found)
    report.publish(options)


def _policy() -> str:
    """One rule opens all of the names, and what is usual is a second's worth of addresses."""
    rule = f'"*.{ZONE}:443"'
    return policy().replace(f"allow: {rule}", f"{{allow: {rule}, addresses: {_ADDRESSES}}}")


async def _round(seconds: float, core: int, kind: str) -> dict[str, float]:
    """Microseconds a query by function, the sums by layer under `· layer`, and what it is
    unprofiled under the empty name.
    """
    with TemporaryDirectory() as scratch, _upstream(core) as port:
        async with _Server(Path(scratch), port) as server:
            with _client(server.port, core, kind):
                await server.warm(3 * NAMES if kind == _REPEATED else 0)
                calm_collector()
                before, start = server.answered, time.process_time()
                await _wait(server, seconds)
                plain = 1e6 * (time.process_time() - start) / (server.answered - before)
                before, profile = server.answered, cProfile.Profile(time.thread_time)
                profile.enable()
                await _wait(server, seconds)
                profile.disable()
                return {"": plain, **_by_function(profile, server.answered - before)}


async def _wait(server: _Server, seconds: float) -> None:
    before = server.answered
    for _ in range(_PATIENCE):  # of a busy machine
        await asyncio.sleep(seconds)
        if server.answered - before >= NAMES:
            return
    raise RuntimeError("nobody was answered")


class _Server:
    """What `dnsfw up` wires together, over tables in memory."""

    def __init__(self, scratch: Path, upstream: int) -> None:
        loop, compiled = asyncio.get_running_loop(), compile_text(_policy())
        self.engine = Engine(compiled, 1, random.SystemRandom())
        sink = KernelSink(memory_maps(), barrier=lambda: None)
        sink.apply(compiled.plan())
        self._journal = Journal(scratch, boot_now)
        self._performer = Performer(
            self.engine, sink, self._journal, boot_now, Faults(print), lambda note: None
        )
        self._performer.on_open = History().opened
        target = plain(Endpoint(_HERE, upstream))
        self._upstreams = Upstreams(
            loop, [target], lambda fd: None, self._performer, together=self._performer.together
        )
        self._performer.connect(self._upstreams, Alarm(loop, boot_now, self._performer.deadline))
        self._listener = UdpListener(Endpoint(_HERE, 0))
        self._listener.replies = self.engine.replies
        self._listener.together = self._performer.together
        self._listener.at_end = self._performer.at_end
        self.port = self._listener.socket.getsockname()[1]

    @property
    def answered(self) -> int:
        return self.engine.stats()["queries"]

    async def warm(self, hits: int) -> None:
        """Until what is repeated is known, and a little longer."""
        while self.engine.stats()["hits"] < hits:  # noqa: ASYNC110 - there is no event of it
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)

    async def __aenter__(self) -> _Server:
        await self._listener.start(asyncio.get_running_loop(), self._performer.query)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self._upstreams.close()
        self._performer.close()
        self._journal.close()


@contextmanager
def _upstream(core: int) -> Iterator[int]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(_HERE), 0))
    port = sock.getsockname()[1]
    with pinned(core):
        child = Upstream(sock)
    try:
        yield port
    finally:
        child.close()


@contextmanager
def _client(port: int, core: int, kind: str) -> Iterator[None]:
    """A child that asks, and asks again for each reply it gets."""
    pid = os.fork()
    if pid == 0:
        with suppress(KeyboardInterrupt):
            os.sched_setaffinity(0, {core})
            _ask(port, _KINDS[kind])
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _ask(port: int, named: Callable[[int], str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((str(_HERE), port))
        sock.settimeout(1)
        number = 0
        room = WINDOW
        while True:
            for _ in range(room):
                sock.send(query(named(number), number & 0xFFFF))
                number += 1
            room = 0
            with suppress(OSError):
                sock.recv(4096)
                room = 1
                sock.setblocking(False)
                while room < WINDOW:
                    sock.recv(4096)
                    room += 1
            sock.settimeout(1)


def _by_function(profile: cProfile.Profile, queries: int) -> dict[str, float]:
    stats: dict[Any, Any] = Stats(profile).stats  # type: ignore[attr-defined]
    found: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, _) in stats.items():
        micros = 1e6 * own / queries
        path = Path(file)
        inside = ROOT / "dnsfw" in path.parents or "dnsfw" in path.parts
        layer = path.parent.name if inside and path.parent.name in _LAYERS else _OTHERS
        found[f"· {layer}"] += micros
        found[f"{layer}/{path.name}: {name}" if inside else name] += micros
    return dict(found)


def _tables(title: str, found: list[dict[str, float]]) -> list[Table]:
    def row(name: str) -> Row:
        return Row(name.removeprefix("· "), tuple(one.get(name, 0.0) for one in found))

    rows = sorted((row(name) for name in set().union(*found) - {""}), key=lambda one: -one.median)
    layers = {name.removeprefix("· ") for one in found for name in one if name.startswith("· ")}
    return [
        Table(f"{title}, a query", "µs of CPU",
              (Row("not profiled", tuple(one[""] for one in found)),)),
        Table(f"{title}, by layer", "µs", tuple(one for one in rows if one.name in layers)),
        Table(f"{title}, by function", "µs",
              tuple([one for one in rows if one.name not in layers][:SHOWN])),
    ]


if __name__ == "__main__":
    main()
