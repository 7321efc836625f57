"""The self-test: `ready` means that a refused probe was refused and an allowed one passed.

A child inside the guarded cgroup sends real packets as the role PROBE, to which nothing
is open but a port on loopback (every plan has its address rule). They go to loopback; the
only ones that could leave, if the wall did not stand, are the frames for the device hooks,
and these carry TTL 1.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from dnsfw.datapath import cgroup as cgroups
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.hooks import HookState
from dnsfw.datapath.probe_child import answer
from dnsfw.datapath.sink import Sink
from dnsfw.errors import DatapathError
from dnsfw.model import Reason
from dnsfw.values import dataclass

_GUESTS = "dnsfw_guest"  # the programs of a device that leads to guests alone
_PATIENCE = 20.0  # seconds for a child that needs a tenth of one
# What says "nobody answers": the packet did leave the hooks.
_PASSED = frozenset({0, errno.ECONNREFUSED, errno.EINPROGRESS, errno.EAGAIN})
# The host has no such socket, route or right; nothing is proved either way.
_UNTRIED = frozenset(
    {
        errno.EAFNOSUPPORT,
        errno.EPROTONOSUPPORT,
        errno.EADDRNOTAVAIL,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENODEV,
        errno.ENXIO,
        errno.EHOSTUNREACH,
    }
)


@dataclass(frozen=True, slots=True)
class Tried:
    """One probe: what it was, and whether the wall did what it must."""

    what: str
    expected: str  # refused | passed
    got: str  # refused | passed | the system's words
    ok: bool | None  # None: this host cannot try it


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Every probe, and what they prove together."""

    tried: tuple[Tried, ...]
    denials: int  # that the kernel counted meanwhile

    @property
    def ok(self) -> bool:
        """Nothing went wrong, and something was really refused."""
        proved = any(t.ok and t.expected == "refused" for t in self.tried)
        return proved and self.denials > 0 and all(t.ok is not False for t in self.tried)

    @property
    def failures(self) -> tuple[Tried, ...]:
        return tuple(t for t in self.tried if t.ok is False)


# What is tried, and the program that alone is to refuse it.
_REFUSALS = {
    "connect4": ("IPv4 connect to an address that nothing opened", "dnsfw_connect4"),
    "connect6": ("IPv6 connect to a port that nothing opened", "dnsfw_connect6"),
    "sendmsg4": ("IPv4 datagram to an address that nothing opened", "dnsfw_sendmsg4"),
    "sendmsg6": ("IPv6 datagram to a port that nothing opened", "dnsfw_sendmsg6"),
    "bind4": ("IPv4 port to listen on", "dnsfw_bind4"),
    "bind6": ("IPv6 port to listen on", "dnsfw_bind6"),
    "egress": ("packet past the address hooks", "dnsfw_cg_egress"),
}
_PASSES = {
    "allowed4": "IPv4 datagram to an open address",
    "allowed6": "IPv6 datagram to an open address",
}


def self_test(
    sink: Sink,
    maps: Mapping[str, Map],
    cgroup: Path | None,
    devices: Sequence[str],
    hooks: Iterable[HookState] = (),
) -> SelfTest:
    """Tries the hooks that `cgroup` and `devices` say are attached.

    Those that `hooks` says are not (`degraded`) are left out. DatapathError if the probes
    themselves could not run.
    """
    hooks = tuple(hooks)
    absent = [hook for hook in hooks if not hook.attached]
    programs = {hook.program for hook in absent}
    targets = {hook.target for hook in absent}
    tries = [name for name, (_, program) in _REFUSALS.items() if program not in programs]
    # What a guest is sent is judged by its own `inbound`, whoever sends it.
    targets |= {hook.target for hook in hooks if hook.program.startswith(_GUESTS)}
    devices = [name for name in devices if f"{name} egress" not in targets]
    before = _denials(sink)
    place = cgroups.leaf(cgroup, "dnsfw-probe") if cgroup else nullcontext(None)
    with place as leaf:
        codes = _run(maps["dnsfw_socks"].fd, leaf, tries, devices)
    return SelfTest(
        tuple(_tried(name, code) for name, code in codes.items()), _denials(sink) - before
    )


def _run(
    socks: int, leaf: Path | None, tries: Sequence[str], devices: Sequence[str]
) -> dict[str, int]:
    """In a child that was forked for it: a new interpreter costs more than all the rest."""
    ours, theirs = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            answer(theirs, socks, leaf, [*tries, *_PASSES] if leaf else [], devices)
    except OSError as error:
        os.close(ours)
        raise DatapathError(f"the self-test did not run: {error}") from error
    finally:
        os.close(theirs)
    try:
        found = json.loads(_all_of(ours) or "{}")
    except (TimeoutError, ValueError) as error:
        os.kill(pid, signal.SIGKILL)
        raise DatapathError(f"the self-test did not run: {error}") from error
    finally:
        os.close(ours)
        os.waitpid(pid, 0)
    if "codes" not in found:
        raise DatapathError(f"the self-test did not run: {found.get('failed', 'it ended')}")
    codes: dict[str, int] = found["codes"]
    return codes


def _all_of(pipe: int) -> bytes:
    """What the child wrote until it ended. TimeoutError if it does not."""
    poll, end, data = select.poll(), time.monotonic() + _PATIENCE, b""
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, 1000 * (end - time.monotonic()))):
        if not (part := os.read(pipe, 1 << 16)):
            return data
        data += part
    raise TimeoutError(f"no answer in {_PATIENCE:g} s")


def _tried(name: str, code: int) -> Tried:
    if name in _PASSES:
        got = "passed" if code in _PASSED else os.strerror(code)
        return Tried(_PASSES[name], "passed", got, _judged(code, code in _PASSED))
    if name in _REFUSALS:
        what, refusal, untried = _REFUSALS[name][0], errno.EPERM, False
    else:  # a frame: ENOBUFS is the queueing layer's word for a dropped packet
        what = f"{name.removeprefix('frame ')}: frame to an address that nothing opened"
        refusal, untried = errno.ENOBUFS, code == errno.EPERM  # no CAP_NET_RAW
    got = "refused" if code == refusal else os.strerror(code) if code else "passed"
    if name.startswith("bind") and code == errno.EADDRNOTAVAIL:  # past the hook: not ours to have
        return Tried(what, "refused", "passed", False)
    return Tried(what, "refused", got, None if untried else _judged(code, code == refusal))


def _judged(code: int, ok: bool) -> bool | None:
    return None if code in _UNTRIED else ok


def _denials(sink: Sink) -> int:
    """What the self-test itself was refused: its packets count apart."""
    return sink.counters()[Reason.BY_NOTHING].denied
