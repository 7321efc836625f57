"""`dnsfw run`: one command behind a wall of its own, from its first instruction to the end of
everything it started.

The order: policy and upstreams (mistakes end here) · its cgroup · the guard that ends all if
we are killed · the child, which waits · DNS sockets · hooks and tables · the probes · the child
into the cgroup, and only then exec. At the end: the tree killed, then the wall removed.
No daemon is needed, and none is disturbed: cgroup, pins and sockets are this run's alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from dnsfw.datapath import abi, attach, cgroup
from dnsfw.datapath.backend import DEVICE_PROGRAMS
from dnsfw.datapath.elsewhere import on_lo_of
from dnsfw.datapath.private_net import PrivateNet
from dnsfw.datapath.process import netns_of
from dnsfw.datapath.seccomp import program
from dnsfw.datapath.tree import Tree
from dnsfw.engine.effects import Note
from dnsfw.engine.notes import refused
from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.model import Mode, Name, Rank, Subject, SubjectKind, Verdict
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.policy import Policy
from dnsfw.policy.upstream import Upstream
from dnsfw.server import capabilities
from dnsfw.server.answer_views import by_kernel
from dnsfw.server.capabilities import Cap
from dnsfw.server.clock import boot_now
from dnsfw.server.escape import safe
from dnsfw.server.faults import Faults
from dnsfw.server.happenings import Digest, Watchers
from dnsfw.server.journal import Journal
from dnsfw.server.kernel import Kernel, OpenKernel
from dnsfw.server.loop import raise_file_limit
from dnsfw.server.loop import run as run_loop
from dnsfw.server.notify import Notify
from dnsfw.server.observed import Observed
from dnsfw.server.options import Options, run_dir, wanted_upstreams
from dnsfw.server.provide import provide_now
from dnsfw.server.reporter import Reporter
from dnsfw.server.run_askers import RunAskers
from dnsfw.server.run_child import Child, Start
from dnsfw.server.run_doors import RunDoors
from dnsfw.server.run_guard import RunGuard
from dnsfw.server.run_options import RunOptions, account_of, report_format, run_upstreams
from dnsfw.server.run_policy import RUN, policy_place, run_policy
from dnsfw.server.run_signals import Signals
from dnsfw.server.run_summary import Outcome, summary, write_report
from dnsfw.server.run_watch import ChildWatch, adopt_orphans, bury
from dnsfw.server.service import Listeners, Service
from dnsfw.server.upkeep import Upkeep

__all__ = ["Runner", "run_command"]

_LOOP_HEARD = 0.1  # seconds: a query that comes back from this very host takes milliseconds
_DRAINS = 32  # batches of events; more than the ring holds
_REMARKS = 20
_HOST = "host"
_NO_DEVICES = frozenset(DEVICE_PROGRAMS)
_ONLY_GUESTS = _NO_DEVICES - {"dnsfw_guest_in", "dnsfw_guest_out"}  # a veth has frames
_RIGHTS = {
    Cap.BPF: "to load the hooks",
    Cap.NET_ADMIN: "to attach them",
    Cap.SYS_ADMIN: "for the BPF file system and namespaces",
}

WallClock = Callable[[], float]


class _NoJournal:
    """A run is never taken over by another, so nobody reads what it held."""

    def add(self, holders: object) -> None: ...

    def restore(self) -> list[object]:
        return []


class Runner:
    """The run, while it runs."""

    service: Service
    reporter: Reporter
    observed: Observed
    askers: RunAskers
    kernel: Kernel

    def __init__(
        self,
        options: RunOptions,
        policy: Policy,
        upstreams: tuple[Upstream, ...],
        tree: Tree,
        pin_dir: Path,
        child: Child,
        signals: Signals,
        open_kernel: OpenKernel,
        wall_clock: WallClock,
        net: PrivateNet | None = None,
    ) -> None:
        self._net = net
        self.remarks: list[str] = []
        self._options = options
        self._policy = policy
        self._upstreams = upstreams
        self._tree = tree
        self._pin_dir = pin_dir
        self._child = child
        self._signals = signals
        self._open_kernel = open_kernel
        self._wall_clock = wall_clock
        self._started = wall_clock()
        self._faults = Faults(self._remark)
        self._digest = Digest(boot_now, self._live)
        self._watch = ChildWatch(child.pid, signals)
        self._ended = self._watch.ended

    async def run(self, start: Start) -> Outcome:
        """Everything from the sockets on. DatapathError, ConfigError: it never began."""
        loop = asyncio.get_running_loop()
        doors = RunDoors(self._child.sockets if self._net is not None else None)
        try:
            self._build(loop, doors)
            try:
                await self._bring_up(loop)
                status = await self._serve(loop, start)
            finally:
                ended = self._tree.end()
                self.service.stop()
            if not ended:
                self._remark(f"something in {self._tree.path} does not die; its wall stays up")
            outcome = self._outcome(status)
        finally:
            doors.close()
            if hasattr(self, "kernel"):
                with suppress(OSError):
                    self._stop_reading(loop)
                self.kernel.close(remove=not self._tree.pids())
        return outcome

    def _build(self, loop: asyncio.AbstractEventLoop, doors: RunDoors) -> None:
        listeners = Listeners(())
        for listener in doors.listeners:
            (listeners.udp if hasattr(listener, "truncated") else listeners.tcp).append(listener)  # type: ignore[arg-type]

        def fill(kernel: Kernel) -> None:
            self.service = Service(
                loop, listeners, self._policy, self._upstreams, kernel,
                cast(Journal, _NoJournal()), self._faults, self._note, boot_now,
            )  # fmt: skip
            self.service.fill(self._policy)
            kernel.register_cgroup(cgroup.id_of(self._tree.path), RUN, Rank.ENROLLED)
            kernel.open_doors(doors.netns, doors.doors)

        wanted = Options(
            cgroup=str(self._tree.path), pin_dir=self._pin_dir, backend=self._options.backend,
            without=_NO_DEVICES if self._net is None else _ONLY_GUESTS,
            # On its own lo; the host's is not ours. And every name that is refused must come
            # by us once, or it could not stand in the summary.
            answers=self._net is not None, elsewhere=True,
        )  # fmt: skip
        self.kernel = self._open_kernel(wanted, self._policy, fill)
        if self._net is not None:
            with netns_of(self._child.pid) as there, suppress(DnsfwError):  # else all come to us
                self.kernel.answer_in(os.fstat(there).st_ino, partial(on_lo_of, there))

    async def _bring_up(self, loop: asyncio.AbstractEventLoop) -> None:
        kernel, service = self.kernel, self.service
        # There is one role, and nobody named it: what `learn` makes of it is a policy of its own.
        self.reporter = Reporter(
            service.engine, lambda: self._policy, self._digest, Watchers(),
            service.upstreams.targets, role_name=lambda role: _HOST,
        )  # fmt: skip
        self.observed = Observed(
            service.engine.last_names, self.reporter.rule_text, self._wall_clock,
            self.reporter.role_name,
        )  # fmt: skip
        self.askers = RunAskers(service.on_query, self._tree.pids, boot_now)
        service.on_query = self.askers.query
        self.reporter.listeners.append(self)
        if (events := kernel.events) is not None:
            loop.add_reader(events.fileno(), self.reporter.drain, events)
        if service.book is not None:
            service.book.repeated = self._refused_again
        await service.start()
        kernel.probe()

    async def _check_loop(self) -> None:
        """Is an upstream ourselves? A silent one is told, and nobody waits for it."""
        if not self._upstreams:
            return
        try:
            for silent in await self.service.check_loop():
                self._remark(f"upstream {silent} does not answer (asked once, at the start)")
        except ConfigError as error:
            if not self._ended.done():
                self._ended.set_exception(error)

    async def _serve(self, loop: asyncio.AbstractEventLoop, start: Start) -> int:
        upkeep = Upkeep(
            self.kernel, self.service.performer, self.service.upstreams, self._digest, Notify({}),
            boot_now, self._faults, self._said, self.service.refresh_addresses,
        )  # fmt: skip
        if (news := self.kernel.news()) is not None:
            loop.add_reader(news, upkeep.look)
        loop.add_reader(self._signals.fd, self._watch.hear)
        self._tree.take(self._child.pid)
        async with asyncio.TaskGroup() as tasks:
            check = tasks.create_task(self._check_loop())
            await asyncio.wait([check], timeout=_LOOP_HEARD)
            beat = tasks.create_task(upkeep.run())
            try:
                if not self._ended.done():
                    self._child.go(start)
                await asyncio.wait([self._ended])
            finally:
                beat.cancel()
                check.cancel()
        return self._why(self._ended.result())

    def _why(self, status: int) -> int:
        """What the child could not become; else its own status."""
        if (failed := self._child.failed()) is None:
            return status
        code, why = failed
        self._remark(f"{os.fsdecode(self._options.command[0])}: {why}")
        return code

    # what there is to tell

    def note(self, note: Note) -> None:
        """reporter.Listener: with who asked."""
        self.observed.note(note, self.askers.asker)

    def event(self, event: abi.Event) -> None:
        self.observed.event(event)

    def _refused_again(self, name: Name, times: int) -> None:
        """By the kernel; the first times came by us."""
        judged = self._policy.roles[RUN].judge(name)
        if not judged.answered:
            self.observed.note(refused(RUN, name, judged.reason, judged.rule), times=times)

    def _note(self, note: Note) -> None:
        if hasattr(self, "reporter"):
            self.reporter.note(note)

    def _said(self, kind: str, text: str) -> None:
        self._remark(f"{kind}: {text}")

    def _remark(self, text: str) -> None:
        if len(self.remarks) < _REMARKS and text not in self.remarks:
            self.remarks.append(text)

    def _live(self, text: str) -> None:
        if self._options.verbose:
            _complain(f"dnsfw: {safe(text)}")

    def _outcome(self, status: int) -> Outcome:
        if (events := self.kernel.events) is not None:
            for _ in range(_DRAINS):
                self.reporter.drain(events)
        if self.service.book is not None:
            self.service.book.tell_repeated()
        counters = self.kernel.sink.counters().values()
        role = self._policy.roles[RUN]
        return Outcome(
            command=self._options.command,
            status=status,
            mode=role.mode.name.lower(),
            policy=self._policy.sources[0],
            default=role.default.name.lower(),
            started=self._started,
            ended=self._wall_clock(),
            rows=self.observed.rows(),
            left_out=self.observed.left_out,
            packets={
                "allowed": sum(c.allowed for c in counters),
                "denied": sum(c.denied for c in counters),
                "audited": sum(c.audited for c in counters),
                "unseen": sum(c.sampled_out for c in counters),
            },
            remarks=tuple(self.remarks),
            kernel_answers=by_kernel(self.kernel),
        )

    def _stop_reading(self, loop: asyncio.AbstractEventLoop) -> None:
        events, news = self.kernel.events, self.kernel.news()
        for fd in (events.fileno() if events is not None else None, news, self._signals.fd):
            if fd is not None:
                loop.remove_reader(fd)


def run_command(options: RunOptions, wall_clock: WallClock) -> int:
    """Runs it to its end; the exit status. ConfigError, DatapathError: it never began."""
    from dnsfw.server.wall import open_wall, pin_dir

    form = report_format(options.report) if options.report else ""
    account = account_of(options.user) if options.user else None
    place = policy_place(options.rules)
    missed = provide_now(place, wall_clock, upstreams=options.upstreams) if place else []
    policy = run_policy(options.rules)
    upstreams = _whom_to_ask(options, policy)
    guards = _filter(options)
    start = Start(options.command, account, guards, options.no_escape)
    capabilities.check(_RIGHTS)
    pins = pin_dir(Options())
    pins = pins.with_name(f"{pins.name}-run-{os.getpid()}")
    adopt_orphans()
    signals = Signals()
    tree = Tree.make(f"dnsfw.run.{os.getpid()}")
    net = PrivateNet(os.getpid(), _shared_state()) if options.net == "private" else None
    notes: tuple[str, ...] = ()
    guard = RunGuard(lambda: _undo(tree, pins, net))
    child = Child(signals.before, close=(guard.fd, signals.fd))
    raise_file_limit()  # ours: the command keeps its own

    async def whole() -> Outcome:
        runner = Runner(
            options, policy, upstreams, tree, pins, child, signals, open_wall, wall_clock, net
        )
        runner.remarks += (*missed, *notes)
        return await runner.run(start)

    try:
        if net is not None:
            child.unshare_network()
            policy, notes = _behind(net, policy, child)
        outcome = run_loop(whole())
    finally:
        child.close()
        _undo(tree, pins, net)
        bury(child.pid)
        guard.relieve()
        signals.close()
    if not options.quiet:
        for line in summary(outcome, verbose=options.verbose):
            _complain(line)
    if options.report:
        write_report(outcome, options.report, form)
    return outcome.status


def _undo(tree: Tree, pins: Path, net: PrivateNet | None) -> None:
    """The tree first: it must never live without its wall."""
    if not tree.end():
        return
    attach.remove(pins)
    tree.remove()
    if net is not None:
        net.down()


def _shared_state() -> Path:
    """Beside the daemon's directory: what runs must know of each other."""
    daemon = run_dir()
    return daemon.with_name(f"{daemon.name}-run")


def _behind(net: PrivateNet, policy: Policy, child: Child) -> tuple[Policy, tuple[str, ...]]:
    """The wall stands on our end of its link, too."""
    notes = net.up(child.pid)
    link = Subject(RUN, SubjectKind.INTERFACE, net.device)
    return replace(policy, subjects=(link,)), notes


def _whom_to_ask(options: RunOptions, policy: Policy) -> tuple[Upstream, ...]:
    """Nobody, where no name could be allowed: then none is missed."""
    wanted = tuple(wanted_upstreams(Options(upstreams=options.upstreams), policy.dns))
    role = policy.roles[RUN]
    names = any(
        isinstance(rule.what, Pattern) and rule.verdict is Verdict.ALLOW for rule in role.rules
    )
    needed = names or role.default is Verdict.ALLOW or role.mode is Mode.AUDIT
    return run_upstreams(wanted) if needed or options.upstreams else ()


def _filter(options: RunOptions) -> bytes:
    if not (options.no_raw or options.no_escape):
        return b""
    return program(os.uname().machine, raw=options.no_raw, escape=options.no_escape)


def _complain(line: str) -> None:
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
