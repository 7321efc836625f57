"""What the policy wants kept of who asked for what: the log of names and the history on disk.

Everything here may fail (no room, no right) without anything else noticing; it is said once,
and `status` shows it. A reload begins and ends it; what is not wanted any more is not kept:
the history is deleted, and lines of the log go as they get too old.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dnsfw.datapath import abi
from dnsfw.engine.effects import Note
from dnsfw.model import SECOND, Nanos, RoleId
from dnsfw.policy.compile_log import LogSettings
from dnsfw.policy.policy import Policy
from dnsfw.server.asklog import AskLog
from dnsfw.server.asklog_file import LogFiles
from dnsfw.server.clock import Now
from dnsfw.server.history_disk import FILE, HistoryDisk
from dnsfw.server.kernel_refusals import KernelRefusals
from dnsfw.server.options import DEFAULT_RUN_DIR
from dnsfw.server.performer import Performer
from dnsfw.server.remembering import Remembering
from dnsfw.server.reporter import Reporter, alike
from dnsfw.server.veil import CLEAR, Veil, read_key
from dnsfw.server.who_asks import CgroupPaths, WhoAsks, who_text

__all__ = ["Records", "log_directory"]

_PRUNE_EVERY = 600 * SECOND


def log_directory(settings: LogSettings, run_dir: Path) -> Path:
    """The policy's, else systemd's ($LOGS_DIRECTORY), else /var/log/dnsfw; a daemon with a run
    directory of its own (a second one, a test) keeps its things together.
    """
    if settings.directory:
        return Path(settings.directory)
    if given := os.environ.get("LOGS_DIRECTORY"):
        return Path(given.split(":")[0])
    if run_dir == Path(DEFAULT_RUN_DIR):
        return Path("/var/log/dnsfw")
    return run_dir / "log"


class Records:
    """Begins and ends them as the policy says, and connects them to what happens."""

    def __init__(
        self,
        reporter: Reporter,
        performer: Performer,
        who: WhoAsks,
        run_dir: Path,
        now: Now,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.paths = CgroupPaths(now)
        self.names: AskLog | None = None
        self.remembering: Remembering | None = None
        self.kernel_refusals: KernelRefusals | None = None
        self._reporter = reporter
        self._performer = performer
        self._who = who
        self._run_dir = run_dir
        self._now = now
        self._wall = wall
        self._settings = LogSettings()
        self._policy: Policy | None = None
        self._pruned = Nanos(-_PRUNE_EVERY)
        self._said = ""
        self._wrong = ""  # why nothing can be kept
        self._ending: set[asyncio.Future[None]] = set()

    def start(self, policy: Policy) -> None:
        """The first policy; from now on happenings are heard."""
        performer, reporter = self._performer, self._reporter
        performer.on_asked = self._who.asked
        reporter.asking = lambda: performer.heard
        reporter.listeners.append(self)
        self._policy = policy
        self._begin(policy.log)

    def hear(self, refusals: KernelRefusals) -> None:
        """At once, while whoever asked may still be there."""
        self.kernel_refusals = refusals
        asyncio.get_running_loop().add_reader(refusals.fileno(), refusals.look)

    def take(self, policy: Policy) -> None:
        """A reload. What is under way is written by the old ones' threads."""
        self._policy = policy
        if policy.log != self._settings:
            self._end()
            self._begin(policy.log)

    def flush(self) -> None:
        """Once a second."""
        if self.names is not None:
            self.names.flush()
        if self.remembering is not None:
            self._reporter.history.begin_at(self.remembering.disk.last_event)
        self._complain()
        if self.names is None and self._now() - self._pruned >= _PRUNE_EVERY:
            self._pruned = self._now()
            self._behind(self._leftovers)

    def close(self) -> None:
        """The end of the daemon: what is queued is written, within seconds."""
        names, remembering = self.names, self.remembering
        if self.kernel_refusals is not None:
            asyncio.get_running_loop().remove_reader(self.kernel_refusals.fileno())
        self._disconnect()
        if names is not None:
            names.close()
        if remembering is not None:
            remembering.disk.close()
        self._performer.on_asked = None
        self._who.close()

    def row(self) -> dict[str, Any]:
        """For `status`."""
        names, kept = self.names, self.remembering
        return {
            "names": None if names is None else names.row(),
            "history": None
            if kept is None
            else {
                "file": str(kept.disk.path),
                "lost": kept.disk.lost + kept.left_out,
                "wrong": kept.disk.wrong,
            },
            "wrong": self._wrong,
        }

    # reporter.Listener

    def note(self, note: Note) -> None:
        """A refusal with a reply of ours has come by the performer; the kernel's have none."""
        if self.names is not None and (refused := self._reporter.by_kernel) is not None:
            self.names.refused(refused)

    def event(self, event: abi.Event) -> None:
        own = event.role == abi.RoleId.PROBE or event.hook == abi.Hook.SOCK_CREATE
        if self.names is not None and not own:
            self.names.event(RoleId(event.role), alike(event), lambda: self._reporter.row(event))

    # inside

    def _begin(self, settings: LogSettings) -> None:
        self._settings = settings
        self._wrong = ""
        directory = log_directory(settings, self._run_dir)
        veil = self._veil(settings, directory)
        if veil is None:
            return
        if settings.names != "off":
            self.names = AskLog(
                settings, directory, veil, self._now, self._policy_now, self._who.who, self.paths
            )
            self._performer.on_told = self.names.told
        if settings.history:
            self._remember(settings, directory, veil)
        else:
            self._behind(lambda: _forget(directory))

    def _remember(self, settings: LogSettings, directory: Path, veil: Veil) -> None:
        reporter = self._reporter
        disk = HistoryDisk(
            directory, settings.retention, lambda who: who_text(who, self.paths, veil.address),
            veiled=bool(veil),
        )  # fmt: skip
        reporter.history.begin_at(disk.last_event)
        self.remembering = reporter.history.disk = Remembering(
            disk, veil, self._now, reporter.role_name, reporter.rule_text, reporter.row,
            settings.without, askers=settings.askers,
        )  # fmt: skip

    def _veil(self, settings: LogSettings, directory: Path) -> Veil | None:
        """None where names must be hidden and cannot be: nothing is kept then."""
        if not settings.writes or not settings.hash:
            return CLEAR
        try:
            directory.mkdir(0o750, parents=True, exist_ok=True)
            return Veil(read_key(directory))
        except OSError as error:
            self._wrong = f"no key to hide names with ({error.strerror or error}): none is kept"
            return None

    def _end(self) -> None:
        names, remembering = self.names, self.remembering
        self._disconnect()
        if names is not None:
            self._behind(names.close)
        if remembering is not None:
            self._behind(remembering.disk.close)

    def _disconnect(self) -> None:
        self._performer.on_told = None
        self._reporter.history.disk = None
        self.names = self.remembering = None

    def _policy_now(self) -> Policy:
        assert self._policy is not None
        return self._policy

    def _leftovers(self) -> None:
        """Lines of an earlier policy go when they are too old, although none are added."""
        settings = self._settings
        directory = log_directory(settings, self._run_dir)
        LogFiles(directory, settings.retention, settings.size).prune(self._wall())

    def _behind(self, work: Callable[[], None]) -> None:
        """In a thread: files may be slow, and answers must not wait for them."""
        done = asyncio.get_running_loop().run_in_executor(None, work)
        self._ending.add(done)
        done.add_done_callback(self._done)

    def _done(self, done: asyncio.Future[None]) -> None:
        self._ending.discard(done)
        if not done.cancelled():
            done.exception()  # seen: nothing depends on it

    def _complain(self) -> None:
        """Each kind of trouble once, and its end."""
        wrong = self._wrong
        if self.names is not None and self.names.wrong:
            wrong = f"the log of names cannot be written: {self.names.wrong}"
        elif self.remembering is not None and self.remembering.disk.wrong:
            wrong = f"the history cannot be written: {self.remembering.disk.wrong}"
        if wrong != self._said:
            self._said = wrong
            self._reporter.said("trouble" if wrong else "log", wrong or "is written again")


def _forget(directory: Path) -> None:
    """A history that nobody wants any more."""
    for tail in ("", "-wal", "-shm"):
        with suppress(OSError):
            (directory / f"{FILE}{tail}").unlink()
    with suppress(OSError):
        (directory / FILE).with_suffix(".damaged").unlink()
