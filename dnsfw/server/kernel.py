"""All that the daemon wants of the kernel, as one seam: the real wall, or memory in a test."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Protocol

from dnsfw.datapath import abi
from dnsfw.datapath.answers import AnswerTable
from dnsfw.datapath.refusals import RefusalTable
from dnsfw.datapath.sink import Sink
from dnsfw.datapath.tamper import Repair
from dnsfw.model import Addr, Rank, RoleId, Subject
from dnsfw.policy.policy import DnsSettings, Policy
from dnsfw.server.address import Endpoint
from dnsfw.server.options import Options
from dnsfw.values import dataclass

__all__ = [
    "AskedSource",
    "EventSource",
    "Fill",
    "Hook",
    "Kernel",
    "OpenKernel",
    "Relabel",
    "Repair",
]

# Gives every socket that these processes hold now another role. It is told so when a subject
# begins to count while its processes run already: a unit that started, a reload.
Relabel = Callable[[Sequence[int], RoleId], None]


@dataclass(frozen=True, slots=True)
class Hook:
    """One attach point, for `status`."""

    name: str
    where: str  # a cgroup or a device
    how: str  # cgroup, tcx, clsact
    attached: bool = True
    note: str = ""  # why not


class EventSource(Protocol):
    """The ring buffer."""

    def fileno(self) -> int: ...

    def read(self) -> Iterator[abi.Event]: ...


class AskedSource(Protocol):
    """The ring buffer of names."""

    def fileno(self) -> int: ...

    def read(self) -> Iterator[abi.AskedEvent]: ...


class Kernel(Protocol):
    """The wall, standing. Every method may raise DatapathError."""

    @property
    def sink(self) -> Sink: ...

    @property
    def events(self) -> EventSource | None: ...

    @property
    def asked(self) -> AskedSource | None:
        """Names that the kernel refuses by itself, where it does."""

    @property
    def backend(self) -> str: ...

    @property
    def adopted(self) -> bool:
        """Did the wall stand already, left by an earlier process?"""

    @property
    def enforcing(self) -> bool:
        """Is there a wall? Else names are refused and addresses are not (`--dns-only`)."""

    @property
    def marks(self) -> bool:
        """Do hooks mark each query with a role? Else everybody is `host` (`--dns-only`)."""

    def own(self, fd: int) -> None:
        """Mark a socket as the daemon's: it passes every hook."""

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        """Tell the hooks where dnsfw answers, and nowhere else."""

    def hooks(self) -> tuple[Hook, ...]:
        """Every wanted hook, also one that is not attached under `degraded`."""

    @property
    def answers(self) -> AnswerTable | None:
        """The tables from which the kernel answers by itself; None where it does not."""

    @property
    def refusals(self) -> RefusalTable | None:
        """Where the kernel refuses names that it was never asked for; None where it does not."""

    def answer(self, dns: DnsSettings) -> None:
        """Have it do so from now on, on the devices that these settings want; or no more.
        What cannot be attached is in `answering`: then questions come to us.
        """

    def answer_in(self, netns: int, attach: Callable[[int], int]) -> None:
        """Have lo of another network namespace (by its number in /proc) answered too, where
        that is wanted; it goes on without us. `attach` puts a program there and gives the link.
        DatapathError: questions come to us.
        """

    def answer_only_in(self, netns: Container[int]) -> None:
        """No more in any other than these, whoever had it so."""

    def answering(self) -> tuple[Hook, ...]:
        """The programs that answer, and where one is wanted and cannot be."""

    def news(self) -> int | None:
        """A descriptor that is readable when devices or addresses have changed."""

    def addresses(self) -> frozenset[Addr]:
        """This host's own addresses now; no raw packet may leave from another."""

    def check(self, policy: Policy) -> None:
        """ConfigError for a policy that wants what this wall cannot do; nothing has changed."""

    def assign(self, subjects: Sequence[Subject]) -> tuple[str, ...]:
        """These subjects, and none of those before, say whose a socket or a packet is.

        Written as a difference: a socket keeps its role over a restart. Call it in `fill`, and
        at a reload after `sink.apply`, so that every role is configured before it is given.
        Guests' devices are hooked here too (in `fill`: when the hooks are attached). Says which
        subjects do not exist yet; `repair` gives them their role as soon as they do.
        """

    def absent(self) -> tuple[str, ...]:
        """The subjects that do not exist now, as `assign` said them, for `status`."""

    def register_cgroup(self, number: int, role: RoleId, rank: Rank) -> None:
        """Sockets made in the cgroup of this id (the inode of its directory) are this role's:
        one that dnsfw made for enrolled processes (ENROLLED) or programs (EXECUTABLE). It
        survives a restart, and stays until the cgroup is gone or `forget_cgroup`.
        """

    def forget_cgroup(self, number: int) -> None:
        """The cgroup has the role that the policy says, again."""

    def registered(self) -> dict[int, tuple[RoleId, Rank]]:
        """The cgroups that `register_cgroup` named, by an earlier process too."""

    def on_relabel(self, relabel: Relabel) -> None:
        """Whom to tell of processes that ran already when their subject began to count."""

    def helper_tables(self) -> tuple[int, int] | None:
        """Descriptors of `dnsfw_cgroups` and `dnsfw_socks`, which the helper writes; None where
        nobody has a role.
        """

    def open_doors(self, netns: int, doors: abi.Doors) -> None:
        """Port-53 queries of this namespace (by its cookie) are led to these sockets."""

    def close_doors(self, netns: int) -> None:
        """Not any more."""

    def doors(self) -> dict[int, abi.Doors]:
        """The doors that stand, by namespace: those of an earlier process too."""

    def answer_on_tcp(self, fd: int) -> None:
        """From now on `asker` knows who speaks through connections that this listener accepts."""

    def share_udp(self, fd: int, on: bool) -> None:
        """While on, the kernel drops what a role sends this listener past its share."""

    def allow_udp(self, datagrams: int) -> None:
        """How many that is: of each role, on each CPU, in 67 ms."""

    def asker(self, cookie: int) -> RoleId:
        """Whose the connection of this socket cookie is; NO_ROLE if the kernel did not say."""

    def has_asked(self, netns: int, role: RoleId) -> bool:
        """Whether a hook led a query of this role to our doors in another namespace. A mark is
        no proof there: its root writes what it likes behind the hooks.
        """

    def settle_older(self, policy: Policy, *, end: bool) -> tuple[str, ...]:
        """Keep the connections that were accepted before the wall; with `end`, end the outgoing
        ones that the policy refuses to the role of their socket. Says what was ended.
        """

    def settle_role_change(self, policy: Policy) -> tuple[str, ...]:
        """After a reload's `assign`: end the connections of sockets to which the subjects give
        another role than before, where that role refuses them. Says what was ended.
        """

    def repair(self) -> tuple[Repair, ...]:
        """Put back what somebody removed or put in our way, guard new devices, give subjects
        that appeared their role; says what was done, each once.
        """

    def probe(self) -> None:
        """A refused probe must be refused and an allowed one pass. DatapathError if not."""

    def close(self, *, remove: bool) -> None:
        """Let go of the wall; `remove` takes it down with everything it left."""


Fill = Callable[[Kernel], None]
# Builds or adopts the wall. `Fill` writes its tables before any hook judges by them.
OpenKernel = Callable[[Options, Policy, Fill], Kernel]
