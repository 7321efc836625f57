"""A cgroup of one's own for a command and everything it starts: made, ended, taken away."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dnsfw.datapath import cgroup, mounts
from dnsfw.errors import DatapathError

__all__ = ["Tree", "own_cgroup"]

_PATIENCE = 10.0  # seconds for killed processes to be gone; one in the middle of a disk read takes
_LOOK_AGAIN = 0.2  # seconds; cgroup.events tells us sooner


class Tree:
    """One such cgroup. `make` puts it up."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, name: str) -> Tree:
        """Below the cgroup of this process, where its limits go on to count; else at the top.

        DatapathError: no cgroup version 2, or no right to make one.
        """
        top = cgroup.root()
        refused: OSError | None = None
        for parent in dict.fromkeys((own_cgroup(top), top)):
            path = parent / name
            try:
                path.mkdir()
            except OSError as error:
                refused = error
                continue
            if (path / "cgroup.type").read_text().strip() == "domain":
                return cls(path)
            path.rmdir()  # below a threaded cgroup: it takes no processes
        why = refused.strerror if refused is not None else "only threaded cgroups are there"
        raise DatapathError(
            f"cannot make a cgroup in {mounts.usual(top)}: {why}; run as root, outside of a "
            "container that has it read-only"
        )

    def take(self, pid: int) -> None:
        """Moves a process in; what it starts from now on is in it too."""
        try:
            cgroup.move(pid, self.path)
        except OSError as error:
            raise DatapathError(
                f"cannot move process {pid} into {mounts.usual(self.path)}: {error.strerror}"
            ) from error

    def pids(self) -> tuple[int, ...]:
        """Everything that lives in it and below."""
        return tuple(_pids(self.path))

    def end(self) -> bool:
        """SIGKILL for all of it at once, and the wait until nothing is left. False: something
        is (it hangs in the kernel).
        """
        if not self.path.is_dir():
            return True
        deadline = time.monotonic() + _PATIENCE
        while self._populated():
            self._kill()
            if time.monotonic() > deadline:
                return False
            self._wait()
        return True

    def remove(self) -> None:
        """Takes away the (empty) cgroup and those that the command made in it."""
        for where, _, _ in os.walk(self.path, topdown=False):
            with suppress(OSError):
                Path(where).rmdir()

    def _kill(self) -> None:
        """Linux 5.14 kills a cgroup in one step, whatever forks meanwhile. Before, a frozen one
        cannot fork.
        """
        try:
            (self.path / "cgroup.kill").write_text("1")
            return
        except FileNotFoundError:
            pass
        with suppress(OSError):
            (self.path / "cgroup.freeze").write_text("1")
        for pid in _pids(self.path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # a frozen process dies of it (cgroup-v2.rst)

    def _populated(self) -> bool:
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text()
        except FileNotFoundError:
            return False

    def _wait(self) -> None:
        """Until the kernel says that something changed, or a moment."""
        with suppress(OSError), (self.path / "cgroup.events").open() as events:
            if "populated 1" in events.read():
                poll = select.poll()
                poll.register(events, select.POLLPRI)
                poll.poll(_LOOK_AGAIN * 1000)


def own_cgroup(top: Path) -> Path:
    """The directory of this process's own cgroup, or the top where it cannot be seen."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::/"):
            path = top / line[len("0::/") :]
            if "/.." not in line and path.is_dir():  # else outside of our cgroup namespace
                return path
    return top


def _pids(path: Path) -> Iterator[int]:
    for where, _, _ in os.walk(path):
        with suppress(OSError):
            for line in (Path(where) / "cgroup.procs").read_text().split():
                yield int(line)
