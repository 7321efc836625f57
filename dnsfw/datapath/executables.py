"""Programs that have a role: each run of them is held until its process is in the role.

fanotify (FAN_OPEN_EXEC_PERM, Linux 5.0) stops execve() at the open of the file and tells us
the process; it goes on when we have answered. The mark is on the inode: hard links and bind
mounts are the same program, a copy is another. A script counts too: its own file is opened
before its interpreter. When this process ends, its marks go and every exec that waited goes
on, unmoved: a dead watcher never hangs the machine.

Not seen: `ld.so /usr/sbin/program`, which maps the program as a file like any.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct

from dnsfw.datapath.process import Gone
from dnsfw.datapath.syscall import Closing
from dnsfw.errors import DatapathError, DnsfwError
from dnsfw.model import RoleId
from dnsfw.values import dataclass

__all__ = ["XATTR", "ExecWatch", "Executable"]

XATTR = "xattr"  # as a path: whatever file carries the role's name in the attribute
_ATTRIBUTE = "user.dnsfw.role"
_OLDER_ATTRIBUTE = "user.bpfjailer.role_id"  # four bytes, little endian: a role's number
# Where programs are, as far as these are file systems of their own.
_PROGRAM_PLACES = ("/", "/usr", "/usr/local", "/opt")

_CLASS_CONTENT, _CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE = 0x04, 0x01, 0x02, 0x10
_ADD, _REMOVE, _ON_FILESYSTEM = 0x01, 0x02, 0x100
_OPEN_EXEC_PERM = 0x00040000
_QUEUE_OVERFLOW = 0x00004000
_ALLOW, _DENY = 0x01, 0x02
_AT_FDCWD = -100
_EVENT = Struct("=IBBHQii")  # fanotify_event_metadata
_RESPONSE = Struct("=iI")
_READ_BYTES = 4096
_IN_APPEARED = 0x00000100 | 0x00000080 | 0x00000004  # IN_CREATE | IN_MOVED_TO | IN_ATTRIB
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (
    ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Executable:
    """A file whose runs have a role."""

    path: str  # absolute, or XATTR
    role: RoleId
    name: str  # of the role
    number: int = 0  # that the role had in an imported policy; 0: none


# Moves the process; raises if that cannot be: then the exec is refused.
Move = Callable[[int, Executable], None]


class ExecWatch:
    """A fanotify group of our own."""

    def __init__(self) -> None:
        """DatapathError: it needs CAP_SYS_ADMIN and CONFIG_FANOTIFY_ACCESS_PERMISSIONS."""
        flags = _CLASS_CONTENT | _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE
        self._fd = int(_libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE))
        if self._fd < 0:
            raise DatapathError(
                f"cannot watch executables: fanotify: {_why()}; it needs CAP_SYS_ADMIN and "
                "CONFIG_FANOTIFY_ACCESS_PERMISSIONS"
            )
        self._folders = _Folders()
        self._wanted: tuple[Executable, ...] = ()
        self._marked: dict[tuple[int, int], Executable] = {}
        self._paths: dict[tuple[int, int], Path] = {}
        self._filesystems: dict[int, Path] = {}
        self.absent: tuple[str, ...] = ()

    def fileno(self) -> int:
        """Readable when an exec waits."""
        return self._fd

    @property
    def changes(self) -> int:
        """Readable when a file of ours may have been replaced: then `look`."""
        return self._folders.fd

    def watch(
        self, executables: Sequence[Executable], filesystems: Sequence[str] = _PROGRAM_PLACES
    ) -> tuple[str, ...]:
        """These from now on, and no others; says which files do not exist yet.

        `filesystems` are marked whole, and only where an executable is XATTR.
        """
        self._wanted = tuple(executables)
        self._folders.follow(Path(e.path).parent for e in executables if e.path != XATTR)
        by_attribute = any(e.path == XATTR for e in executables)
        self._mark_filesystems([Path(p) for p in filesystems] if by_attribute else [])
        return self.look()

    def look(self) -> tuple[str, ...]:
        """Which files these are now: a package that is upgraded brings another inode."""
        self._folders.drain()
        found: dict[tuple[int, int], Executable] = {}
        paths: dict[tuple[int, int], Path] = {}
        absent = []
        for executable in self._wanted:
            if executable.path == XATTR:
                continue
            try:
                status = Path(executable.path).stat()
            except OSError:
                absent.append(executable.path)
                continue
            found.setdefault(_id(status), executable)  # the first subject of a file wins
            paths.setdefault(_id(status), Path(executable.path))
        for key in found.keys() - self._marked.keys():
            self._mark(_ADD, paths[key])
        for key in self._marked.keys() - found.keys():
            with suppress(DatapathError):  # replaced: the old inode's mark went with its file
                if _id(self._paths[key].stat()) == key:
                    self._mark(_REMOVE, self._paths[key])
        self._marked, self._paths, self.absent = found, paths, tuple(absent)
        return self.absent

    def answer(self, move: Move) -> Iterator[str]:
        """Settle every exec that waits now; says whom it moved, and what went wrong."""
        with suppress(BlockingIOError):
            while data := os.read(self._fd, _READ_BYTES):
                for event in _EVENT.iter_unpack(data[: len(data) // _EVENT.size * _EVENT.size]):
                    _, _, _, _, mask, fd, pid = event
                    if mask & _QUEUE_OVERFLOW or fd < 0:
                        yield "the kernel lost execs: some programs run without their role"
                        continue
                    with Closing(fd):
                        yield from self._settle(fd, pid, move)

    def close(self) -> None:
        os.close(self._fd)
        self._folders.close()

    def _settle(self, fd: int, pid: int, move: Move) -> Iterator[str]:
        answer = _DENY
        try:
            if pid == os.getpid() or (executable := self._executable(fd)) is None:
                answer = _ALLOW
                return
            move(pid, executable)
            answer = _ALLOW
        except Gone:
            pass  # killed while it was held: nobody is there to run anything
        except (DnsfwError, OSError) as error:
            yield f"exec refused to process {pid}: it cannot be put into its role: {error}"
        finally:  # whatever happened, nobody is left waiting
            os.write(self._fd, _RESPONSE.pack(fd, answer))

    def _executable(self, fd: int) -> Executable | None:
        status = os.fstat(fd)
        if (found := self._marked.get(_id(status))) is not None:
            return found
        return self._by_attribute(fd, status) if self._filesystems else None

    def _by_attribute(self, fd: int, status: os.stat_result) -> Executable | None:
        """Only root's own file speaks for itself, if nobody else can write to it."""
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        wanted = [e for e in self._wanted if e.path == XATTR]
        with suppress(OSError):
            name = os.getxattr(fd, _ATTRIBUTE).rstrip(b"\0").decode(errors="replace").strip()
            return next((e for e in wanted if e.name == name), None)
        with suppress(OSError):
            number = int.from_bytes(os.getxattr(fd, _OLDER_ATTRIBUTE), "little")
            return next((e for e in wanted if e.number and e.number == number), None)
        return None

    def _mark_filesystems(self, places: Sequence[Path]) -> None:
        wanted: dict[int, Path] = {}
        for place in places:
            with suppress(OSError):
                wanted.setdefault(place.stat().st_dev, place)
        for device in wanted.keys() - self._filesystems.keys():
            self._mark(_ADD | _ON_FILESYSTEM, wanted[device])
        for device in self._filesystems.keys() - wanted.keys():
            with suppress(DatapathError):
                self._mark(_REMOVE | _ON_FILESYSTEM, self._filesystems[device])
        self._filesystems = wanted

    def _mark(self, how: int, path: Path) -> None:
        if _libc.fanotify_mark(self._fd, how, _OPEN_EXEC_PERM, _AT_FDCWD, os.fsencode(path)) != 0:
            raise DatapathError(f"cannot watch {path}: fanotify: {_why()}")


class _Folders:
    """Tells when something appears where our programs are (inotify(7))."""

    def __init__(self) -> None:
        self.fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise DatapathError(f"inotify: {_why()}")
        self._watched: dict[Path, int] = {}

    def follow(self, folders: Iterator[Path]) -> None:
        wanted = set(folders)
        for gone in self._watched.keys() - wanted:
            _libc.inotify_rm_watch(self.fd, self._watched.pop(gone))
        for folder in wanted - self._watched.keys():
            number = int(_libc.inotify_add_watch(self.fd, os.fsencode(folder), _IN_APPEARED))
            if number >= 0:  # else it does not exist: the regular look finds what comes
                self._watched[folder] = number

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.fd, _READ_BYTES):
                pass

    def close(self) -> None:
        os.close(self.fd)


def _id(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _why() -> str:
    return os.strerror(ctypes.get_errno())
