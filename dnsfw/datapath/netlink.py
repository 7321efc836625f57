"""Queueing disciplines and their filters, where the kernel has no TCX; the door to pyroute2."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, TypeVar

from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)

_PREF = 1  # of the filters on one side, the first in line
# Ours, so that another program's filter of that priority stays its own. Two, because of one
# priority the newest runs first: to lead again, a filter comes in by the other handle.
_HANDLE, _OTHER_HANDLE = 0xD45F, 0xD460
_ETH_P_ALL = 3
_TCA_BPF_ID = 11
_TC = "CAP_NET_ADMIN and a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF"
_CLONE_NEWNET = 0x40000000
_ATTRIBUTE_HEADER = 4
# What the kernel says of a device, a qdisc or a filter that is not there (any more).
_GONE = frozenset({errno.ENODEV, errno.EINVAL, errno.ENOENT})


class Side(Enum):
    """The two places where clsact runs filters, with their parent handles."""

    INGRESS = 0xFFFFFFF2
    EGRESS = 0xFFFFFFF3


@dataclass(frozen=True, slots=True)
class Filter:
    """A BPF filter that clsact runs."""

    pref: int
    handle: int
    program_id: int

    @property
    def ours(self) -> bool:
        """In the place where `set_filter` puts it."""
        return self.pref == _PREF and self.handle in (_HANDLE, _OTHER_HANDLE)


def has_clsact(ifindex: int) -> bool:
    return _netlink(
        lambda ipr: any(
            qdisc.get_attr("TCA_KIND") == "clsact" for qdisc in ipr.get_qdiscs(index=ifindex)
        )
    )


def add_clsact(ifindex: int) -> None:
    """Gives the device the qdisc that runs filters; DatapathError if it has one."""
    _netlink(lambda ipr: ipr.tc("add", kind="clsact", index=ifindex))


def remove_clsact(ifindex: int) -> None:
    """Takes the qdisc away with every filter in it; one that is gone is no error."""
    _netlink(lambda ipr: ipr.tc("del", kind="clsact", index=ifindex), gone=None)


def set_filter(ifindex: int, side: Side, program_fd: int, name: str) -> None:
    """Runs a program on this side of the device; replaces ours in one step if it is there."""
    ours = _our_handles(ifindex, side)
    _set_filter(ifindex, side, program_fd, name, ours[0] if ours else _HANDLE)


def lead_filter(ifindex: int, side: Side, program_fd: int, name: str) -> None:
    """Runs the program before every other; for a moment it runs twice, never not at all."""
    ours = _our_handles(ifindex, side)
    _set_filter(ifindex, side, program_fd, name, _OTHER_HANDLE if _HANDLE in ours else _HANDLE)
    for handle in ours:
        _remove_filter(ifindex, side, handle)


def remove_filter(ifindex: int, side: Side) -> None:
    """Takes our filter away; one that is gone is no error."""
    for handle in _our_handles(ifindex, side):
        _remove_filter(ifindex, side, handle)


def _our_handles(ifindex: int, side: Side) -> list[int]:
    return [found.handle for found in filters(ifindex, side) if found.ours]


def _set_filter(ifindex: int, side: Side, program_fd: int, name: str, handle: int) -> None:
    def work(ipr: Any) -> None:
        ipr.tc(
            "replace-filter",
            kind="bpf",
            index=ifindex,
            parent=side.value,
            handle=handle,
            prio=_PREF,
            protocol=_ETH_P_ALL,
            fd=program_fd,
            name=name,
            direct_action=True,
        )

    _netlink(work)


def _remove_filter(ifindex: int, side: Side, handle: int) -> None:
    def work(ipr: Any) -> None:
        ipr.tc(
            "del-filter",
            kind="bpf",
            index=ifindex,
            parent=side.value,
            handle=handle,
            prio=_PREF,
            protocol=_ETH_P_ALL,
        )

    _netlink(work, gone=None)


def filters(ifindex: int, side: Side) -> tuple[Filter, ...]:
    """The BPF filters on this side of the device, in the order they run."""

    def work(ipr: Any) -> tuple[Filter, ...]:
        return tuple(_filters(ipr.get_filters(index=ifindex, parent=side.value)))

    return _netlink(work, gone=())


def _filters(messages: Any) -> list[Filter]:
    found = []
    for message in messages:
        options = message.get_attr("TCA_OPTIONS")
        if options is not None and (program := _program_id(options)):
            found.append(Filter(message["info"] >> 16, message["handle"], program))
    # Of one priority they come in the order in which they run, newest first.
    return sorted(found, key=lambda f: f.pref)


def _program_id(options: Any) -> int | None:
    """TCA_BPF_ID, which pyroute2 does not name: its number is read from the raw attribute."""
    for name, value in options["attrs"]:
        if name == "TCA_BPF_ID":
            return int(value)
        if name == "UNKNOWN" and value["header"]["type"] == _TCA_BPF_ID:
            start = value.offset + _ATTRIBUTE_HEADER
            return int.from_bytes(value.data[start : start + 4], sys.byteorder)
    return None


def work(do: Callable[[Any], T], netns: int | None = None) -> T:
    """What `do` gives with an IPRoute, in another network namespace if a descriptor of one is
    given. DatapathError if the kernel refuses.
    """

    def there() -> T:
        if netns is not None and _libc.setns(netns, _CLONE_NEWNET) != 0:  # this thread alone
            raise DatapathError(f"network namespace: {os.strerror(ctypes.get_errno())}")
        return _with_socket(do, _Raise.RAISE, "devices and routes", "CAP_NET_ADMIN")

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(there).result()


class _Raise(Enum):
    RAISE = "an object that is not there is an error"


def _netlink(work: Callable[[Any], T], gone: T | _Raise = _Raise.RAISE) -> T:
    """What `work` gives with a netlink socket; `gone` where its object is not there.

    It runs in a thread of its own: pyroute2 drives an event loop inside, which fails where
    one runs already. A new thread is in the network namespace of the one that made it.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: _with_socket(work, gone)).result()


def _with_socket(
    work: Callable[[Any], T], gone: T | _Raise, what: str = "traffic control", needs: str = _TC
) -> T:
    # Imported here: it costs a tenth of a second, and only old kernels need it.
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as ipr:
            return work(ipr)
    except NetlinkError as error:
        if error.code in _GONE and not isinstance(gone, _Raise):
            return gone
        why = os.strerror(error.code)
        raise DatapathError(f"{what}: {why} (needs {needs})") from OSError(error.code, why)
