"""`up --watch`: reloads when the files of the policy change (inotify(7)).

An event is only a reason to look: what counts is whether the files that the policy is read
from (its parts, tests and lists too) are others than those that were read. So an editor's
rename, a truncating write and the swap of the Kubernetes link `..data` are all one to it, and
it is the directories that are watched. It waits until they have been left alone for a moment
and nobody has a file there open that he has written to: half of a list is a list, too. But not
for ever: somebody's log may lie beside the policy. A policy that is refused leaves the last
good one in force, and `status` says so.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.policy.files import PARTS, case_files, policy_files
from dnsfw.policy.policy import Policy
from dnsfw.policy.remote import url_of

__all__ = ["PolicyWatch", "files_of"]

QUIET = 0.3  # seconds without an event: a deployment writes several files
LONGEST = 3.0  # seconds after the first event it looks, whatever goes on there
_CHANGED = (
    0x002 | 0x004 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400 | 0x800
)  # IN_MODIFY ATTRIB CLOSE_WRITE MOVED_FROM MOVED_TO CREATE DELETE DELETE_SELF MOVE_SELF
_MODIFIED, _WRITTEN_OR_GONE = 0x002, 0x008 | 0x040 | 0x200  # CLOSE_WRITE, MOVED_FROM, DELETE
_LOST = 0x4000  # IN_Q_OVERFLOW: more happened than we were told
_EVENT = struct.Struct("=iIII")  # watch, what, cookie, octets of the name
_ONLY_DIRECTORY = 0x01000000
_MOST_LINKS = 40  # as many as the kernel follows
_libc = ctypes.CDLL(None, use_errno=True)

_State = dict[str, tuple[int, ...]]


def files_of(path: Path, policy: Policy) -> list[Path]:
    """Everything that the policy in this file is read from, as it would be read now."""
    try:
        found = [*policy_files(path), *case_files(path)]
    except DnsfwError:
        found = [path]
    lists = {names.file for role in policy.roles.values() for names in role.lists}
    everything = [*found, *map(Path, sorted(lists))]
    return [file for file in everything if url_of(file) is None]


def _way(file: Path) -> set[str]:
    """The directory of a file, and of every link on the way to what it really is."""
    found = {str(file.parent)}
    for _ in range(_MOST_LINKS):
        links = [part for part in (file, *file.parents) if part.is_symlink()]
        if not links:
            break
        link = links[-1]  # the first on the way
        rest = file.relative_to(link)
        file = Path(os.path.normpath(link.parent / link.readlink() / rest))
        found |= {str(link.parent), str(file.parent)}
    return found


class PolicyWatch:
    """Calls `changed` once for every change, when it is over. ConfigError: no inotify here."""

    def __init__(self, files: Callable[[], Iterable[Path]], changed: Callable[[], None]) -> None:
        self._files = files
        self._changed = changed
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            why = os.strerror(ctypes.get_errno())
            raise ConfigError(f"--watch: {why}; raise fs.inotify.max_user_instances")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watches: dict[str, int] = {}
        self._state: _State = {}
        self._half: set[tuple[int, bytes]] = set()  # written to, and not closed since
        self._since: float | None = None  # when the first event came that was not looked at

    def start(self, loop: asyncio.AbstractEventLoop, older: Path) -> None:
        """`older`: a file that was last written before the policy in force was read."""
        self._loop = loop
        self._arm()
        self._state = self._look()
        loop.add_reader(self._fd, self._hear)
        read = older.stat().st_mtime_ns  # by the clock that files have, which may be set
        if any(seen and seen[-1] > read for seen in self._state.values()):
            self._state = {}  # changed since then, and no event says so
            self._wait()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _hear(self) -> None:
        try:
            while events := os.read(self._fd, 1 << 16):
                self._note(events)
        except BlockingIOError:
            pass
        self._wait()

    def _note(self, events: bytes) -> None:
        """Who has a file open that he has written to."""
        at = 0
        while at < len(events):
            watch, what, _, octets = _EVENT.unpack_from(events, at)
            at += _EVENT.size + octets
            file = watch, events[at - octets : at].rstrip(b"\0")
            if what & _LOST:
                self._half.clear()
            elif what & _MODIFIED:
                self._half.add(file)
            elif what & _WRITTEN_OR_GONE:
                self._half.discard(file)

    def _wait(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        if self._since is None:
            self._since = now
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(now + QUIET, self._since + LONGEST), self._settled)

    def _settled(self) -> None:
        assert self._loop is not None and self._since is not None
        self._timer = None
        if self._half and self._loop.time() < self._since + LONGEST:
            self._wait()
            return
        self._half.clear()
        self._since = None
        self._arm()  # before the look: what changes after it is heard
        now = self._look()
        if now != self._state:
            self._state = now
            self._changed()

    def _look(self) -> _State:
        found: _State = {}
        for file in self._files():
            try:
                s = file.stat()
            except OSError:
                found[str(file)] = ()
            else:
                found[str(file)] = (
                    s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns
                )  # fmt: skip
        return found

    def _arm(self) -> None:
        """Watch the directories of the files, and of what links on them lead to."""
        wanted: set[str] = set()
        for file in self._files():
            wanted |= {str(file.parent / PARTS), *_way(file)}
        for place in wanted:
            # Again for those that are watched: the kernel knows them by inode, and gives the
            # same number; a directory that was put in the place of another gets a new one.
            number = _libc.inotify_add_watch(
                self._fd, os.fsencode(place), _CHANGED | _ONLY_DIRECTORY
            )
            if number >= 0:
                self._watches[place] = number
        still = {self._watches[place] for place in wanted & self._watches.keys()}
        for place in self._watches.keys() - wanted:
            if (number := self._watches.pop(place)) not in still:
                _libc.inotify_rm_watch(self._fd, number)
