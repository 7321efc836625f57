"""A bare wall around a cgroup and a device, without daemon, policy files or DNS."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dnsfw.datapath import abi, links
from dnsfw.datapath.attach import Wall, WallConfig
from dnsfw.datapath.backend import Backend, Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.sink import KernelSink
from dnsfw.datapath.syscall import AttachType
from dnsfw.model import (
    HOST,
    Entry,
    Grant,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)
from tests.support.netlab import Cgroup, Lab, Netns

PEER, PEER6 = "10.9.0.2", "fd09::2"
RULE = RuleId(300)
DENY_ALL = Plan((RolePlan(HOST, Verdict.DENY),), (), frozenset({RULE}))
FOREVER = Nanos(1 << 62)
ANY_PORT = PortSet((PortRange(6), PortRange(17)))
CURRENT = f"abi{int(abi.Abi.VERSION)}"  # where the wall of this version is pinned
_CGROUP_TYPES = (0, 1, 2, 8, 9, 10, 11, 14, 15, 19, 20, 29, 30)
_ON_DEVICES = ("tc", "guest", "edge", "answer")  # words in a program's name

# Exit status: 0 the datagram left, 1 EPERM.
SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
try:
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 9))
except PermissionError:
    sys.exit(1)
"""


@dataclass(frozen=True, slots=True)
class Wrecked:
    """A backend that hands out the wrong program for one place: the kernel will refuse it."""

    program: str
    name: str = "wrecked"

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        loaded = LibbpfBackend().load(reuse)
        on_device = any(word in self.program for word in _ON_DEVICES)
        wrong = "dnsfw_connect4" if on_device else "dnsfw_tc_egress"
        spare = loaded.programs[wrong]
        mixed = replace(spare, fd=os.dup(spare.fd), name=self.program)
        loaded.programs[self.program].close()
        return replace(loaded, programs={**loaded.programs, self.program: mixed})


@dataclass(frozen=True, slots=True)
class Yard:
    """A namespace with one device to a peer, a cgroup in it, and a place for pins."""

    lab: Lab
    here: Netns
    there: Netns
    cgroup: Cgroup
    pin_dir: Path

    def config(self, backend: Backend | None = None, **options: object) -> WallConfig:
        made = WallConfig(
            backend=backend or LibbpfBackend(),
            pin_dir=self.pin_dir,
            cgroup=self.cgroup.path,
            interfaces=("eth0",),
        )
        return replace(made, **options)  # type: ignore[arg-type]

    @contextmanager
    def wall(self, config: WallConfig | None = None, plan: Plan = DENY_ALL) -> Iterator[Wall]:
        """A wall that stands for the block and is left pinned after it."""
        with self.here.entered():
            wall = Wall.open(config or self.config(), lambda w: KernelSink(w.maps).apply(plan))
            try:
                yield wall
            finally:
                wall.close(remove=False)

    def sends(self, to: str = PEER) -> bool:
        """Whether a workload's datagram leaves."""
        guest = self.lab.guest(self.here, self.cgroup)
        done = guest.run([sys.executable, "-S", "-c", SEND, to])
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    def programs(self) -> list[str]:
        """Where a BPF program runs in the cgroup and on the device, whoever put it there."""
        found = []
        with self.here.entered():
            fd = os.open(self.cgroup.path, os.O_RDONLY)
            try:
                for kind in _CGROUP_TYPES:
                    if links.prog_query(fd, kind):
                        found.append(AttachType(kind).name)
            finally:
                os.close(fd)
            for kind in (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS):
                if links.prog_query(socket.if_nametoindex("eth0"), kind):
                    found.append(kind.name)
        return found

    def qdiscs(self) -> str:
        return self.here.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout

    def pinned(self) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(str(p.relative_to(self.pin_dir)) for p in self.pin_dir.rglob("*"))
        return []


def open_yard(lab: Lab) -> Yard:
    """Nothing is guarded yet; all of it goes when the lab closes."""
    here, there = lab.namespace("here"), lab.namespace("there")
    lab.link(here, there)
    here.ip("addr add 10.9.0.1/24 dev eth0")
    here.ip("addr add fd09::1/64 dev eth0")
    there.ip(f"addr add {PEER}/24 dev eth0")
    there.ip(f"addr add {PEER6}/64 dev eth0")
    return Yard(lab, here, there, lab.cgroup(), lab.bpffs() / "dnsfw")


def grant(to: str = PEER, ports: PortSet = ANY_PORT) -> Entry:
    return Entry(HOST, addr_from(to), (Grant(FOREVER, RULE, ports, Verdict.ALLOW),))
