"""`dnsfw up`: puts the parts together in the one order that is safe, and takes them apart.

Start: lock, policy, sockets bound, wall, tables, ledger restored, listeners read, loop
check, probes, `ready`. Whatever fails on the way undoes what this process did, and
only that: a wall that an earlier process left stays up, with its own deadlines.

End: Ctrl-C, `dnsfw down` and an unconfirmed `--try` remove everything. SIGTERM
(systemd's stop and restart) and every kind of crash leave the wall up.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from dnsfw.engine.effects import Note
from dnsfw.errors import DnsfwError
from dnsfw.model import Lockdown
from dnsfw.policy.files import find_policy
from dnsfw.policy.lists.store import give_back
from dnsfw.policy.policy import Policy
from dnsfw.server.announce import ready_line, warnings_at_start
from dnsfw.server.armed import disarmed
from dnsfw.server.audit import AuditReminder, audit_text
from dnsfw.server.clock import Now, boot_now
from dnsfw.server.control import ControlServer
from dnsfw.server.doors import Doors
from dnsfw.server.enroll_socket import EnrollSocket
from dnsfw.server.enrollments import Enrollments
from dnsfw.server.faults import Faults
from dnsfw.server.happenings import Digest, Watchers
from dnsfw.server.helper import Helper, NoHelper
from dnsfw.server.helping import Helping
from dnsfw.server.journal import Journal
from dnsfw.server.judged import Judged
from dnsfw.server.kernel import Kernel, OpenKernel
from dnsfw.server.left_cgroups import forget, remember
from dnsfw.server.lock import LOCK, Lock
from dnsfw.server.log import Level, Lines
from dnsfw.server.notify import Notify
from dnsfw.server.observed import Observed
from dnsfw.server.options import CONTROL_NAME, Options, listen_on, processes, wanted_upstreams
from dnsfw.server.records import Records
from dnsfw.server.reload import Reloader
from dnsfw.server.remote_start import read_at_start, remotes_of
from dnsfw.server.remotes import Remotes
from dnsfw.server.reporter import Reporter
from dnsfw.server.reporting import report
from dnsfw.server.resolvconf import find_upstreams
from dnsfw.server.resolvwatch import ResolvWatch
from dnsfw.server.revision import Revision
from dnsfw.server.role_names import RoleNames
from dnsfw.server.service import Listeners, Service
from dnsfw.server.tamper import Tampering
from dnsfw.server.temporary import Temporaries, TemporaryRules
from dnsfw.server.trial import Trial
from dnsfw.server.upkeep import Upkeep
from dnsfw.server.verbs import verbs
from dnsfw.server.watchfiles import PolicyWatch, files_of

__all__ = ["Daemon", "End"]

Say = Callable[[str], None]


class End(Enum):
    """How a run ends."""

    LEAVE = "the wall stays up"
    REMOVE = "everything is removed"


class Daemon:
    """One firewall, from lock to unlock."""

    service: Service
    reloader: Reloader
    reporter: Reporter
    kernel: Kernel
    control: ControlServer
    names: RoleNames
    kept: Temporaries
    temporary: TemporaryRules
    tampering: Tampering
    resolv_watch: ResolvWatch
    helping: Helping
    doors: Doors
    enrollments: Enrollments
    observed: Observed
    remotes: Remotes
    records: Records
    enroll_socket: EnrollSocket | None = None
    policy_watch: PolicyWatch | None = None

    def __init__(
        self,
        options: Options,
        open_kernel: OpenKernel,
        log: Lines,
        say: Say,
        now: Now = boot_now,
        helper: Helper | None = None,
        shed: Callable[[], object] = lambda: None,
        own: Callable[[int], object] = lambda fd: None,
    ) -> None:
        """`helper` has the rights that `shed` gives up before the first query; `own`: Listeners."""
        self.options, self.now, self.began = options, now, now()
        self.watchers = Watchers()
        self.faults = Faults(lambda text: log.line(Level.ERROR, text))
        self.trial = Trial(options.trial, self._undo, options.run_dir)
        self.removed = asyncio.Event()
        self.journal = Journal(options.run_dir, now)
        self.revision = Revision(options.run_dir)
        self.judged = Judged(options.run_dir)
        self._digest = Digest(now, lambda text: log.line(Level.NOTICE, text))
        self._helper = helper or NoHelper("this daemon was started without a helper")
        self._shed, self._own = shed, own
        self._open_kernel = open_kernel
        self._log = log
        self._say = say
        self._notify = Notify()
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._tasks = asyncio.TaskGroup()
        self._serving = False

    def take_down(self) -> None:
        """`dnsfw down`, Ctrl-C."""
        self.end(End.REMOVE)

    def leave(self) -> None:
        """SIGTERM."""
        self.end(End.LEAVE)

    def end(self, how: End) -> None:
        """Finish the run; what was said first holds. An unconfirmed trial never leaves a wall."""
        if self.trial.unconfirmed:
            how = End.REMOVE
        if not self._end.done():
            self._end.set_result(how)

    async def run(self) -> None:
        """Serve until told to end. ConfigError, PolicyError, DatapathError: it could not start."""
        loop = asyncio.get_running_loop()
        lock = Lock(self.options.run_dir)
        how = End.LEAVE
        try:
            self._hear_signals(loop)
            how = await self._start_and_serve(loop)
            self._notify.stopping()
            if how is End.REMOVE:
                self.journal.remove()
                self.names.remove()
                self.revision.remove()
                self.judged.remove()
                self.kept.remove()
                forget(self.options.run_dir)
                disarmed(self.options.run_dir)
                self._say("removed: nothing of dnsfw is left in the kernel")
            elif self.options.dns_only:
                self._say("stopped: there was no wall, and no name is refused any more")
            else:
                self._say("stopped: the wall stays up; `dnsfw down` removes it")
            self.removed.set()
            await self.control.close()
        finally:
            self.journal.close()
            lock.release(remove=how is End.REMOVE)

    async def reload(self) -> None:
        """SIGHUP: there is nobody to answer, so the log hears how it went."""
        self._notify.reloading()
        try:
            done = await self.reloader.reload()
        except DnsfwError as error:
            self._log.line(Level.ERROR, f"reload failed, the old policy stays: {error}")
        except Exception as error:  # the edge: nobody waits for this task
            self.faults.caught("reloading", error)
        else:
            for line in (*done.warnings, *done.changes):
                self._log.line(Level.NOTICE, line)
            self._log.line(Level.NOTICE, done.text)
        self._notify.ready("reloaded")

    def lock_down(self, state: Lockdown) -> None:
        """Kernel first; then the queries, our own questions, and the flows that are open."""
        sink, service = self.kernel.sink, self.service
        engine, perform = service.engine, service.performer.perform
        sink.lockdown(state)
        perform(engine.set_lockdown(state, self.now()))
        if state is not Lockdown.OFF:
            service.upstreams.close()
            perform(engine.judge_flows(sink.flows(), self.now()))
        self.reporter.said("lockdown", state.name.lower())

    # start

    async def _start_and_serve(self, loop: asyncio.AbstractEventLoop) -> End:
        path = find_policy(self.options.policy)
        remember(self.options.run_dir, self.options.cgroup)
        self.names = RoleNames(self.options.run_dir)
        written = await read_at_start(
            path, self.names.known, self.options, self.now, time.time, self._warn,
            self._notify.longer,
        )  # fmt: skip
        self.revision.check(written)
        self.kept = Temporaries(self.options.run_dir, self.now)
        policy, _ = self.kept.on_top(written)
        self.names.take(policy)  # before the kernel hears of a new number
        endpoints = listen_on(self.options, policy.dns)
        upstreams = find_upstreams(wanted_upstreams(self.options, policy.dns), endpoints)
        listeners = Listeners(endpoints, processes(policy.dns), self._own)

        def fill(kernel: Kernel) -> None:
            self.service = Service(
                loop, listeners, policy, upstreams, kernel, self.journal, self.faults,
                self._note, self.now, self.judged,
            )  # fmt: skip
            self.reloader = Reloader(
                policy, path, self.options.policy, kernel, self.names, self.service.performer,
                self.now, self._swapped, self.revision.check, self._prepare, self.kept, written,
                lambda path: self.remotes.provide(path), self.service.refusing,
            )  # fmt: skip
            self.doors = Doors(kernel, self.service.equip, self.service.on_query)
            self.doors.prepare(policy.dns.takeover)  # before a hook leads anybody to them
            self.service.fill(policy)

        try:
            self.trial.guard()
            self.kernel = self._open_kernel(self.options, policy, fill)
        except BaseException:
            self.trial.relieve()
            listeners.close()
            raise
        remove = not self.kernel.adopted  # until it serves: leave things as they were found
        try:
            await self._bring_up(loop)
            remove = await self._serve() is End.REMOVE
        except BaseException:
            if hasattr(self, "control"):
                await self.control.close()
            raise
        finally:
            if self.enroll_socket is not None:
                await self.enroll_socket.close()
            if hasattr(self, "remotes"):
                await self.remotes.close()
            self._stop(loop, remove=remove)
            self.kernel.close(remove=remove)
            self.trial.relieve()  # not before: if that failed, the guardian tries again
        return End.REMOVE if remove else End.LEAVE

    async def _bring_up(self, loop: asyncio.AbstractEventLoop) -> None:
        kernel, service = self.kernel, self.service
        self.reporter, self.observed, self.records = report(self, self._digest)
        self.remotes = remotes_of(self, time.time, self._warn)
        self.tampering = Tampering(self.now, self.reporter.said)
        self.temporary = TemporaryRules(self.kept, self.reloader, self.now, self.reporter.said)
        self.resolv_watch = ResolvWatch(
            service.listeners.endpoints, self.reporter.said,
            lambda: self.reloader.policy.dns.takeover,
        )  # fmt: skip
        if (events := kernel.events) is not None:
            loop.add_reader(events.fileno(), self.reporter.drain, events)
        self.doors.helper, self.doors.said = self._helper, self.reporter.said
        self.reporter.listeners += [self.doors, self.observed]
        self.enrollments = Enrollments(
            self._helper, lambda: self.reloader.policy,
            lambda role, addr: service.engine.granted(role.role, addr), self.reporter.said,
        )  # fmt: skip
        self.helping = Helping(self._helper, kernel, self.reporter.said)
        self.helping.start(loop, self.options.cgroup, self.reloader)
        if not kernel.adopted:
            for what in kernel.settle_older(self.reloader.policy, end=True):
                self.reporter.said("older", what)
        open_to_all = kernel.sink.locked is Lockdown.OFF  # else nothing may leave, not even this
        if open_to_all:
            kernel.probe()
        self.control = ControlServer(self.options.run_dir / CONTROL_NAME, verbs(self), self.faults)
        await self.control.start()
        if self.options.enroll_socket is not None:
            path = self.options.enroll_socket
            self.enroll_socket = EnrollSocket(path, self.enrollments, self.faults)
            await self.enroll_socket.start()
        self._shed()
        await service.start(self.reporter.said)
        await self.doors.start()
        if open_to_all:
            for silent in await service.check_loop():
                self._warn(f"upstream {silent} does not answer (asked once, at the start)")

    async def _serve(self) -> End:
        policy = lambda: self.reloader.policy  # noqa: E731
        upkeep = Upkeep(
            self.kernel, self.service.performer, self.service.upstreams, self._digest,
            self._notify, self.now, self.faults, self.reporter.said,
            self.service.refresh_addresses, self.tampering.found,
            (
                self.resolv_watch.look, AuditReminder(policy, self._warn, self.now).look,
                self.service.note_judge, self.service.tell_dropped, self.temporary.look,
                self.records.flush,
                self.remotes.look, self.service.look_after_workers,
            ),
        )  # fmt: skip
        if self.options.watch:
            self.policy_watch = PolicyWatch(
                lambda: files_of(Path(self.reloader.path), self.reloader.policy), self._hang_up
            )
            self.policy_watch.start(asyncio.get_running_loop(), self.options.run_dir / LOCK)
        if (news := self.kernel.news()) is not None:
            asyncio.get_running_loop().add_reader(news, upkeep.look)
        disarmed(self.options.run_dir)  # the wall has its daemon
        self.revision.take(self.reloader.policy)
        self.trial.start(asyncio.get_running_loop())
        if not self._end.done():  # Ctrl-C while it started
            self._announce()
        give_back()  # what loading and comparing tables took
        async with self._tasks as tasks:
            self._serving = True
            mine = [tasks.create_task(upkeep.run()), tasks.create_task(self.doors.run())]
            how = await self._end
            self._serving = False
            for task in mine:
                task.cancel()
        return how

    def _announce(self) -> None:
        for warning in warnings_at_start(self):
            self._warn(warning)
        line = ready_line(self)
        self._say(line)
        self._notify.ready(line)

    def _warn(self, text: str) -> None:
        self._log.line(Level.WARNING, text)

    def _note(self, note: Note) -> None:
        if hasattr(self, "reporter"):  # before there is one: what the restart closed
            self.reporter.note(note)

    # end

    def _stop(self, loop: asyncio.AbstractEventLoop, *, remove: bool) -> None:
        if hasattr(self, "service"):
            self.service.stop()
        if hasattr(self, "doors"):
            self.doors.close()
        if hasattr(self, "helping"):
            self.helping.stop(loop, remove=remove)
        if hasattr(self, "temporary"):
            self.temporary.close()
        if hasattr(self, "records"):
            self.records.close()
        if self.policy_watch is not None:
            self.policy_watch.close()
        events, news = self.kernel.events, self.kernel.news()
        for descriptor in (events.fileno() if events is not None else None, news):
            if descriptor is not None:
                loop.remove_reader(descriptor)

    def _hear_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGINT, self.take_down)
        loop.add_signal_handler(signal.SIGTERM, self.leave)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.set_exception_handler(self._loop_fault)

    def _hang_up(self) -> None:
        if self._serving:  # a start reads the file anyway
            self._tasks.create_task(self.reload())

    def _loop_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self.faults.caught("serving", error)
        else:
            self._log.line(Level.WARNING, str(context.get("message")))

    async def _prepare(self, policy: Policy) -> None:
        """Before a reload: whoever will be led somewhere finds somebody there."""
        if policy.dns.takeover and not self.doors.namespaces:
            self.doors.open_here()
            await self.doors.start()

    def _swapped(self, policy: Policy, said: str) -> None:
        self.revision.take(policy)
        self.helping.take(policy)
        self.remotes.take(policy.remotes)
        self.records.take(policy)
        self.reporter.said("reload", said)
        if audit := audit_text(policy):
            self._warn(audit)

    def _undo(self) -> None:
        self._log.line(Level.WARNING, "nobody confirmed: undoing everything")
        self.end(End.REMOVE)
