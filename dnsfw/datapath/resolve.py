"""What the words of subjects mean on this host: the kernel's numbers, as table rows.

A systemd unit is looked for in slices only: these the system's own manager makes.
Whoever has a delegated cgroup (a user's manager, a container) may make one of any
name below it, and must not get a unit's role by that.
"""

from __future__ import annotations

import grp
import pwd
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from dnsfw.datapath import cgroup, devices
from dnsfw.datapath.abi import IdKind, Limit
from dnsfw.datapath.devices import guest_ports
from dnsfw.datapath.rows import (
    Row,
    cgroup_row,
    claim,
    device_row,
    id_row,
    is_shield,
    source_rows,
    via_row,
)
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, NO_ROLE, Rank, Subject, SubjectKind
from dnsfw.values import dataclass

_SLICE = ".slice"
_RETRY_NAMES = 30.0  # seconds: a user may come from a directory on the network


@dataclass(slots=True)
class Found:
    """What the subjects come to on this host, now."""

    rows: dict[tuple[str, bytes], Row] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)  # what does not exist
    places: set[Path] = field(default_factory=set)  # where a cgroup may appear
    guests: set[str] = field(default_factory=set)  # devices to be hooked as guests' links

    def add(self, row: Row) -> None:
        """The first in the file wins; the policy refuses what it can see to be twice."""
        there = self.rows.get((row.table, row.key))
        if there is None or (is_shield(there) and not is_shield(row)):
            self.rows[row.table, row.key] = row

    def claim(self, row: Row) -> None:
        """A cgroup's row: the higher rank wins."""
        there = self.rows.get((row.table, row.key))
        if there is None or claim(there.value)[1] < claim(row.value)[1]:
            self.rows[row.table, row.key] = row

    def miss(self, what: str) -> None:
        if what not in self.absent:
            self.absent.append(what)


def user_id(text: str) -> int | None:
    """The number of a user, by name or number; None if there is no such user (yet)."""
    if text.isdecimal():
        return int(text)
    with suppress(KeyError):
        return pwd.getpwnam(text).pw_uid
    return None


def group_id(text: str) -> int | None:
    """The number of a group, by name or number."""
    if text.isdecimal():
        return int(text)
    with suppress(KeyError):
        return grp.getgrnam(text).gr_gid
    return None


def device_numbers() -> dict[str, int]:
    """The index of every device, by name."""
    return {device.name: device.index for device in devices.devices()}


@dataclass(frozen=True, slots=True)
class Host:
    """Where words get their meaning; a test puts its own in."""

    top: Callable[[], Path] = cgroup.root
    user: Callable[[str], int | None] = user_id
    group: Callable[[str], int | None] = group_id
    devices: Callable[[], Mapping[str, int]] = device_numbers
    clock: Callable[[], float] = time.monotonic
    ports: Callable[[], Mapping[str, tuple[str, ...]]] = guest_ports


class Resolver:
    """Looks words up, again and again for what does not exist yet."""

    def __init__(self, netns: int, host: Host) -> None:
        """`netns` is as in the keys of flows: 0 where hooks cannot tell namespaces apart."""
        self.host = host
        self._netns = netns
        self._ports: Mapping[str, tuple[str, ...]] = {}
        self._named: set[bytes] = set()  # devices that a subject names itself
        self._names: dict[Subject, int] = {}
        self._names_at = float("-inf")

    def forget_names(self) -> None:
        """Users and groups may have other numbers now."""
        self._names.clear()
        self._names_at = float("-inf")

    def resolve(self, subjects: Iterable[Subject]) -> Found:
        """Rows, in the file's order. DatapathError where the host has no cgroups at all."""
        subjects = tuple(subjects)
        found = Found()
        there = self.host.devices() if subjects else {}
        links = any(s.interface or s.kind is SubjectKind.INTERFACE for s in subjects)
        self._ports = self.host.ports() if links else {}
        self._named = set()
        ask = self.host.clock() >= self._names_at + _RETRY_NAMES
        if ask:
            self._names_at = self.host.clock()
        for subject in subjects:
            match subject.kind:
                case SubjectKind.CGROUP:
                    self._cgroup(subject, found)
                case SubjectKind.UID | SubjectKind.GID:
                    self._id(subject, found, ask=ask)
                case SubjectKind.SOURCE:
                    self._source(subject, there, found)
                case SubjectKind.INTERFACE:
                    self._guest(subject, there, found)
                case SubjectKind.VIA:
                    self._via(subject, there, found)
                case SubjectKind.EXECUTABLE:
                    pass  # its processes are moved to a cgroup, which is registered
        return found

    def _cgroup(self, subject: Subject, found: Found) -> None:
        if subject.value.count("/") >= Limit.CGROUP_DEPTH:
            raise ConfigError(
                f"cgroup {subject.value} lies deeper than {Limit.CGROUP_DEPTH - 1} levels, where "
                "the hooks do not look; remedy: name one above it"
            )
        top = self.host.top()
        found.places |= places(subject.value, top)
        there = False
        for path in find(subject.value, top):
            with suppress(FileNotFoundError):  # it went away meanwhile
                found.add(cgroup_row(path.stat().st_ino, (subject.role, Rank.CGROUP)))
                there = True
        if not there:
            found.miss(f"cgroup {subject.value}")

    def _id(self, subject: Subject, found: Found, *, ask: bool) -> None:
        user = subject.kind is SubjectKind.UID
        if subject not in self._names and ask:
            number = (self.host.user if user else self.host.group)(subject.value)
            if number is not None:
                self._names[subject] = number
        if subject in self._names:
            kind = IdKind.ID_USER if user else IdKind.ID_GROUP
            found.add(id_row(kind, self._names[subject], subject.role))
        else:
            found.miss(f"{'user' if user else 'group'} {subject.value}")

    def _source(self, subject: Subject, there: Mapping[str, int], found: Found) -> None:
        if not subject.interface:
            self._source_by(subject, 0, found)
            return
        for name in self._links(subject.interface, found):
            if index := _index(name, there, found):
                # Other sources behind the same link are the host's, unless a subject says
                # otherwise.
                found.add(device_row(self._netns, index, HOST))
                self._source_by(subject, index, found)

    def _source_by(self, subject: Subject, index: int, found: Found) -> None:
        for row in source_rows(subject.value, index, subject.role):
            found.add(row)

    def _guest(self, subject: Subject, there: Mapping[str, int], found: Found) -> None:
        for name in self._links(subject.value, found):
            if index := _index(name, there, found):
                row = device_row(self._netns, index, subject.role)
                if name == subject.value or row.key not in self._named:
                    found.rows[row.table, row.key] = row
                if name == subject.value:
                    self._named.add(row.key)

    def _links(self, name: str, found: Found) -> tuple[str, ...]:
        """A device and, if it is a bridge, its ports to guests: what these send each other
        never passes the bridge itself.
        """
        links = (name, *self._ports.get(name, ()))
        found.guests.update(links)
        return links

    def _via(self, subject: Subject, there: Mapping[str, int], found: Found) -> None:
        base = HOST if subject.base == NO_ROLE else subject.base
        if index := _index(subject.value, there, found):
            found.add(via_row(self._netns, index, base, subject.role))


def is_unit(value: str) -> bool:
    return "/" not in value


def find(value: str, top: Path) -> list[Path]:
    """The cgroups that exist by this path below the top, or as this systemd unit."""
    if not is_unit(value):
        path = top / value.lstrip("/")
        return [path] if path.is_dir() else []
    return [place / value for place in slices(top) if (place / value).is_dir()]


def places(value: str, top: Path) -> set[Path]:
    """The directories in which this subject may appear, or may be replaced by another."""
    if is_unit(value):
        return set(slices(top))
    path = (top / value.lstrip("/")).parent
    while path != top and not path.is_dir():
        path = path.parent
    return {path}


def slices(top: Path) -> Iterator[Path]:
    """The top and every slice below it."""
    yield top
    try:
        below = sorted(p for p in top.iterdir() if p.name.endswith(_SLICE) and p.is_dir())
    except OSError:  # it went away meanwhile
        return
    for path in below:
        yield from slices(path)


def _index(name: str, there: Mapping[str, int], found: Found) -> int:
    if name not in there:
        found.miss(f"interface {name}")
    return there.get(name, 0)
