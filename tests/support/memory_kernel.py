"""The kernel seam in memory: the whole daemon runs over it, without root."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from typing import Any

from dnsfw.datapath import abi
from dnsfw.datapath.answers import AnswerTable
from dnsfw.datapath.memory import MemorySink
from dnsfw.datapath.refusals import RefusalTable
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import NO_ROLE, Addr, Rank, RoleId, Subject
from dnsfw.policy.policy import DnsSettings, Policy
from dnsfw.server.address import Endpoint
from dnsfw.server.kernel import AskedSource, Fill, Hook, Relabel, Repair
from dnsfw.server.options import Options


class MemoryEvents:
    """A ring buffer that a test fills."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self.waiting: list[abi.Event] = []

    def fileno(self) -> int:
        return self._read

    def read(self) -> Any:
        os.read(self._read, 4096)
        waiting, self.waiting = self.waiting, []
        return iter(waiting)

    def put(self, event: abi.Event) -> None:
        self.waiting.append(event)
        os.write(self._write, b".")


class MemoryKernel:
    """A wall that remembers what was done to it. `standing` says whether it is still up."""

    backend = "memory"
    enforcing = True
    marks = False

    def __init__(self, sink: MemorySink | None = None) -> None:
        self.sink = sink or MemorySink()
        self.adopted = sink is not None
        self.events = MemoryEvents()
        self.asked: AskedSource | None = None
        self.owned: list[int] = []
        self.listening: tuple[Endpoint, ...] = ()
        self.standing = True
        self.closed = False
        self.probes = 0
        self.broken: list[str] = []  # what `repair` will find as tampered with
        self.appeared: list[str] = []  # ... and as merely new
        self.subjects: tuple[Subject, ...] = ()
        self.lacks: ConfigError | None = None  # what `check` raises
        self.missing: tuple[str, ...] = ()  # subjects that do not exist, as `assign` says them
        self.cgroups: dict[int, tuple[RoleId, Rank]] = {}
        self.relabel: Relabel | None = None
        self.standing_doors: dict[int, abi.Doors] = {}
        self.answered_in: set[int] = set()
        self.sharing: set[int] = set()  # UDP listeners where no role may flood
        self.askers: dict[int, RoleId] = {}  # by socket cookie
        self.tcp: list[int] = []  # listeners whose accepted sockets the kernel watches
        self.ended: tuple[str, ...] = ()  # what a change of subjects ends
        self.hook = Hook("connect4", "/sys/fs/cgroup/test", "cgroup")
        self.trouble: DatapathError | None = None  # what `probe` raises
        self.own_addresses: frozenset[Addr] = frozenset()
        self.answers: AnswerTable | None = None  # a test may give it tables
        self.answer_hooks: tuple[Hook, ...] = ()
        self.refusals: RefusalTable | None = None

    def open(self, options: Options, policy: Policy, fill: Fill) -> MemoryKernel:
        fill(self)
        return self

    def own(self, fd: int) -> None:
        self.owned.append(fd)

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        self.listening = tuple(endpoints)

    def hooks(self) -> tuple[Hook, ...]:
        return (self.hook,)

    def answer(self, dns: DnsSettings) -> None:
        if self.answers is not None:
            self.answers.switch(dns.kernel_answers)

    def answer_in(self, netns: int, attach: Callable[[int], int]) -> None:
        attach(0)
        self.answered_in.add(netns)

    def answer_only_in(self, netns: Container[int]) -> None:
        self.answered_in = {number for number in self.answered_in if number in netns}

    def answering(self) -> tuple[Hook, ...]:
        return self.answer_hooks

    def news(self) -> int | None:
        return None

    def addresses(self) -> frozenset[Addr]:
        return self.own_addresses

    def check(self, policy: Policy) -> None:
        if self.lacks is not None:
            raise self.lacks

    def assign(self, subjects: Sequence[Subject]) -> tuple[str, ...]:
        self.subjects = tuple(subjects)
        return self.missing

    def absent(self) -> tuple[str, ...]:
        return self.missing

    def register_cgroup(self, number: int, role: RoleId, rank: Rank) -> None:
        self.cgroups[number] = (role, rank)

    def forget_cgroup(self, number: int) -> None:
        self.cgroups.pop(number, None)

    def registered(self) -> dict[int, tuple[RoleId, Rank]]:
        return dict(self.cgroups)

    def on_relabel(self, relabel: Relabel) -> None:
        self.relabel = relabel

    def helper_tables(self) -> tuple[int, int] | None:
        return (98, 99)

    def open_doors(self, netns: int, doors: abi.Doors) -> None:
        self.standing_doors[netns] = doors

    def close_doors(self, netns: int) -> None:
        self.standing_doors.pop(netns, None)

    def has_asked(self, netns: int, role: RoleId) -> bool:
        return True

    def doors(self) -> dict[int, abi.Doors]:
        return dict(self.standing_doors)

    def answer_on_tcp(self, fd: int) -> None:
        self.tcp.append(fd)

    def allow_udp(self, datagrams: int) -> None:
        pass

    def share_udp(self, fd: int, on: bool) -> None:
        (self.sharing.add if on else self.sharing.discard)(fd)

    def asker(self, cookie: int) -> RoleId:
        return self.askers.get(cookie, NO_ROLE)

    def settle_older(self, policy: Policy, *, end: bool) -> tuple[str, ...]:
        return ()

    def settle_role_change(self, policy: Policy) -> tuple[str, ...]:
        return self.ended

    def repair(self) -> tuple[Repair, ...]:
        broken, self.broken = self.broken, []
        appeared, self.appeared = self.appeared, []
        return (*(Repair(what, tamper=True) for what in broken), *map(Repair, appeared))

    def probe(self) -> None:
        self.probes += 1
        if self.trouble is not None:
            raise self.trouble

    def close(self, *, remove: bool) -> None:
        self.closed = True
        if remove:
            self.standing = False
