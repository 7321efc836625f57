"""Doors without a daemon: sockets that say which of them was reached, and by what role."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from dnsfw.datapath import abi
from dnsfw.datapath.askers import Askers, netns_cookie_of, socket_cookie
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.doors import Doors
from dnsfw.datapath.listeners import Listeners
from dnsfw.datapath.own import OwnSockets
from dnsfw.model import addr_from
from tests.support.netlab import Netns

DOOR4, DOOR6 = "127.0.53.53", "::1"
SO_RCVMARK = 75


@dataclass
class OpenDoors:
    """What the doors of one namespace heard: (door, mark, source port) of each query."""

    netns: int
    ports: abi.Doors
    heard: list[tuple[str, int]] = field(default_factory=list)


def _bound(netns: Netns, address: str, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = netns.socket(family, kind)
    sock.bind((address, 0))
    if kind == socket.SOCK_DGRAM:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
    else:
        sock.listen()
    return sock


@contextmanager
def open_doors(loaded: Loaded, netns: Netns, here: int, *, v6: bool = True) -> Iterator[OpenDoors]:
    """Doors that answer every datagram and connection with their own name and the role.

    `here` is the namespace as keys name it: 0 where they do not.
    """
    maps = loaded.maps
    udp4 = [_bound(netns, DOOR4, socket.SOCK_DGRAM) for _ in range(abi.Limit.DOORS)]
    udp6 = [_bound(netns, DOOR6, socket.SOCK_DGRAM) for _ in range(abi.Limit.DOORS)] if v6 else []
    tcp4 = _bound(netns, DOOR4, socket.SOCK_STREAM)
    tcp6 = _bound(netns, DOOR6, socket.SOCK_STREAM) if v6 else None
    programs = loaded.programs
    askers = Askers(
        maps["dnsfw_askers"], programs["dnsfw_asker"], programs["dnsfw_share"],
        maps["dnsfw_allowance"],
    )
    own = OwnSockets(maps)
    names: dict[socket.socket, str] = {
        **{sock: f"udp4/{i}" for i, sock in enumerate(udp4)},
        **{sock: f"udp6/{i}" for i, sock in enumerate(udp6)},
        tcp4: "tcp4",
    }
    if tcp6 is not None:
        names[tcp6] = "tcp6"
    for sock in names:
        own.mark(sock)
        if sock.type == socket.SOCK_STREAM:
            askers.watch(sock.fileno())
    doors = OpenDoors(
        netns_cookie_of(tcp4.fileno()),
        abi.Doors(
            addr_from(DOOR4), addr_from(DOOR6), _ports(udp4), _ports(udp6),
            tcp4.getsockname()[1], tcp6.getsockname()[1] if tcp6 is not None else 0,
        ),
    )  # fmt: skip
    table = Doors(
        maps["dnsfw_doors"], Listeners(maps["dnsfw_listeners"], maps["dnsfw_settings"], here)
    )
    stop, told = os.pipe()
    server = threading.Thread(target=_serve, args=(names, askers, doors, stop), daemon=True)
    server.start()
    table.open(doors.netns, doors.ports)
    try:
        yield doors
    finally:
        table.close(doors.netns)
        os.close(told)
        server.join(10)
        os.close(stop)
        for sock in names:
            sock.close()


def _ports(socks: list[socket.socket]) -> tuple[int, ...]:
    return tuple(sock.getsockname()[1] for sock in socks) or (0,) * abi.Limit.DOORS


def _serve(
    names: Mapping[socket.socket, str], askers: Askers, doors: OpenDoors, stop: int
) -> None:
    while True:
        ready, _, _ = select.select([*names, stop], [], [])
        for sock in ready:
            if sock == stop:
                return
            if sock.type == socket.SOCK_DGRAM:
                _answer_datagram(sock, names[sock], doors)
            else:
                _answer_connection(sock, names[sock], askers, doors)


def _answer_datagram(sock: socket.socket, name: str, doors: OpenDoors) -> None:
    data, control, _, peer = sock.recvmsg(512, 64)
    mark = next((struct.unpack("=I", c[2])[0] for c in control if c[1] == socket.SO_MARK), 0)
    doors.heard.append((name, mark))
    sock.sendto(b"%s %d %s" % (name.encode(), mark, data), peer)


def _answer_connection(
    sock: socket.socket, name: str, askers: Askers, doors: OpenDoors
) -> None:
    accepted, _ = sock.accept()
    with accepted:
        data = accepted.recv(512)
        mark = askers.role(socket_cookie(accepted.fileno()))
        doors.heard.append((name, mark))
        accepted.sendall(b"%s %d %s" % (name.encode(), mark, data))
