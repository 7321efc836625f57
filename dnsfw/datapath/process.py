"""Processes, held so that a number that the kernel gives away again is never taken for them.

A pidfd is opened first; what /proc says counts only while that pidfd says that the process
lives, for until then its number is its own (pidfd_open(2), Linux 5.3).
"""

from __future__ import annotations

import ctypes
import os
import re
import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from dnsfw.datapath.own import netns_cookie
from dnsfw.errors import ConfigError, DatapathError

__all__ = ["Gone", "Process", "entered", "homes", "inhabited", "netns_here", "netns_of"]

_PIDFD_GETFD = 438  # one number on every architecture; Linux 5.6
_CLONE_NEWNET = 0x40000000
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD in proc_pid_stat(5), field 9
_PROC = Path("/proc")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Gone(ConfigError):
    """There is no such process, or not any more."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"there is no process {pid}; see `ps -e`")


class Process:
    """One process, from when it was asked for until `close`."""

    __slots__ = ("_fd", "pid")

    def __init__(self, pid: int, fd: int | None = None) -> None:
        """Gone if there is none of this number. `fd` is a pidfd of it, taken over."""
        self.pid = pid
        try:
            self._fd = os.pidfd_open(pid) if fd is None else fd
        except (OSError, OverflowError):  # also: the number of a thread
            raise Gone(pid) from None

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    @property
    def lives(self) -> bool:
        """Whether it has not ended: the descriptor becomes readable when it does."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def check(self) -> None:
        """Gone if it has ended: then nothing read of it since counts."""
        if not self.lives:
            raise Gone(self.pid)

    @property
    def name(self) -> str:
        with suppress(OSError):
            return self._read("comm").strip()
        raise Gone(self.pid)

    def cgroup(self) -> str:
        """Its path in the cgroup version 2 tree, as `/system.slice/x.service`. Gone."""
        try:
            lines = self._read("cgroup").splitlines()
        except OSError:
            raise Gone(self.pid) from None
        self.check()
        for line in lines:
            if line.startswith("0::"):
                return line[3:].removesuffix(" (deleted)")
        raise DatapathError("this kernel has no cgroup version 2")

    @property
    def is_kernel_thread(self) -> bool:
        return bool(int(self._stat()[6]) & _KERNEL_THREAD)

    def parent(self) -> int:
        return int(self._stat()[1])

    def sockets(self) -> Iterator[int]:
        """The numbers of its descriptors that are sockets now."""
        with suppress(OSError):
            for entry in (_PROC / str(self.pid) / "fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    if str(entry.readlink()).startswith("socket:"):
                        yield int(entry.name)

    def descriptor(self, number: int) -> int:
        """A duplicate of one of its descriptors. OSError: it has none, or we may not."""
        fd = int(_libc.syscall(_PIDFD_GETFD, self._fd, number, 0))
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.set_inheritable(fd, False)
        return fd

    @contextmanager
    def network(self) -> Iterator[None]:
        """This thread is in its network namespace; what is made there stays there.

        DatapathError if it cannot be entered: it needs CAP_SYS_ADMIN. Gone.
        """
        self.check()
        with ExitStack() as there:
            try:
                there.enter_context(entered(self._fd))  # by a pidfd: Linux 5.8
            except DatapathError as error:
                self.check()
                raise DatapathError(f"process {self.pid}: {error}") from None
            yield

    def _read(self, what: str) -> str:
        return (_PROC / str(self.pid) / what).read_text(errors="replace")

    def _stat(self) -> list[str]:
        """The fields from the third on: a command's name may hold anything."""
        try:
            text = self._read("stat")
        except OSError:
            raise Gone(self.pid) from None
        return text.rpartition(")")[2].split()


@contextmanager
def entered(network: int) -> Iterator[None]:
    """This thread is in that network namespace (a descriptor of it, or of a process in it).

    DatapathError if it cannot be entered: it needs CAP_SYS_ADMIN.
    """
    with Path("/proc/thread-self/ns/net").open() as home:
        if _libc.setns(network, _CLONE_NEWNET) != 0:
            raise DatapathError(
                f"cannot enter the network namespace: {os.strerror(ctypes.get_errno())}; "
                "it needs CAP_SYS_ADMIN and Linux 5.8"
            )
        try:
            yield
        finally:
            if _libc.setns(home.fileno(), _CLONE_NEWNET) != 0:
                os._exit(1)  # lost in somebody else's namespace: do nothing more there


def inhabited(networks: frozenset[int]) -> frozenset[int]:
    """Those of these network namespaces that live without us: a process is in it, or it has a
    name (`ip netns`, a container's sandbox). Whom we may not look at does not count.
    """
    found = set()
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found.add((entry / "ns" / "net").stat().st_ino)
    mounted = re.findall(r" net:\[(\d+)\] ", (_PROC / "self" / "mountinfo").read_text())
    return networks & (found | set(map(int, mounted)))


def homes(cookies: frozenset[int]) -> dict[int, int]:
    """For each of these network namespaces, by the number that hooks know it by, a process in
    it. Whom we may not follow does not count.
    """
    found: dict[int, int] = {}
    seen = set()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or cookies <= found.keys():
            continue
        with suppress(OSError, DatapathError, Gone):
            inode = (entry / "ns" / "net").stat().st_ino
            if inode in seen:
                continue
            seen.add(inode)
            with Process(int(entry.name)) as process, process.network():
                cookie = netns_cookie()
            if cookie in cookies:
                found[cookie] = process.pid
    return found


@contextmanager
def netns_of(pid: int) -> Iterator[int]:
    """A descriptor of a process's network namespace; its inode is its number."""
    fd = os.open(_PROC / str(pid) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def netns_here() -> int:
    """The number of this thread's network namespace."""
    return Path("/proc/thread-self/ns/net").stat().st_ino
