"""The wall: every hook in its place, or none; pinned, so that it stands without us.

A start that finds a wall of its own version adopts it: the tables stay, each program is
replaced in one step, and no packet passes between the old and the new.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path

from dnsfw.datapath import adopt, devices, elsewhere, hooks, own, pins
from dnsfw.datapath.backend import MAPS, Backend, Loaded
from dnsfw.datapath.bpf import Map, Program
from dnsfw.datapath.change import Change
from dnsfw.datapath.devices import Device, Layer
from dnsfw.datapath.hooks import CgroupPlace, Duty, HookState, Place
from dnsfw.datapath.listeners import Listeners
from dnsfw.datapath.locals import Locals
from dnsfw.datapath.pins import PinDir
from dnsfw.datapath.stages import set_stages
from dnsfw.datapath.tamper import Mender, Repair
from dnsfw.datapath.xdp import XdpPlace
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.values import dataclass

Prepare = Callable[["Wall"], None]
_UPLINK_PROGRAMS = {
    name + end for duty in (Duty.UPLINK, Duty.EDGE) for name, _ in duty.value for end in ("", "_l3")
}


@dataclass(frozen=True, slots=True)
class WallConfig:
    """What to guard, and with what."""

    backend: Backend
    pin_dir: Path
    cgroup: Path | None = None
    interfaces: tuple[str, ...] = ()  # must exist
    guests: tuple[str, ...] = ()  # devices that lead to guests, if they exist
    only_netns: bool = False  # the root cgroup: leave other network namespaces alone
    degraded: bool = False  # stand with some hooks missing, and say so
    tcx: bool | None = None  # None: where the kernel has it
    answers: bool = False  # repeated questions are answered by programs: on lo, at guests' links
    elsewhere: bool = False  # ... but on no lo of this namespace
    xdp: tuple[str, ...] = ()  # ... and on these devices before anything else sees them
    record: Path | None = None  # where it is noted which programs run: a restart keeps them


class Wall:
    """An attached wall that this process holds. `open` makes one."""

    def __init__(self, config: WallConfig, pin_dir: PinDir, loaded: Loaded) -> None:
        self._config = config
        self._pins = pin_dir
        self._loaded = loaded
        self._tcx = hooks.has_tcx() if config.tcx is None else config.tcx
        self.standing = False  # `prepare` sees it so
        self.guests = frozenset(config.guests)  # `prepare` may name others
        self.answering = config.answers
        self.xdp = frozenset(config.xdp)
        self.unanswered: dict[str, HookState] = {}  # by pin: answers are no promise
        self._barred: set[str] = set()  # of these, what must not be put there
        self._mender = Mender(pin_dir, loaded)
        self._places: list[Place] = []
        self._missing: dict[str, HookState] = {}  # by pin
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
            standing = adopt.standing_of(config.backend, config.record)
            loaded = adopt.load(config.backend, pin_dir, standing)
            change.undo(loaded.close)
            wall = cls(config, pin_dir, loaded)
            wall._build(prepare, change)
        if wall.adopted:  # no longer wanted: a device or a cgroup of the last run
            hooks.give_back(pin_dir.current, keep=wall._places)
        wall._hold()
        if standing is not None:
            standing.remember(pin_dir.current, loaded)
        wall.standing = True
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
        return (*standing, *self._missing.values())

    def cover(self, interfaces: Iterable[str], guests: Iterable[str] = ()) -> tuple[str, ...]:
        """Guards the devices that appeared since, forgets those that are gone; says which are new.

        One that was guarded stays so under another name. DatapathError if a new one cannot
        be guarded; the others are.
        """
        self.guests = frozenset(guests)
        wanted = self._duties(devices.devices(), frozenset(interfaces))
        guarded = {d.index for p in self._places if (d := device_of(p)) is not None}
        gone = {p.pin for p in self._places if (d := device_of(p)) and d.index not in wanted}
        if gone:
            self._places = [p for p in self._places if p.pin not in gone]
            hooks.give_back(self._pins.current, keep=self._places)
        new, failed = [], []
        for device, duty in wanted.values():
            try:
                changed = self._cover(device, duty)
            except DatapathError as error:
                if devices.device(device.name) == device:  # else it went away meanwhile
                    failed.append(str(error))
            else:
                if changed and device.index not in guarded and duty is not Duty.ANSWERER:
                    new.append(device.name)
        self._hold()
        if failed:
            raise DatapathError("; ".join(failed))
        return tuple(new)

    def answer(self, on: bool, xdp: Iterable[str] = ()) -> None:
        """Have programs answer repeated questions, or no more; `cover` puts them on devices."""
        self.answering, self.xdp = on, frozenset(xdp)
        if (stages := self.maps.get("dnsfw_stages")) is not None:
            set_stages(stages, self.programs, on=on)

    def answer_in(self, netns: int, attach: elsewhere.Attach) -> None:
        """Have lo of another namespace answered too. DatapathError: it is not."""
        program = self.programs["dnsfw_answer_lo"]
        elsewhere.answer_there(self._pins.current, netns, program, attach)

    def answer_only_in(self, netns: Container[int]) -> None:
        """No more in any other than these; an earlier process may have left some."""
        elsewhere.leave_others(self._pins.current, netns)

    def mend(self) -> tuple[Repair, ...]:
        """Puts back every pin and hook that somebody took away, leads every chain that
        somebody pushed into; says what was done.
        """
        done = [*self._follow_cgroup(), *self._mender.mend(list(self._places), self._held)]
        if done:
            self._hold(())  # a place that was taken anew has another link
            self._hold()
        return tuple(done)

    def close(self, *, remove: bool) -> None:
        """Lets go of the wall. With `remove` it is taken down; without, it stays up."""
        try:
            self._hold(())  # a link goes with its last descriptor
            if remove:
                _demolish(self._pins)
                if self._config.record is not None:
                    self._config.record.unlink(missing_ok=True)
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
        if not (self._config.cgroup or self._config.interfaces or self.guests):
            raise DatapathError("no hook is attached: name a cgroup or an interface")
        if not self._places:  # degraded
            raise DatapathError("no hook is attached: this host takes none of them")
        if not self.adopted:
            self._pins.commit()

    def _wanted(self) -> list[Place]:
        config = self._config
        places: list[Place] = []
        if config.cgroup is not None:
            places += hooks.cgroup_places(config.cgroup)
        for name in (*config.interfaces, *self.xdp):
            _device(name)
        duties = self._duties(devices.devices(), frozenset(config.interfaces))
        for device, duty in sorted(duties.values(), key=lambda found: found[0].index):
            places += self._on_device(device, duty)
        return places

    def _on_device(self, device: Device, duty: Duty) -> list[Place]:
        """Everything that stands on a device; what only answers comes last."""
        places: list[Place] = []
        places += hooks.device_places(_readable(device), tcx=self._tcx, duty=duty)
        if self.answering and device.name in self.xdp and device.layer is Layer.FRAME:
            place = XdpPlace("dnsfw_answer_xdp", device, hooks.netns_number())
            if note := place.why_not():
                self._barred.add(place.pin)
                self.unanswered[place.pin] = place.absent(note)
            else:
                if place.pin in self._barred:
                    self._barred.remove(place.pin)
                    self.unanswered.pop(place.pin, None)
                places.append(place)
        return places

    def _duties(
        self, found: Iterable[Device], interfaces: frozenset[str]
    ) -> dict[int, tuple[Device, Duty]]:
        """What each device is to us; those that are nothing to us are left out."""
        uplinks = {
            d.index for p in self._places if (d := device_of(p)) and p.program in _UPLINK_PROGRAMS
        }
        wanted: dict[int, tuple[Device, Duty]] = {}
        for device in found:
            if device.loopback:
                if self._config.cgroup is None:  # else the cgroup's hooks see all that it carries
                    wanted[device.index] = (device, Duty.LOOPBACK)
                elif self.answering and not self._config.elsewhere:
                    wanted[device.index] = (device, Duty.ANSWERER)
                continue
            ours = device.name in interfaces or device.index in uplinks
            if device.name in self.guests:
                wanted[device.index] = (device, Duty.EDGE if ours else Duty.GUEST)
            elif ours:
                wanted[device.index] = (device, Duty.UPLINK)
        return wanted

    def _cover(self, device: Device, duty: Duty) -> bool:
        """Puts the programs of this duty on the device; False if they are there."""
        there = [p for p in self._places if (d := device_of(p)) and d.index == device.index]
        places = self._on_device(device, duty)
        if there == [p for p in places if p.pin not in self.unanswered]:
            return False
        others = [p for p in self._places if p not in there]
        kept = {p.pin for p in places}
        if any(p.pin not in kept for p in there):  # what may not answer here any more
            self._places = [*others, *(p for p in there if p.pin in kept)]
            hooks.give_back(self._pins.current, keep=self._places)
            self._hold()
        self._places = list(others)
        try:
            with Change() as change:
                for place in places:
                    self._take(place, self._pins.current, change)
        except DatapathError:
            self._places = [*others, *there]
            raise
        return True

    def _follow_cgroup(self) -> Iterator[Repair]:
        """A unit that was restarted has another cgroup of the same name."""
        path = self._config.cgroup
        places = [p for p in self._places if isinstance(p, CgroupPlace)]
        if path is None or not places:
            return
        try:
            wanted = hooks.cgroup_places(path)
        except FileNotFoundError:
            return  # nobody is in it
        if {p.pin for p in wanted} == {p.pin for p in places}:
            return
        self._places = [p for p in self._places if p not in places]
        with Change() as change:
            for place in wanted:
                self._take(place, self._pins.current, change)
        hooks.give_back(self._pins.current, keep=self._places)
        self._hold()
        yield Repair(f"guarding {places[0].target}, which was made anew")

    def _take(self, place: Place, directory: Path, change: Change) -> None:
        try:
            with change.part() as part:
                place.take(self._loaded.programs[place.program], directory, part)
        except DatapathError as error:
            what = f"cannot attach {place.program} to {place.target}"
            if hooks.answers(place.program):
                state = HookState(place.program, place.target, place.how, False, str(error))
                self.unanswered[place.pin] = state
                return
            if not self._config.degraded:
                raise DatapathError(f"{what}: {error}; it needs {place.feature}") from error
            state = HookState(place.program, place.target, place.how, False, str(error))
            self._missing[place.pin] = state
        else:
            self._missing.pop(place.pin, None)
            self.unanswered.pop(place.pin, None)
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
    for directory in generations:
        elsewhere.leave_others(directory)
    if failed:
        raise DatapathError(f"still there: {', '.join(failed)}; run `dnsfw down` in that namespace")
    for directory in generations:
        pins.clear(directory)
    held.destroy()
    return bool(generations)


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


def device_of(place: Place) -> Device | None:
    """The device of a place; None for a cgroup's."""
    found = getattr(place, "device", None)
    return found if isinstance(found, Device) else None
