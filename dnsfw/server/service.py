"""The DNS side, wired: listeners in front of the engine, upstreams and kernel behind it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from dnsfw.engine.effects import Note
from dnsfw.engine.engine import Engine
from dnsfw.engine.guard import read_suffixes
from dnsfw.policy.policy import Policy
from dnsfw.policy.questions import Action
from dnsfw.policy.upstream import Upstream, asked, believes
from dnsfw.server.address import Endpoint
from dnsfw.server.answers import Book
from dnsfw.server.batch import able
from dnsfw.server.clock import Alarm, Now
from dnsfw.server.faults import Faults
from dnsfw.server.journal import Journal
from dnsfw.server.judged import Judged
from dnsfw.server.kernel import Kernel
from dnsfw.server.loopcheck import LoopCheck
from dnsfw.server.neighbours import Neighbours
from dnsfw.server.performer import Performer
from dnsfw.server.rate import Rates
from dnsfw.server.refusing import Refusing
from dnsfw.server.roles import EVERYBODY_IS_HOST, MarkedAskers
from dnsfw.server.tcp import TcpListener
from dnsfw.server.udp import OnQuery, UdpListener
from dnsfw.server.udp_socket import Own, nobodys, open_group
from dnsfw.server.upstream import Upstreams
from dnsfw.server.workers import Workers

__all__ = ["Listeners", "Service"]


def _nobody(kind: str, text: str) -> None:
    """Who hears of workers where there are none."""


class Listeners:
    """UDP and TCP on every address, bound before the wall is touched: all or none. Of UDP one
    socket a process (`dns.workers`): the first of each address is the daemon's own.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], processes: int = 1, own: Own = nobodys
    ) -> None:
        """ConfigError (exit 2) names the first address that cannot be had. `own` marks sockets
        for a wall that stands already: it keeps our addresses for us.
        """
        if not able():  # a worker cannot do without the batch calls
            processes = 1
        self.endpoints = tuple(endpoints)
        self.udp: list[UdpListener] = []
        self.tcp: list[TcpListener] = []
        self.lent: list[list[UdpListener]] = [[] for _ in range(processes - 1)]  # each worker's
        try:
            for endpoint in endpoints:
                first, *others = open_group(endpoint, processes, own)
                self.udp.append(UdpListener(endpoint, first, prepared=True))
                for mine, sock in zip(self.lent, others, strict=True):
                    mine.append(UdpListener(endpoint, sock, prepared=True))
                self.tcp.append(TcpListener(endpoint, own=own))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[UdpListener | TcpListener]:
        yield from self.udp
        for mine in self.lent:
            yield from mine
        yield from self.tcp

    def close(self) -> None:
        for listener in self:
            listener.close()


class Service:
    """Engine, performer and sockets of one daemon."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Listeners,
        policy: Policy,
        upstreams: Sequence[Upstream],
        kernel: Kernel,
        journal: Journal,
        faults: Faults,
        on_note: Callable[[Note], None],
        now: Now,
        judged: Judged | None = None,
    ) -> None:
        """`judged` knows whether the kernel's answers of an earlier process may stay."""
        self.listeners = listeners
        self._kernel = kernel
        self.unassigned: tuple[str, ...] = ()  # what `assign` said at the start
        chosen = asked(upstreams)
        self.engine = Engine(
            policy,
            len(chosen),
            secrets.SystemRandom(),
            trusted=frozenset(i for i, u in enumerate(chosen) if believes(u)),
            streams=frozenset(i for i, u in enumerate(chosen) if u.scheme != "udp"),
            publishes=kernel.answers is not None,
            copies=bool(listeners.lent),
        )
        self.performer = Performer(self.engine, kernel.sink, journal, now, faults, on_note)
        self.upstreams = Upstreams(
            loop, upstreams, kernel.own, self.performer, together=self.performer.together
        )
        self.performer.connect(self.upstreams, Alarm(loop, now, self.performer.deadline))
        self.silent: frozenset[Upstream] = frozenset()  # that did not answer the start's question
        self.book = self.performer.book = self._open_book()
        suffixes = kernel.refusals
        self.refusing = None if suffixes is None else Refusing(suffixes)
        self.on_query: OnQuery = self.performer.query  # `run` puts itself in front
        self.rates = Rates(loop.time)
        self.rates.allow = kernel.allow_udp
        self.neighbours = Neighbours()
        self.workers: Workers | None = None
        if listeners.lent:
            self.workers = Workers(
                loop, listeners.lent, self.engine, self.performer, self.rates, now,
                marks=kernel.marks,
            )  # fmt: skip
        self._askers = MarkedAskers(kernel.asker) if kernel.marks else EVERYBODY_IS_HOST
        self._loop = loop
        self._judged = judged
        self._on_note = on_note
        self._journal = journal
        self._now = now

    def fill(self, policy: Policy) -> None:
        """Everything the hooks must know, before they judge by it: policy, grants, listeners.

        Over an adopted wall the grants of the last run are judged by this policy.
        """
        kernel, now = self._kernel, self._now()
        for listener in self.listeners:
            self.equip(listener)
            if not listener.endpoint.address.is_loopback:
                listener.neighbours = self.neighbours
        kernel.listen(self.listeners.endpoints)
        self.engine.set_own_addresses(kernel.addresses())
        perform, engine, sink = self.performer.perform, self.engine, kernel.sink
        self._take_back()
        held = self._journal.restore()
        sink.apply(policy.plan(), lambda: perform(engine.restore(held, sink.entries(), now)))
        self.unassigned = kernel.assign(policy.subjects)  # roles first, then who has them
        perform(engine.set_lockdown(kernel.sink.locked, now))
        perform(engine.judge_flows(kernel.sink.flows(), now))
        if not kernel.adopted:
            kernel.settle_older(policy, end=False)
        if self.book is not None:
            self.book.adopt(now)
            kernel.answer(policy.dns)

    def _open_book(self) -> Book | None:
        answers, engine = self._kernel.answers, self.engine
        if answers is None:
            return None
        return Book(answers, engine.renew, engine.unpublished, secrets.SystemRandom())

    def _take_back(self) -> None:
        """What an earlier process had the kernel answer goes on only if we would say the same;
        else it ends before another policy judges.
        """
        if self.book is None:
            return
        epoch = self.book.table.epoch
        by = self.engine.judges_by
        if not (self._kernel.adopted and self._judged and self._judged.same(epoch, *by)):
            self.book.table.withdraw()
            if self.refusing is not None:
                self.refusing.stop()

    def note_judge(self) -> None:
        """Once a second: by which policy the kernel's answers were judged."""
        if self.book is not None and self._judged is not None:
            self._judged.look(self.book.table.epoch, *self.engine.judges_by)

    def equip(self, listener: UdpListener | TcpListener) -> None:
        """Its packets pass, and it knows who asks."""
        kernel, fd = self._kernel, listener.socket.fileno()
        kernel.own(fd)
        if isinstance(listener, UdpListener):
            listener.share = partial(kernel.share_udp, fd)
            listener.replies, listener.now = self.engine.replies, self._now
            listener.together, listener.at_end = self.performer.together, self.performer.at_end
        elif kernel.marks:
            kernel.answer_on_tcp(fd)
        listener.askers, listener.rates = self._askers, self.rates

    def tell_dropped(self) -> None:
        """What a flood cost whom, for watchers and the log; now and then."""
        for note in self.rates.news():
            self._on_note(note)

    def refresh_addresses(self) -> None:
        """What the host's own addresses are, for the answer filter and for the hooks."""
        self.performer.perform(self.engine.set_own_addresses(self._kernel.addresses()))
        self.neighbours.forget()
        if self.workers is not None:
            self.workers.forget_neighbours()

    async def start(self, said: Callable[[str, str], None] = _nobody) -> None:
        """Read the listeners: from here on clients are answered. Troubles of workers are said."""
        for listener in self.listeners:
            await listener.start(self._loop, self.on_query)
        if self.workers is not None:
            self.workers.said = said
            self.workers.start()
        policy, _ = self.engine.judges_by
        if any(role.questions.guard.action is not Action.OFF for role in policy.roles.values()):
            self._loop.run_in_executor(None, read_suffixes)
        if self.refusing is not None and policy.dns.kernel_answers:
            self.refusing.begin(policy)

    async def check_loop(self) -> list[Upstream]:
        """The upstreams that are silent. ConfigError when one of them asks us."""
        check = LoopCheck(self.upstreams.written)
        query = self.on_query
        for listener in self.listeners:
            listener.on_query = lambda wire, client: check.heard(wire) or query(wire, client)
        try:
            contexts = self.upstreams.contexts
            silent = await check.run(self._loop, self._kernel.own, self._now, contexts)
            self.silent = frozenset(silent)
            return silent
        finally:
            for listener in self.listeners:
                listener.on_query = query

    def look_after_workers(self) -> None:
        """Once a second."""
        if self.workers is not None:
            self.workers.look()

    def stop(self) -> None:
        if self.workers is not None:
            self.workers.close()
        if self.refusing is not None:
            self.refusing.close()
        self.listeners.close()
        self.upstreams.close()
        self.performer.close()
