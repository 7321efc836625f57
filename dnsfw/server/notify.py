"""What systemd is told (sd_notify): nothing at all where nobody asked."""

from __future__ import annotations

import contextlib
import os
import socket
from time import CLOCK_MONOTONIC, clock_gettime_ns

__all__ = ["Notify"]


class Notify:
    """Sends state to $NOTIFY_SOCKET; takes it out of the environment, it is for us alone."""

    def __init__(self, environ: os._Environ[str] | dict[str, str] = os.environ) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        usec = environ.pop("WATCHDOG_USEC", "")
        self.watchdog = int(usec) / 2e6 if usec.isdigit() else None  # seconds between signs of life

    def longer(self, seconds: float) -> None:
        """A start goes on: it has so much more time from now on (EXTEND_TIMEOUT_USEC)."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)
