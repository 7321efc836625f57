"""The kernel seam in memory: the whole daemon runs over it, without root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dnsfw.datapath import abi
from dnsfw.datapath.memory import MemorySink
from dnsfw.errors import DatapathError
from dnsfw.model import Addr
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.server.address import Endpoint
from dnsfw.server.kernel import Fill, Hook
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

    def __init__(self, sink: MemorySink | None = None) -> None:
        self.sink = sink or MemorySink()
        self.adopted = sink is not None
        self.events = MemoryEvents()
        self.owned: list[int] = []
        self.listening: tuple[Endpoint, ...] = ()
        self.standing = True
        self.closed = False
        self.probes = 0
        self.broken: list[str] = []  # what `repair` will find
        self.hook = Hook("connect4", "/sys/fs/cgroup/test", "cgroup")
        self.trouble: DatapathError | None = None  # what `probe` raises
        self.own_addresses: frozenset[Addr] = frozenset()

    def open(self, options: Options, policy: Policy, fill: Fill) -> MemoryKernel:
        fill(self)
        return self

    def own(self, fd: int) -> None:
        self.owned.append(fd)

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        self.listening = tuple(endpoints)

    def hooks(self) -> tuple[Hook, ...]:
        return (self.hook,)

    def news(self) -> int | None:
        return None

    def addresses(self) -> frozenset[Addr]:
        return self.own_addresses

    def settle_older(self, policy: RolePolicy, *, end: bool) -> tuple[str, ...]:
        return ()

    def repair(self) -> tuple[str, ...]:
        broken, self.broken = self.broken, []
        return tuple(broken)

    def probe(self) -> None:
        self.probes += 1
        if self.trouble is not None:
            raise self.trouble

    def close(self, *, remove: bool) -> None:
        self.closed = True
        if remove:
            self.standing = False
