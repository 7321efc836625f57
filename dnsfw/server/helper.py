"""What needs more rights than the DNS process keeps, done by a small process that has them.

It is forked before the DNS process gives its privileges up, reads no packet, lives in an
empty network namespace, and ends with its parent. The two speak over a SOCK_SEQPACKET pair:
one JSON object a message, descriptors beside it. Every call here returns within `PATIENCE`,
and raises DatapathError when the helper is gone (`alive` is then False for good: the wall
stands and judges as before, and `lost` says what does not work any more).

What cannot be done for a reason of the operator's (no such process, a unit that is not
delegated) is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dnsfw.model import RoleId
from dnsfw.server.address import Endpoint

__all__ = [
    "Enrolled",
    "Executable",
    "HeldSocket",
    "Helper",
    "Told",
    "Wanted",
]

Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A socket to make in another network namespace: bound there, not listening yet."""

    transport: Transport
    endpoint: Endpoint  # port 0: any


@dataclass(frozen=True, slots=True)
class HeldSocket:
    """A socket that an enrolled process holds, after it was given the role."""

    pid: int
    fd: int  # in that process
    cookie: int  # SO_COOKIE: whether it still is the same
    proto: int  # IPPROTO_TCP, IPPROTO_UDP, ...
    remote: str  # the peer's address, "" if it has none
    port: int
    outgoing: bool  # nothing of this host accepted it
    shared: bool  # a process outside the role holds it too


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What `enroll` did."""

    cgroup: str  # path below the cgroup root
    number: int  # its id: the inode of its directory
    pids: tuple[int, ...]  # the process, and its descendants that shared its cgroup
    sockets: tuple[HeldSocket, ...]  # theirs, each with the new role now
    notes: tuple[str, ...]  # what the operator should know


@dataclass(frozen=True, slots=True)
class Executable:
    """A file whose runs have a role."""

    path: str  # absolute; or "xattr": whatever file carries this role's name in user.dnsfw.role
    role: RoleId
    name: str  # of the role


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

    def tables(self, maps: Mapping[str, int]) -> None:
        """The descriptors of `dnsfw_cgroups`, `dnsfw_socks`: once, when the wall has them."""

    def sockets_in(self, pid: int, wanted: Sequence[Wanted]) -> list[int]:
        """New sockets in the network namespace of this process, in the order wanted.

        Non-blocking, close-on-exec, IPv6 ones for IPv6 alone; the caller owns them. All or
        none. ConfigError: the process is gone; DatapathError: one cannot be bound there.
        """

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
