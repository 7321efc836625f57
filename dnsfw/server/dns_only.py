"""`up --dns-only`: the kernel seam where there is no kernel part. Names are refused, and no more.

Nothing stops a packet to an address that a program knows by heart, and nobody tells one
sender from another: everybody is `host`. `status` says so, and never calls it enforcing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from dnsfw.datapath import abi, devices
from dnsfw.datapath.sink import Sink
from dnsfw.datapath.swap import Slices, Swapped, nothing
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Addr, Entry, Flow, Lockdown, Plan, Rank, Reason, RoleId, Subject
from dnsfw.policy.policy import DnsSettings, Policy
from dnsfw.server.address import Endpoint
from dnsfw.server.kernel import AskedSource, EventSource, Fill, Hook, Kernel, Relabel, Repair
from dnsfw.server.options import Options

__all__ = ["NamesOnly", "NoTables", "open_names_only"]


class NoTables:
    """A `Sink` that has nowhere to write: there is no grant without a wall to open."""

    def __init__(self) -> None:
        self._locked = Lockdown.OFF

    def apply(self, plan: Plan, between: Callable[[], None] = nothing) -> None:
        between()

    def begin(self, plan: Plan, between: Callable[[], None] = nothing) -> Swapped:
        between()
        return Swapped(lambda: iter(()), nothing, lambda: iter(()))

    def aside(self, plan: Plan) -> Slices:
        return iter(())

    def write(self, entries: Sequence[Entry]) -> None:
        """Nothing is shut, so nothing needs to be opened."""

    def entries(self) -> Iterator[Entry]:
        return iter(())

    def flows(self) -> Iterator[Flow]:
        return iter(())

    def cut(self, flows: Iterable[Flow]) -> None:
        """There are none."""

    def counters(self) -> dict[Reason, abi.Counter]:
        return {}

    def role_counters(self) -> dict[RoleId, abi.Counter]:
        return {}

    def lockdown(self, state: Lockdown) -> None:
        """Every query is refused; no packet is. A restart forgets it."""
        self._locked = state

    @property
    def locked(self) -> Lockdown:
        return self._locked


class NamesOnly:
    """`Kernel` without one."""

    backend = "none"
    adopted = False
    enforcing = False
    marks = False
    events: EventSource | None = None
    asked: AskedSource | None = None

    def __init__(self) -> None:
        self.sink: Sink = NoTables()
        self._watch = devices.DeviceWatch()

    def own(self, fd: int) -> None:
        """No hook has to let our own sockets pass."""

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        """Nobody else needs to know."""

    def hooks(self) -> tuple[Hook, ...]:
        return ()

    @property
    def answers(self) -> None:
        """No program stands anywhere."""

    @property
    def refusals(self) -> None:
        """Names are refused here alone."""

    def answer(self, dns: DnsSettings) -> None:
        """Nothing to switch."""

    def answer_in(self, netns: int, attach: Callable[[int], int]) -> None:
        """Nothing answers."""

    def answer_only_in(self, netns: Container[int]) -> None:
        """Nowhere at all."""

    def answering(self) -> tuple[Hook, ...]:
        return ()

    def news(self) -> int | None:
        return self._watch.fileno()

    def addresses(self) -> frozenset[Addr]:
        return devices.addresses()

    def check(self, policy: Policy) -> None:
        """There is no wall that could lack anything."""

    def assign(self, subjects: Sequence[Subject]) -> tuple[str, ...]:
        return ()

    def absent(self) -> tuple[str, ...]:
        return ()

    def register_cgroup(self, number: int, role: RoleId, rank: Rank) -> None:
        raise ConfigError("dnsfw runs with --dns-only: nobody can be enrolled in a role")

    def forget_cgroup(self, number: int) -> None:
        """None was registered."""

    def registered(self) -> dict[int, tuple[RoleId, Rank]]:
        return {}

    def on_relabel(self, relabel: Relabel) -> None:
        """No socket has a label."""

    def helper_tables(self) -> tuple[int, int] | None:
        return None

    def open_doors(self, netns: int, doors: abi.Doors) -> None:
        """No query is led here that was sent elsewhere."""

    def close_doors(self, netns: int) -> None:
        """None is open."""

    def doors(self) -> dict[int, abi.Doors]:
        return {}

    def answer_on_tcp(self, fd: int) -> None:
        """Everybody is `host`."""

    def allow_udp(self, datagrams: int) -> None:
        """No filter stands on a listener."""

    def share_udp(self, fd: int, on: bool) -> None:
        """No filter: what is too much is dropped here."""

    def asker(self, cookie: int) -> RoleId:
        return HOST

    def has_asked(self, netns: int, role: RoleId) -> bool:
        return True

    def settle_older(self, policy: Policy, *, end: bool) -> tuple[str, ...]:
        return ()

    def settle_role_change(self, policy: Policy) -> tuple[str, ...]:
        return ()

    def repair(self) -> tuple[Repair, ...]:
        self._watch.drain()
        return ()

    def probe(self) -> None:
        """There is no wall to prove."""

    def close(self, *, remove: bool) -> None:
        self._watch.close()


def open_names_only(options: Options, policy: Policy, fill: Fill) -> Kernel:
    """Like `open_wall`. ConfigError: something was to be guarded that names cannot guard."""
    if options.cgroup is not None or options.interfaces:
        raise ConfigError("--dns-only guards no cgroup and no interface; leave them out")
    kernel = NamesOnly()
    fill(kernel)
    return kernel
