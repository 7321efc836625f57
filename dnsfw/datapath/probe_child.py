"""The guarded half of the self-test: a process inside the wall that tries to get out.

It joins the cgroup, gives each socket it makes the role PROBE, and says what became of each
try. It is forked from the daemon, does nothing else of it, and ends without a word to anybody.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dnsfw.datapath import bpf, cgroup, own
from dnsfw.datapath.tables import PROBE_ALLOWED, PROBE_ALLOWED6, PROBE_PORT
from dnsfw.model import PROBE

# Nobody's: nothing binds these, and packets to them never leave lo.
REFUSED, ALLOWED = "127.0.53.254", PROBE_ALLOWED
REFUSED6 = ALLOWED6 = PROBE_ALLOWED6
PORT = PROBE_PORT  # open to PROBE for UDP
OTHER_PORT = 7
_UDPLITE = 136
_RAW_PROTOCOL = 253  # for experiments, RFC 3692
# TEST-NET-1 (RFC 5737). If the wall let it through, the first router would drop it: TTL 1.
_FRAME_TO = "192.0.2.1"
_NOBODY6 = "2001:db8::1"  # RFC 3849
_PAYLOAD = b"dnsfw self-test"
_ETH_P_IP = 0x0800

Try = Callable[[Callable[..., socket.socket]], None]


def connect4(make: Callable[..., socket.socket]) -> None:
    make(socket.AF_INET, socket.SOCK_DGRAM).connect((REFUSED, PORT))


def connect6(make: Callable[..., socket.socket]) -> None:
    # TCP: a UDP connect to another port of an open address is excused.
    make(socket.AF_INET6, socket.SOCK_STREAM).connect((REFUSED6, OTHER_PORT))


def sendmsg4(make: Callable[..., socket.socket]) -> None:
    make(socket.AF_INET, socket.SOCK_DGRAM).sendto(_PAYLOAD, (REFUSED, PORT))


def sendmsg6(make: Callable[..., socket.socket]) -> None:
    make(socket.AF_INET6, socket.SOCK_DGRAM).sendto(_PAYLOAD, (REFUSED6, OTHER_PORT))


def bind4(make: Callable[..., socket.socket]) -> None:
    """Not this host's address, so that it is never really bound."""
    make(socket.AF_INET, socket.SOCK_DGRAM).bind((_FRAME_TO, PORT))


def bind6(make: Callable[..., socket.socket]) -> None:
    make(socket.AF_INET6, socket.SOCK_DGRAM).bind((_NOBODY6, PORT))


def egress(make: Callable[..., socket.socket]) -> None:
    """The address hooks see neither of these sends: only the packet hook can refuse them."""
    try:
        sock = make(socket.AF_INET, socket.SOCK_DGRAM, _UDPLITE)
        sock.connect((REFUSED, PORT))
    except OSError:  # a kernel without UDP-Lite
        sock = make(socket.AF_INET, socket.SOCK_RAW, _RAW_PROTOCOL)
        sock.connect((REFUSED, 0))
    sock.send(_PAYLOAD)


def allowed4(make: Callable[..., socket.socket]) -> None:
    sock = make(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((ALLOWED, PORT))
    sock.send(_PAYLOAD)


def allowed6(make: Callable[..., socket.socket]) -> None:
    make(socket.AF_INET6, socket.SOCK_DGRAM).sendto(_PAYLOAD, (ALLOWED6, PORT))


def frame(make: Callable[..., socket.socket], device: str) -> None:
    """A packet socket writes the frame itself: nothing but the device's hook sees it."""
    sock = make(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.sendto(_packet(), (device, _ETH_P_IP, 0, 0, bytes(6)))


SOCKETS: dict[str, Try] = {
    "connect4": connect4,
    "connect6": connect6,
    "sendmsg4": sendmsg4,
    "sendmsg6": sendmsg6,
    "bind4": bind4,
    "bind6": bind6,
    "egress": egress,
    "allowed4": allowed4,
    "allowed6": allowed6,
}


def _packet() -> bytes:
    udp = struct.pack("!HHHH", PORT, PORT, 8 + len(_PAYLOAD), 0) + _PAYLOAD
    to = socket.inet_aton(_FRAME_TO)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 1, 17, 0, bytes(4), to)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + udp


def attempt(action: Callable[..., None], *args: Any) -> int:
    """0, or the errno with which the system refused."""
    try:
        action(*args)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def answer(
    pipe: int, socks: int, leaf: Path | None, tries: Sequence[str], devices: Sequence[str]
) -> NoReturn:
    """The child's whole life: what became of each try, or why there was none, as JSON."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the daemon's to act on, and not twice
        try:
            said: dict[str, Any] = {"codes": _tried(socks, leaf, tries, devices)}
        except Exception as error:
            said = {"failed": f"{type(error).__name__}: {error}"}
        os.write(pipe, json.dumps(said).encode())
    finally:
        os._exit(0)  # nothing of the daemon's is to be flushed or unwound here


def _tried(
    socks: int, leaf: Path | None, tries: Sequence[str], devices: Sequence[str]
) -> dict[str, int]:
    if leaf is not None:
        cgroup.move(os.getpid(), leaf)
    table = bpf.map_of(socks)
    open_sockets = []

    def make(family: int, kind: int, proto: int = 0) -> socket.socket:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, proto)
        open_sockets.append(sock)
        own.assign_role(table, sock, PROBE, os.getpid(), own.netns_cookie())
        return sock

    results = {name: attempt(SOCKETS[name], make) for name in tries}
    for device in devices:
        results[f"frame {device}"] = attempt(frame, make, device)
    return results
