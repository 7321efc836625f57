"""The daemon's end of one worker: its process, its channel, the page that it writes.

It is started by exec, not by fork: so it has nothing of the daemon's memory in it, and can be
started at any time, when the daemon itself has given up its rights and has threads.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dnsfw
from dnsfw.errors import DatapathError
from dnsfw.server.udp import UdpListener
from dnsfw.server.worker_memory import Epoch, Page
from dnsfw.server.worker_words import LONGEST

__all__ = ["Link", "command"]

_MODULE = "dnsfw.server.worker"
_BUFFER = 1 << 17  # bytes of queries that may wait for the daemon: some ten batches
_GONE = 1.0  # seconds that a killed process may take to be gone
_SO_SNDBUFFORCE = 32


class Link:
    """One process. `socket` is the daemon's end; `close` ends it if it lives."""

    def __init__(
        self, listeners: Sequence[UdpListener], epoch: Epoch, *, marks: bool
    ) -> None:
        """Start it; it reads when it has said READY. DatapathError if that cannot be."""
        self.page = Page.made()
        self.listeners = listeners
        self.serving = False
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._buffer = bytearray(LONGEST)
        self._view = memoryview(self._buffer)
        try:
            with theirs:
                for end in (self.socket, theirs):
                    _make_room(end)
                self.socket.setblocking(False)
                argv, environment = command()
                self.process = subprocess.Popen(
                    argv, env=environment, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
                )
            self._configure(epoch, marks)
        except OSError as error:
            self.page.close()
            self.socket.close()
            raise DatapathError(f"no process can be started: {error.strerror or error}") from error

    @property
    def pid(self) -> int:
        return self.process.pid

    def _configure(self, epoch: Epoch, marks: bool) -> None:
        listeners = [
            {
                "address": str(one.endpoint.address),
                "port": one.endpoint.port,
                "strangers": one.neighbours is not None,
            }
            for one in self.listeners
        ]
        said = {"parent": os.getpid(), "marks": marks, "listeners": listeners}
        fds = [epoch.fd, self.page.fd, *(one.socket.fileno() for one in self.listeners)]
        socket.send_fds(self.socket, [json.dumps(said).encode()], fds)

    def receive(self) -> bytes | None:
        """A message; None if there is none now, empty at the end."""
        for _ in range(2):  # that it died with something unread is told first, as an error
            try:
                size = self.socket.recv_into(self._buffer)
            except BlockingIOError:
                return None
            except OSError:
                continue
            return bytes(self._view[:size])
        return b""

    def send(self, message: bytes) -> bool:
        """False: who has no time for it hears nothing."""
        try:
            self.socket.send(message)
        except OSError:
            return False
        return True

    def kill(self) -> bool:
        """Returns when it is gone, and sends nothing any more; False: it cannot be."""
        self.process.kill()
        try:
            self.process.wait(_GONE)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ended(self) -> str:
        """How it ended, for people; after `kill`."""
        code = self.process.returncode
        if code is None:
            return "it cannot be ended"
        return f"signal {-code}" if code < 0 else f"exit {code}"

    def close(self) -> None:
        self.kill()
        self.socket.close()
        self.page.close()


def command() -> tuple[list[str], dict[str, str]]:
    """How to start it, by the same Python and package that we are: arguments, environment."""
    home = str(Path(dnsfw.__file__).parents[1])
    places = [home, *(place for place in sys.path if place.startswith("/"))]
    # -P: never from the cwd; -S: nothing of site's, which takes a megabyte.
    argv = [sys.executable, "-P", "-S", "-m", _MODULE]
    return argv, {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(places))}


def _make_room(end: socket.socket) -> None:
    try:
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    except PermissionError:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
