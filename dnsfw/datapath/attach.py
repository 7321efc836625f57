"""The wall: every hook in its place, or none; pinned, so that it stands without us.

A start that finds a wall of its own version adopts it: the tables stay, each program is
replaced in one step, and no packet passes between the old and the new.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from dnsfw.datapath import bpf, devices, hooks, own, pins
from dnsfw.datapath.backend import MAPS, Backend, Loaded
from dnsfw.datapath.bpf import Map, Program
from dnsfw.datapath.change import Change
from dnsfw.datapath.devices import Device
from dnsfw.datapath.hooks import HookState, Place
from dnsfw.datapath.listeners import Listeners
from dnsfw.datapath.locals import Locals
from dnsfw.datapath.pins import PinDir
from dnsfw.datapath.syscall import BpfError, Closing
from dnsfw.errors import ConfigError, DatapathError

Prepare = Callable[["Wall"], None]


@dataclass(frozen=True, slots=True)
class WallConfig:
    """What to guard, and with what."""

    backend: Backend
    pin_dir: Path
    cgroup: Path | None = None
    interfaces: tuple[str, ...] = ()
    only_netns: bool = False  # the root cgroup: leave other network namespaces alone
    degraded: bool = False  # stand with some hooks missing, and say so
    tcx: bool | None = None  # None: where the kernel has it


class Wall:
    """An attached wall that this process holds. `open` makes one."""

    def __init__(self, config: WallConfig, pin_dir: PinDir, loaded: Loaded) -> None:
        self._config = config
        self._pins = pin_dir
        self._loaded = loaded
        self._tcx = hooks.has_tcx() if config.tcx is None else config.tcx
        self._places: list[Place] = []
        self._missing: list[HookState] = []
        self._held: dict[str, int] = {}  # links: they outlive a pin that somebody deletes
        self.adopted = pin_dir.current.is_dir()
        # As it stands in the keys of flows and listeners.
        self.netns = own.netns_cookie() if loaded.netns_cookie else 0
        self.listeners = Listeners(
            loaded.maps["dnsfw_listeners"], loaded.maps["dnsfw_settings"], self.netns
        )
        self.locals = Locals(loaded.maps["dnsfw_locals"], self.netns)

    @classmethod
    def open(cls, config: WallConfig, prepare: Prepare = lambda _: None) -> Wall:
        """Loads or adopts the tables, calls `prepare` (which fills them), then attaches.

        All or nothing: DatapathError names the hook and what the host lacks, and leaves
        everything as it was, an adopted wall included. A role nobody filled denies all.
        """
        with Change() as change:
            pin_dir = PinDir(config.pin_dir)
            change.undo(pin_dir.release)
            if not pin_dir.adoptable:
                change.undo(pin_dir.destroy)
            loaded = _load(config.backend, pin_dir)
            change.undo(loaded.close)
            wall = cls(config, pin_dir, loaded)
            wall._build(prepare, change)
        if wall.adopted:  # no longer wanted: a device or a cgroup of the last run
            hooks.give_back(pin_dir.current, keep=wall._places)
        wall._hold()
        return wall

    @property
    def maps(self) -> Mapping[str, Map]:
        return self._loaded.maps

    @property
    def programs(self) -> Mapping[str, Program]:
        return self._loaded.programs

    @property
    def backend(self) -> str:
        return self._config.backend.name

    def hooks(self) -> tuple[HookState, ...]:
        """Every wanted hook and whether it stands now, asked of the kernel."""
        directory = self._pins.current
        programs = self._loaded.programs
        standing = (place.state(programs[place.program], directory) for place in self._places)
        return (*standing, *self._missing)

    def cover(self, interfaces: Iterable[str]) -> tuple[str, ...]:
        """Guards the devices that appeared since, forgets those that are gone; says which are new.

        DatapathError if a new one cannot be guarded; the others are.
        """
        here = {d.index: d for d in devices.devices() if d.name in set(interfaces)}
        guarded = {i for p in self._places if (i := _device_index(p)) is not None}
        gone = {p.pin for p in self._places if _device_index(p) not in {None, *here}}
        if gone:
            self._places = [p for p in self._places if p.pin not in gone]
            hooks.give_back(self._pins.current, keep=self._places)
        new, failed = [], []
        for device in (d for index, d in here.items() if index not in guarded):
            try:
                places = hooks.device_places(_readable(device), tcx=self._tcx)
                with Change() as change:
                    for place in places:
                        self._take(place, self._pins.current, change)
            except DatapathError as error:
                self._places = [p for p in self._places if _device_index(p) != device.index]
                if devices.device(device.name) == device:  # else it went away meanwhile
                    failed.append(str(error))
            else:
                new.append(device.name)
        self._hold()
        if failed:
            raise DatapathError("; ".join(failed))
        return tuple(new)

    def mend(self) -> tuple[HookState, ...]:
        """Puts back every pin and hook that somebody took away; says which are back.

        What cannot be put back stays in `hooks` as not attached.
        """
        broken = [state for state in self.hooks() if not state.attached]
        if not broken:
            return ()
        self._pins.restore({**{name: self.maps[name].fd for name in MAPS}, **self._held})
        for place in list(self._places):
            program, directory = self._loaded.programs[place.program], self._pins.current
            if not place.state(program, directory).attached:
                with suppress(DatapathError), Change() as change:
                    place.take(program, directory, change)
                if (stale := self._held.pop(place.pin, None)) is not None:
                    os.close(stale)
        self._hold()
        standing = {(s.program, s.target) for s in self.hooks() if s.attached}
        return tuple(state for state in broken if (state.program, state.target) in standing)

    def close(self, *, remove: bool) -> None:
        """Lets go of the wall. With `remove` it is taken down; without, it stays up."""
        try:
            self._hold(())  # a link goes with its last descriptor
            if remove:
                _demolish(self._pins)
        finally:
            self._loaded.close()
            self._pins.release()

    def _build(self, prepare: Prepare, change: Change) -> None:
        directory = self._pins.current
        if not self.adopted:
            directory = self._pins.stage()
            change.undo(pins.clear, directory)
        for name in MAPS:
            if not (directory / name).exists():
                pins.pin(self.maps[name].fd, directory / name)
                change.undo((directory / name).unlink)
        before = self.listeners.settle(own.netns_cookie(), only_netns=self._config.only_netns)
        change.undo(self.listeners.restore, before)
        prepare(self)
        for place in self._wanted():
            self._take(place, directory, change)
        if not self._places:
            raise DatapathError("no hook is attached: name a cgroup or an interface")
        if not self.adopted:
            self._pins.commit()

    def _wanted(self) -> list[Place]:
        config = self._config
        places: list[Place] = []
        if config.cgroup is not None:
            places += hooks.cgroup_places(config.cgroup)
        for name in config.interfaces:
            places += hooks.device_places(_readable(_device(name)), tcx=self._tcx)
        return places

    def _take(self, place: Place, directory: Path, change: Change) -> None:
        try:
            with change.part() as part:
                place.take(self._loaded.programs[place.program], directory, part)
        except DatapathError as error:
            what = f"cannot attach {place.program} to {place.target}"
            if not self._config.degraded:
                raise DatapathError(f"{what}: {error}; it needs {place.feature}") from error
            state = HookState(place.program, place.target, place.how, False, str(error))
            self._missing.append(state)
        else:
            self._places.append(place)

    def _hold(self, places: Iterable[Place] | None = None) -> None:
        """Keeps a descriptor of the link of each place, and of nothing else."""
        wanted = {p.pin for p in (self._places if places is None else places)}
        for pin in self._held.keys() - wanted:
            os.close(self._held.pop(pin))
        for pin in wanted - self._held.keys():
            if (link := pins.open_link(self._pins.current / pin)) is not None:
                self._held[pin] = link


def remove(pin_dir: Path) -> bool:
    """Takes down whatever wall is pinned here, of any version, without a daemon.

    False if there was none. DatapathError if a daemon holds it.
    """
    if not pin_dir.is_dir():
        return False
    held = PinDir(pin_dir)
    try:
        return _demolish(held)
    finally:
        held.release()


def _demolish(held: PinDir) -> bool:
    generations = held.generations()
    # Hooks before tables: a hook without its tables would refuse everything.
    failed = [what for directory in generations for what in hooks.give_back(directory)]
    if failed:
        raise DatapathError(f"still there: {', '.join(failed)}; run `dnsfw down` in that namespace")
    for directory in generations:
        pins.clear(directory)
    held.destroy()
    return bool(generations)


def _load(backend: Backend, held: PinDir) -> Loaded:
    """The programs, over the tables of a standing wall if there is one."""
    with ExitStack() as stack:
        reuse = {
            name: stack.enter_context(Closing(_pinned_map(held.current / name, name)))
            for name in MAPS
            if held.adoptable and (held.current / name).exists()
        }
        return backend.load(reuse)


def _pinned_map(path: Path, name: str) -> int:
    """A descriptor of a table of the standing wall, if it has the layout of this version."""
    fd = bpf.obj_get(path)
    try:
        table, (key, value) = bpf.map_of(fd), MAPS[name]
        # A per-CPU table has a value for each CPU, the ring buffer has none.
        if table.key_size == key and table.value_size % (value or 1) == 0:
            return fd
    except BpfError:
        pass  # something else is pinned there
    os.close(fd)
    raise DatapathError(
        f"{path} is not the {name} of this dnsfw; remedy: `dnsfw down`, then start again"
    )


def _device(name: str) -> Device:
    if (found := devices.device(name)) is None:
        known = ", ".join(d.name for d in devices.devices())
        raise ConfigError(f"no interface {name}; there are {known}")
    return found


def _readable(device: Device) -> Device:
    if device.layer is None:
        raise DatapathError(
            f"{device.name} has a link type that dnsfw cannot read; remedy: guard other devices "
            "with --interface, or sockets with --cgroup"
        )
    return device


def _device_index(place: Place) -> int | None:
    found = getattr(place, "device", None)
    return found.index if isinstance(found, Device) else None
