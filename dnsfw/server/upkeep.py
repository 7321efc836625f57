"""What the daemon does every second, whether or not anybody asks anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from dnsfw.errors import DatapathError
from dnsfw.server.clock import Now
from dnsfw.server.faults import Faults
from dnsfw.server.happenings import Digest
from dnsfw.server.kernel import Kernel
from dnsfw.server.notify import Notify
from dnsfw.server.performer import Performer
from dnsfw.server.upstream import Upstreams
from dnsfw.server.walk import walk_flows

__all__ = ["Upkeep"]

PERIOD = 1.0
# The flow table is read whole. Only the ledger's memory of names depends on it (a refused
# flow is cut by its dead rule in the kernel, and by every reload), so it may be rare.
FLOWS_EVERY = 10.0
FLOWS_SHARE = 0.02  # of the time at most: a table of 100,000 flows is read more rarely


class Upkeep:
    """Sweeps, scans and watches; each pass ends by itself and survives the host's moods."""

    def __init__(
        self,
        kernel: Kernel,
        performer: Performer,
        upstreams: Upstreams,
        digest: Digest,
        notify: Notify,
        now: Now,
        faults: Faults,
        said: Callable[[str, str], None],
        refresh_addresses: Callable[[], None],
        tampered: Callable[[str], None] | None = None,
        chores: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.troubles = 0  # passes that the host refused
        self._kernel = kernel
        self._performer = performer
        self._upstreams = upstreams
        self._digest = digest
        self._notify = notify
        self._now = now
        self._faults = faults
        self._said = said
        self._refresh_addresses = refresh_addresses
        self._tampered = tampered or (lambda what: said("tamper", what))
        self._chores = chores
        self._flows_at = 0.0

    async def run(self) -> None:
        """For ever; the caller cancels it."""
        while True:
            self.once()
            await self._walk_flows()
            await asyncio.sleep(PERIOD)

    def once(self) -> None:
        """One beat."""
        self._upstreams.sweep(self._now())
        self._performer.deadline()
        self._digest.flush()
        self._notify.alive()
        self._safely(self._repair, *self._chores)

    def look(self) -> None:
        """Devices or addresses have changed: do not wait for the next beat."""
        self._safely(self._repair, self._refresh_addresses)

    def _safely(self, *steps: Callable[[], None]) -> None:
        for step in steps:
            try:
                step()
            except DatapathError as error:
                self.troubles += 1
                self._said("trouble", str(error))
            except Exception as error:
                self._faults.caught("keeping house", error)

    def _repair(self) -> None:
        for repair in self._kernel.repair():
            if repair.tamper:
                self._tampered(repair.what)
            else:
                self._said("repaired", repair.what)

    async def _walk_flows(self) -> None:
        began = time.monotonic()
        if began < self._flows_at:
            return
        try:
            await walk_flows(self._kernel, self._performer, self._now)
        except DatapathError as error:
            self.troubles += 1
            self._said("trouble", str(error))
        except Exception as error:
            self._faults.caught("keeping house", error)
        ended = time.monotonic()
        self._flows_at = ended + max(FLOWS_EVERY, (ended - began) / FLOWS_SHARE)
