"""The places where the wall stands, and how each is taken, replaced and given back.

A place is a value; `take` puts a program there and returns how to undo that. Cgroup
hooks and TCX are BPF links, which a pin keeps alive; clsact is the fallback for
kernels before 6.6, where the device itself keeps the filter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Protocol

from dnsfw.datapath import bpf, cgroup, links, mounts, netlink, pins
from dnsfw.datapath.bpf import Program
from dnsfw.datapath.change import Change
from dnsfw.datapath.devices import Device, Layer
from dnsfw.datapath.netlink import Side
from dnsfw.datapath.syscall import AttachType, BpfError, Closing
from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

_BEFORE = 8  # BPF_F_BEFORE without a relative: the head of the chain
_LEAD_TRIES = 3  # of somebody who pushes ahead at the same time
_LOOPBACK_INDEX = 1
_MADE = "made"  # by us: goes with the wall
_FOUND = "found"

# The order of attachment: what remembers conversations stands before what refuses them.
_CGROUP_PROGRAMS = (
    ("dnsfw_sock_create", AttachType.CGROUP_INET_SOCK_CREATE),
    ("dnsfw_cg_ingress", AttachType.CGROUP_INET_INGRESS),
    ("dnsfw_recvmsg4", AttachType.CGROUP_UDP4_RECVMSG),
    ("dnsfw_recvmsg6", AttachType.CGROUP_UDP6_RECVMSG),
    ("dnsfw_getpeer4", AttachType.CGROUP_INET4_GETPEERNAME),
    ("dnsfw_getpeer6", AttachType.CGROUP_INET6_GETPEERNAME),
    ("dnsfw_bind4", AttachType.CGROUP_INET4_BIND),
    ("dnsfw_bind6", AttachType.CGROUP_INET6_BIND),
    ("dnsfw_connect4", AttachType.CGROUP_INET4_CONNECT),
    ("dnsfw_connect6", AttachType.CGROUP_INET6_CONNECT),
    ("dnsfw_sendmsg4", AttachType.CGROUP_UDP4_SENDMSG),
    ("dnsfw_sendmsg6", AttachType.CGROUP_UDP6_SENDMSG),
    ("dnsfw_cg_egress", AttachType.CGROUP_INET_EGRESS),
)
_TCX_TYPE = {Side.INGRESS: AttachType.TCX_INGRESS, Side.EGRESS: AttachType.TCX_EGRESS}


class Duty(Enum):
    """What a device is to us, by the programs that run on it."""

    UPLINK = (("dnsfw_tc_ingress", Side.INGRESS), ("dnsfw_tc_egress", Side.EGRESS))
    # The host's end of a guest's link: everything that the guest sends comes in here.
    GUEST = (("dnsfw_guest_out", Side.EGRESS), ("dnsfw_guest_in", Side.INGRESS))
    # Both: what this host itself sends by it is judged too.
    EDGE = (("dnsfw_edge_out", Side.EGRESS), ("dnsfw_edge_in", Side.INGRESS))
    LOOPBACK = (("dnsfw_tc_lo", Side.EGRESS),)
    # lo, where the cgroup's hooks judge: only to answer what was asked before.
    ANSWERER = (("dnsfw_answer_lo", Side.EGRESS),)


@dataclass(frozen=True, slots=True)
class HookState:
    """A hook as `status` shows it."""

    program: str
    target: str
    how: str  # cgroup | tcx | clsact
    attached: bool
    note: str = ""
    ahead: bool = False  # another program runs before it


class Place(Protocol):
    """Somewhere a program of ours runs."""

    @property
    def program(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def how(self) -> str: ...
    @property
    def feature(self) -> str:
        """What the host lacks when this cannot be attached."""

    @property
    def pin(self) -> str:
        """The name under which the pin directory knows it."""

    def take(self, program: Program, directory: Path, change: Change) -> None:
        """Puts the program there; in one step if an older one of ours is there already.

        DatapathError if the kernel refuses; `change` then takes back what was done.
        """

    def state(self, program: Program, directory: Path) -> HookState:
        """Whether it is still so."""

    def lead(self, program: Program, directory: Path) -> None:
        """Makes it the first in line again, without a packet that it does not see."""


@dataclass(frozen=True, slots=True)
class CgroupPlace:
    program: str
    attach_type: AttachType
    cgroup: Path
    number: int

    how = "cgroup"
    feature = "cgroup BPF links: Linux 5.7 or later with CONFIG_CGROUP_BPF"

    @property
    def target(self) -> str:
        """As an operator knows it: not by the way on which we reach a hidden mount."""
        return str(mounts.usual(self.cgroup))

    @property
    def pin(self) -> str:
        return f"cgroup_{self.number}_{self.attach_type.name.lower()}"

    def take(self, program: Program, directory: Path, change: Change) -> None:
        with Closing(os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            take_link(
                directory / self.pin,
                program,
                self.number,
                lambda: links.link_create(program.fd, fd, self.attach_type),
                change,
            )

    def state(self, program: Program, directory: Path) -> HookState:
        note = link_note(directory / self.pin, program, self.number)
        return HookState(self.program, self.target, self.how, not note, note)

    def lead(self, program: Program, directory: Path) -> None:
        """Nothing to do: whatever runs there, one refusal is enough."""


@dataclass(frozen=True, slots=True)
class TcxPlace:
    program: str
    side: Side
    device: Device
    netns: int

    how = "tcx"
    feature = "TCX: Linux 6.6 or later"

    @property
    def target(self) -> str:
        return f"{self.device.name} {self.side.name.lower()}"

    @property
    def pin(self) -> str:
        return f"tcx_{self.netns}_{self.device.index}_{self.side.name.lower()}"

    def take(self, program: Program, directory: Path, change: Change) -> None:
        index = self.device.index
        kind = _TCX_TYPE[self.side]
        # First in the chain: a program before ours could end it with "pass".
        take_link(
            directory / self.pin,
            program,
            index,
            lambda: links.link_create(program.fd, index, kind, flags=_BEFORE),
            change,
        )

    def state(self, program: Program, directory: Path) -> HookState:
        note = link_note(directory / self.pin, program, self.device.index)
        if not note and _must_lead(self.program):
            ids = links.prog_query(self.device.index, _TCX_TYPE[self.side])
            if ids and ids[0] != links.prog_id(program.fd):
                return _behind(self, ids[0])
        return HookState(self.program, self.target, self.how, not note, note)

    def lead(self, program: Program, directory: Path) -> None:
        kind, index = _TCX_TYPE[self.side], self.device.index
        for _ in range(_LEAD_TRIES):
            _lead_link(directory / self.pin, program, index, kind)
            if links.prog_query(index, kind)[:1] == (links.prog_id(program.fd),):
                return
        raise DatapathError(f"somebody keeps putting programs ahead of ours on {self.target}")


@dataclass(frozen=True, slots=True)
class ClsactPlace:
    program: str
    side: Side
    device: Device
    netns: int

    how = "clsact"
    feature = "clsact: CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF"

    @property
    def target(self) -> str:
        return f"{self.device.name} {self.side.name.lower()}"

    @property
    def pin(self) -> str:
        """Nothing to pin: a symbolic link says that the filter is there, and whose qdisc."""
        return f"clsact_{self.netns}_{self.device.index}_{self.side.name.lower()}"

    def take(self, program: Program, directory: Path, change: Change) -> None:
        index, marker = self.device.index, directory / self.pin
        if not netlink.has_clsact(index):
            # The marker first: a crash between the two must not leave a qdisc unclaimed.
            _mark(marker, _MADE, change)
            netlink.add_clsact(index)
            change.undo(netlink.remove_clsact, index)
        elif not marker.is_symlink():
            # The qdisc of our other side is ours too.
            ours = any(p.readlink() == Path(_MADE) for p in self._markers(directory))
            _mark(marker, _MADE if ours else _FOUND, change)
        old = self._ours()
        if old is None:
            change.undo(netlink.remove_filter, index, self.side)
        elif (fd := links.prog_by_id(old)) is not None:
            change.always(os.close, fd)
            change.undo(netlink.set_filter, index, self.side, fd, self.program)
        netlink.set_filter(index, self.side, program.fd, self.program)

    def state(self, program: Program, directory: Path) -> HookState:
        found = netlink.filters(self.device.index, self.side)
        ours = links.prog_id(program.fd)
        note = "" if any(f.program_id == ours for f in found) else "the filter is gone"
        if not (directory / self.pin).is_symlink():
            note = "its mark is gone"  # `down` would not find it
        if not note and _must_lead(self.program) and found[0].program_id != ours:
            return _behind(self, found[0].program_id)
        return HookState(self.program, self.target, self.how, not note, note)

    def lead(self, program: Program, directory: Path) -> None:
        netlink.lead_filter(self.device.index, self.side, program.fd, self.program)

    def _ours(self) -> int | None:
        found = netlink.filters(self.device.index, self.side)
        return next((f.program_id for f in found if f.ours), None)

    def _markers(self, directory: Path) -> Iterator[Path]:
        yield from directory.glob(f"clsact_{self.netns}_{self.device.index}_*")


def cgroup_places(path: Path) -> tuple[Place, ...]:
    """Everything that guards the sockets of a cgroup and of those below it."""
    number = cgroup.id_of(path)
    return tuple(CgroupPlace(name, kind, path, number) for name, kind in _CGROUP_PROGRAMS)


def device_places(
    device: Device, *, tcx: bool, duty: Duty = Duty.UPLINK
) -> tuple[TcxPlace | ClsactPlace, ...]:
    """Everything that guards the packets of a device; its link type chooses the program."""
    suffix = "_l3" if device.layer is Layer.PACKET else ""
    kind = TcxPlace if tcx else ClsactPlace
    here = netns_number()
    return tuple(kind(name + suffix, side, device, here) for name, side in duty.value)


def netns_number() -> int:
    """Tells this network namespace from others: interface numbers mean something only in one."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def has_tcx() -> bool:
    """Whether this kernel has TCX: it can list (what may be no) programs on lo."""
    try:
        links.prog_query(_LOOPBACK_INDEX, AttachType.TCX_EGRESS)
    except BpfError:
        return False
    return True


def give_back(directory: Path, keep: Iterable[Place] = ()) -> list[str]:
    """Detaches every hook of a pin directory but those of `keep`; says what it could not.

    It needs nothing but the directory, so it works when the daemon is gone.
    """
    kept = {place.pin for place in keep}
    failed = []
    for path in sorted(directory.iterdir(), reverse=True):
        if path.name in kept:
            continue
        if path.name.startswith("clsact_"):
            failed += _give_back_clsact(path)
        elif path.name.startswith(("cgroup_", "tcx_", "xdp_")):
            _give_back_link(path)
    return failed


def take_link(
    pin: Path, program: Program, target: int, create: Callable[[], int], change: Change
) -> None:
    """Put the program into the link that is pinned here, or into a new one."""
    if pin.exists():
        with Closing(bpf.obj_get(pin)) as link:
            if (before := links.link_info(link)).target == target:
                if before.program_id == links.prog_id(program.fd):
                    return  # it stands as it is to stand
                old = links.prog_by_id(before.program_id)
                if old is not None:
                    change.always(os.close, old)
                links.link_update(link, program.fd)
                if old is not None:  # else ours stays, should a later step fail: it judges too
                    change.undo(_put_back, pin, old)
                return
        pin.unlink()  # its device or cgroup is gone, another has the number
    with Closing(create()) as link:
        pins.pin(link, pin)
        change.undo(_give_back_link, pin)


def _lead_link(pin: Path, program: Program, index: int, kind: AttachType) -> None:
    """Another link at the head of the chain takes over from ours.

    A chain takes each program once, so a stand-in that drops everything holds the new
    place for the microseconds between the two: nothing slips through.
    """
    fresh = pin.with_name(f"{pin.name}_lead")
    fresh.unlink(missing_ok=True)
    with (
        Closing(bpf.obj_get(pin)) as old,
        Closing(bpf.load_drop()) as drop,
        Closing(links.link_create(drop, index, kind, flags=_BEFORE)) as new,
    ):
        pins.pin(new, fresh)
        links.link_detach(old)
        links.link_update(new, program.fd)
    fresh.rename(pin)


def answers(program: str) -> bool:
    """Whether it only answers questions: nothing is judged there, so nothing hangs on it."""
    return program.startswith("dnsfw_answer")


def _must_lead(program: str) -> bool:
    return not answers(program)


def _behind(place: Place, other: int) -> HookState:
    note = f"program {other} runs before it and may let packets pass"
    return HookState(place.program, place.target, place.how, True, note, ahead=True)


def _put_back(pin: Path, program_fd: int) -> None:
    with Closing(bpf.obj_get(pin)) as link:
        links.link_update(link, program_fd)


def _give_back_link(pin: Path) -> None:
    with suppress(FileNotFoundError):
        # Unpinning alone would detach a moment later, when the kernel gets to it.
        with suppress(BpfError), Closing(bpf.obj_get(pin)) as link:
            links.link_detach(link)
        pin.unlink()


def link_note(pin: Path, program: Program, target: int) -> str:
    """What is wrong with a link, or nothing."""
    try:
        with Closing(bpf.obj_get(pin)) as link:
            info = links.link_info(link)
    except BpfError:
        return "its pin is gone"
    if info.target != target:
        return "detached"
    return "" if info.program_id == links.prog_id(program.fd) else "runs another program"


def _mark(marker: Path, whose: str, change: Change) -> None:
    if marker.is_symlink():  # of a qdisc that somebody took away
        marker.unlink()
    marker.symlink_to(whose)
    change.undo(marker.unlink)


def _give_back_clsact(marker: Path) -> list[str]:
    _, netns, index, side = marker.name.split("_")
    if int(netns) != netns_number():
        return [f"the filter on interface {index} {side} of network namespace {netns}"]
    netlink.remove_filter(int(index), Side[side.upper()])
    made = marker.readlink() == Path(_MADE)
    marker.unlink()
    # Somebody may have added filters to our qdisc since.
    if made and not any(netlink.filters(int(index), s) for s in Side):
        netlink.remove_clsact(int(index))
    return []
