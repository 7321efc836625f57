"""What somebody did to the wall, undone and told once.

Each hook and each pin is looked at again every second: the kernel sends no word when a
TCX chain, a link or a pin changes. Who may do that has CAP_NET_ADMIN or is root, so this
is no promise against them; it is so that it never goes unnoticed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dnsfw.datapath import bpf
from dnsfw.datapath.backend import MAPS, Loaded
from dnsfw.datapath.change import Change
from dnsfw.datapath.hooks import HookState, Place
from dnsfw.datapath.pins import PinDir
from dnsfw.datapath.syscall import BpfError, Closing
from dnsfw.errors import DatapathError
from dnsfw.values import dataclass


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that was put right, or cannot be."""

    what: str
    tamper: bool = False  # somebody touched the wall; else something merely appeared or went


class Mender:
    """Looks after the pins and the places of one wall."""

    def __init__(self, held: PinDir, loaded: Loaded) -> None:
        self._pins = held
        self._loaded = loaded
        self._hopeless: set[str] = set()  # what could not be undone, told already

    def mend(self, places: Iterable[Place], links: Mapping[str, int]) -> Iterator[Repair]:
        """Puts back what is not as it was. `links` are the descriptors that we hold, by pin;
        of a place that was taken anew the pin leads to another link afterwards.
        """
        yield from self._mend_pins(links)
        hopeless: set[str] = set()
        for place in places:
            state = place.state(self._loaded.programs[place.program], self._pins.current)
            if state.attached and not state.ahead:
                continue
            what = f"{place.program} on {place.target}: {state.note}"
            try:
                yield self._mend_place(place, state)
            except (DatapathError, OSError) as error:
                hopeless.add(what)
                if what not in self._hopeless:
                    yield Repair(f"{what}, and cannot be put back: {error}", tamper=True)
        self._hopeless = hopeless

    def _mend_place(self, place: Place, state: HookState) -> Repair:
        program, directory = self._loaded.programs[place.program], self._pins.current
        if state.ahead:
            place.lead(program, directory)
            return Repair(
                f"{place.program} on {place.target}: {state.note}; ours is first again",
                tamper=True,
            )
        with Change() as change:
            place.take(program, directory, change)
        return Repair(
            f"{place.program} was removed from {place.target} ({state.note}); it is back",
            tamper=True,
        )

    def _mend_pins(self, links: Mapping[str, int]) -> Iterator[Repair]:
        directory = self._pins.current
        tables = {name: self._loaded.maps[name].fd for name in MAPS}
        lost = [n for n in (*tables, *links) if not (directory / n).exists()]
        swapped = [n for n, fd in tables.items() if not _leads_to(directory / n, fd)]
        for name in swapped:
            (directory / name).unlink(missing_ok=True)
        if lost or swapped:
            self._pins.restore({**tables, **links})
        for name in swapped:
            yield Repair(f"the pin of {name} led to another table; it is back", tamper=True)
        if lost:
            few = ", ".join(sorted(lost)[:3]) + (" and more" if len(lost) > 3 else "")
            yield Repair(f"pins were deleted ({few}); they are back", tamper=True)


def _leads_to(path: Path, fd: int) -> bool:
    """Whether the table pinned here is this one; a pin that is gone leads nowhere else."""
    try:
        with Closing(bpf.obj_get(path)) as there:
            return bpf.object_id(there) == bpf.object_id(fd)
    except BpfError as error:
        return error.errno == errno.ENOENT
