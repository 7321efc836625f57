"""A guarded cgroup in a namespace of its own, a peer outside, and processes to act in it.

Every cgroup hook is attached to one cgroup; tests make others below it and say whose they
are. Nothing is attached to the machine's own devices or to the root cgroup.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnsfw.datapath import abi, cgroup, netlink, own
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.hooks import has_tcx
from dnsfw.datapath.links import link_create
from dnsfw.datapath.netlink import Side
from dnsfw.datapath.syscall import AttachType
from dnsfw.model import Reason
from tests.support.netlab import Cgroup, Lab, Netns
from tests.support.wall import Wall

HERE4, HERE6 = "198.51.100.5", "2001:db8:5::5"
PEER4, PEER6 = "198.51.100.6", "2001:db8:5::6"
SHUT4, SHUT6 = "198.51.100.7", "2001:db8:5::7"

CGROUP_HOOKS = {
    "dnsfw_sock_create": AttachType.CGROUP_INET_SOCK_CREATE,
    "dnsfw_cg_ingress": AttachType.CGROUP_INET_INGRESS,
    "dnsfw_cg_egress": AttachType.CGROUP_INET_EGRESS,
    "dnsfw_connect4": AttachType.CGROUP_INET4_CONNECT,
    "dnsfw_connect6": AttachType.CGROUP_INET6_CONNECT,
    "dnsfw_sendmsg4": AttachType.CGROUP_UDP4_SENDMSG,
    "dnsfw_sendmsg6": AttachType.CGROUP_UDP6_SENDMSG,
    "dnsfw_bind4": AttachType.CGROUP_INET4_BIND,
    "dnsfw_bind6": AttachType.CGROUP_INET6_BIND,
}


def act_in(place: Path, netns: Netns, act: Callable[[], Any], uid: int = 0, gid: int = 0) -> Any:
    """What `act` returns, or the errno it raises, in a process of that cgroup."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            (place / "cgroup.procs").write_text(str(os.getpid()))
            with netns.entered():
                try:
                    os.setgroups([])
                    os.setresgid(gid, gid, gid)
                    os.setresuid(uid, uid, uid)
                    result = act()
                except OSError as error:
                    result = error.errno
                os.write(writer, pickle.dumps(result))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)


def record(wall: Wall, sock: socket.socket) -> abi.Sock | None:
    """What the kernel noted of a socket."""
    found = wall.table("dnsfw_socks").lookup(sock.fileno().to_bytes(4, "little"))
    return None if found is None else abi.Sock.unpack(found)


@dataclass
class Site:
    """The guarded namespace and cgroup, and the peer that nobody guards."""

    wall: Wall
    guarded: Netns
    outside: Netns
    cgroup: Cgroup
    lab: Lab
    links: list[int] = field(default_factory=list)

    def below(self, name: str) -> Path:
        """A cgroup below the guarded one, `a/b/c` with all between."""
        path = self.cgroup.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def number(self, place: Path) -> int:
        return cgroup.id_of(place)

    def inside(
        self, act: Callable[[], Any], where: Path | None = None, uid: int = 0, gid: int = 0
    ) -> Any:
        return act_in(where or self.cgroup.path, self.guarded, act, uid, gid)

    def attach(self, hooks: Sequence[str] = tuple(CGROUP_HOOKS)) -> None:
        directory = os.open(self.cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in hooks:
                program = self.wall.loaded.programs[name].fd
                self.links.append(link_create(program, directory, CGROUP_HOOKS[name]))
        finally:
            os.close(directory)

    def guard(self, netns: Netns, device: str, **sides: str) -> int:
        """Programs on a device of a namespace: `ingress=`, `egress=`. Gives its number."""
        with netns.entered():
            index = socket.if_nametoindex(device)
            if not has_tcx():  # before Linux 6.6; the filters go with the namespace
                netlink.add_clsact(index)
            for side, name in sides.items():
                self._hook(index, Side[side.upper()], name)
        return index

    def _hook(self, index: int, side: Side, name: str) -> None:
        program = self.wall.loaded.programs[name].fd
        if has_tcx():
            kind = AttachType[f"TCX_{side.name}"]
            self.links.append(link_create(program, index, kind))
        else:
            netlink.set_filter(index, side, program, name)

    def count(self, reason: Reason) -> abi.Counter:
        return self.wall.sink.counters()[reason]


@contextmanager
def built(loaded: Loaded, lab: Lab) -> Iterator[Site]:
    """Two namespaces with a link; nothing is attached yet."""
    guarded, outside, group = lab.namespace("in"), lab.namespace("out"), lab.cgroup()
    lab.link(guarded, outside)
    for netns, last in ((guarded, 5), (outside, 6)):
        netns.ip(f"addr add 198.51.100.{last}/24 dev eth0")
        netns.ip(f"addr add 2001:db8:5::{last}/64 dev eth0 nodad")
    outside.ip(f"addr add {SHUT4}/24 dev eth0")
    outside.ip(f"addr add {SHUT6}/64 dev eth0 nodad")
    with guarded.entered():
        wall = Wall(loaded, socket.if_nametoindex("eth0"), own.netns_cookie())
    made = Site(wall, guarded, outside, group, lab)
    try:
        yield made
    finally:
        for link in made.links:
            os.close(link)
