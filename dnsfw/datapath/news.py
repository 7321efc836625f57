"""One descriptor for all that happens to devices, addresses and cgroups."""

from __future__ import annotations

import select
from collections.abc import Iterable
from pathlib import Path

from dnsfw.datapath.arrivals import Arrivals
from dnsfw.datapath.devices import DeviceWatch


class News:
    """Readable while a watch has something to tell; `drain` says which world has changed."""

    def __init__(self) -> None:
        self._devices = DeviceWatch()
        self._cgroups = Arrivals()
        self._poll = select.epoll()
        for watch in (self._devices, self._cgroups):
            self._poll.register(watch.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        return self._poll.fileno()

    def watch(self, places: Iterable[Path]) -> bool:
        """The directories of cgroups to watch; True if one is new: look into it again."""
        return self._cgroups.watch(places)

    def drain(self) -> bool:
        """True if anything happened since the last call."""
        happened = self._devices.drain()
        return self._cgroups.drain() or happened

    def close(self) -> None:
        self._poll.close()
        self._cgroups.close()
        self._devices.close()
