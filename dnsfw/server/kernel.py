"""All that the daemon wants of the kernel, as one seam: the real wall, or memory in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dnsfw.datapath import abi
from dnsfw.datapath.sink import Sink
from dnsfw.model import Addr
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.server.address import Endpoint
from dnsfw.server.options import Options

__all__ = ["EventSource", "Fill", "Hook", "Kernel", "OpenKernel"]


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


class Kernel(Protocol):
    """The wall, standing. Every method may raise DatapathError."""

    @property
    def sink(self) -> Sink: ...

    @property
    def events(self) -> EventSource | None: ...

    @property
    def backend(self) -> str: ...

    @property
    def adopted(self) -> bool:
        """Did the wall stand already, left by an earlier process?"""

    def own(self, fd: int) -> None:
        """Mark a socket as the daemon's: it passes every hook."""

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        """Tell the hooks where dnsfw answers, and nowhere else."""

    def hooks(self) -> tuple[Hook, ...]:
        """Every wanted hook, also one that is not attached under `degraded`."""

    def news(self) -> int | None:
        """A descriptor that is readable when devices or addresses have changed."""

    def addresses(self) -> frozenset[Addr]:
        """This host's own addresses now; no raw packet may leave from another."""

    def settle_older(self, policy: RolePolicy, *, end: bool) -> tuple[str, ...]:
        """Keep the connections that were accepted before the wall; with `end`, end the outgoing
        ones that the policy refuses. Says what was ended.
        """

    def repair(self) -> tuple[str, ...]:
        """Put back what somebody removed, guard new devices; says what was done."""

    def probe(self) -> None:
        """A refused probe must be refused and an allowed one pass. DatapathError if not."""

    def close(self, *, remove: bool) -> None:
        """Let go of the wall; `remove` takes it down with everything it left."""


Fill = Callable[[Kernel], None]
# Builds or adopts the wall. `Fill` writes its tables before any hook judges by them.
OpenKernel = Callable[[Options, Policy, Fill], Kernel]
