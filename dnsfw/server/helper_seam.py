"""The privileged process, as the daemon sees it; and what stands for it where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

from dnsfw.datapath.executables import Executable
from dnsfw.datapath.relabel import HeldSocket
from dnsfw.errors import DatapathError
from dnsfw.model import RoleId
from dnsfw.server.address import Endpoint
from dnsfw.values import dataclass

__all__ = ["Enrolled", "Helper", "NoHelper", "Told", "Wanted"]

Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A socket to make in another network namespace: bound there, not listening yet."""

    transport: Transport
    endpoint: Endpoint  # port 0: any


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What `enroll` did."""

    cgroup: str  # path below the cgroup root
    number: int  # its id: the inode of its directory
    role: RoleId
    pids: tuple[int, ...]  # the process, and its descendants that shared its cgroup
    sockets: tuple[HeldSocket, ...]  # theirs, each with the new role now
    notes: tuple[str, ...]  # what the operator should know


@dataclass(frozen=True, slots=True)
class Told:
    """What the helper says of its own accord, for `watch` and the log."""

    kind: Literal["enrolled", "trouble", "lost"]
    text: str


class Helper(Protocol):
    """The privileged process, as the daemon sees it."""

    @property
    def alive(self) -> bool:
        """Whether it answers. Never True again after it was False."""

    @property
    def lost(self) -> str:
        """Empty while all is well, else what does not work, for `status`."""

    def fileno(self) -> int | None:
        """Readable when there is something for `told`, or when the helper has died."""

    def told(self) -> Iterator[Told]:
        """What it said since; `lost` once when it died."""

    def tables(self, cgroups: int, socks: int, guarded: str | None = None) -> None:
        """The descriptors of `dnsfw_cgroups`, `dnsfw_socks`: once, when the wall has them;
        and the cgroup that is guarded, if it is not the root. They stay ours, and open: it gets
        them with the first request that it has to serve.
        """

    def wake(self) -> None:
        """There are cgroups of an earlier helper to look after."""

    def sockets_in(self, pid: int, wanted: Sequence[Wanted]) -> list[int]:
        """New sockets in the network namespace of this process, in the order wanted.

        Non-blocking, close-on-exec, IPv6 ones for IPv6 alone; the caller owns them. All or
        none. ConfigError: the process is gone; DatapathError: one cannot be bound there.
        """

    def homes(self, cookies: Sequence[int]) -> Mapping[int, int]:
        """A process in each of these network namespaces (as hooks know them), where one is."""

    def answer_in(self, network: int, program: int) -> int:
        """The program answers on lo of a network namespace (descriptors, both the caller's), as
        long as the link that comes back is held. DatapathError.
        """

    def inhabited(self, networks: Sequence[int]) -> frozenset[int]:
        """Those of these network namespaces (inodes) that a process is in, or a mount holds."""

    def enroll(self, pid: int, role: RoleId, name: str, *, force: bool = False) -> Enrolled:
        """Move a process, its threads, and its descendants of the same cgroup into the role.

        The cgroup is registered before anybody is moved into it. The sockets they hold get the
        role; which of them to end is the caller's decision (`end_sockets`). ConfigError without
        `force` for a process of a systemd unit whose cgroup is not delegated.
        """

    def unenroll(self, pid: int) -> Enrolled:
        """Back to where it was: the role that the policy's subjects give it."""

    def end_sockets(self, sockets: Sequence[HeldSocket]) -> int:
        """Abort these connections (SOCK_DESTROY), those that still are the same; how many."""

    def relabel(self, pids: Sequence[int], role: RoleId) -> tuple[HeldSocket, ...]:
        """Give every socket that these processes hold the role. Gone processes are left out."""

    def watch_executables(self, executables: Sequence[Executable]) -> tuple[str, ...]:
        """These programs, and none of those before, are moved into their role's cgroup before
        their first instruction. Says which files do not exist (they are looked for again).
        """

    def dissolve(self) -> None:
        """Every process back out of the cgroups that dnsfw made, and these removed: `down`."""

    def close(self) -> None:
        """End it."""


class NoHelper:
    """Without privileges to keep aside: says which are missing for what was asked."""

    alive = False

    def __init__(self, why: str) -> None:
        self.lost = why

    def fileno(self) -> int | None:
        return None

    def told(self) -> Iterator[Told]:
        return iter(())

    def tables(self, cgroups: int, socks: int, guarded: str | None = None) -> None:
        """Nobody needs them."""

    def wake(self) -> None:
        """It made none."""

    def sockets_in(self, pid: int, wanted: Sequence[Wanted]) -> list[int]:
        raise DatapathError(self.lost)

    def homes(self, cookies: Sequence[int]) -> Mapping[int, int]:
        raise DatapathError(self.lost)

    def answer_in(self, network: int, program: int) -> int:
        raise DatapathError(self.lost)

    def inhabited(self, networks: Sequence[int]) -> frozenset[int]:
        raise DatapathError(self.lost)

    def enroll(self, pid: int, role: RoleId, name: str, *, force: bool = False) -> Enrolled:
        raise DatapathError(self.lost)

    def unenroll(self, pid: int) -> Enrolled:
        raise DatapathError(self.lost)

    def end_sockets(self, sockets: Sequence[HeldSocket]) -> int:
        return 0

    def relabel(self, pids: Sequence[int], role: RoleId) -> tuple[HeldSocket, ...]:
        raise DatapathError(self.lost)

    def watch_executables(self, executables: Sequence[Executable]) -> tuple[str, ...]:
        if executables:
            raise DatapathError(self.lost)
        return ()

    def dissolve(self) -> None:
        """It made none."""

    def close(self) -> None:
        """Nothing to end."""


_: Helper = NoHelper("")
