"""The seam between asking and the ways to ask: UDP, TCP, DNS over TLS, DNS over HTTPS.

A carrier takes questions for one upstream over one transport. What comes back is not
looked at: the engine ignores junk. Every socket is marked as the daemon's before it
connects (`kernel.own`), so the hooks let it pass; nothing else is exempt, and a socket
that cannot be marked asks nobody.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from dnsfw.engine.effects import Ask, AskId
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.values import dataclass

__all__ = ["Carrier", "Ears", "Own", "Together", "Ways", "each", "fresh"]

Own = Callable[[int], None]  # marks a descriptor as the daemon's, before it connects
Together = Callable[[Callable[[], None]], None]  # what is heard in it may be acted upon at once

_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_OMIT = 5  # a forged "fragmentation needed" must not change what we send


def each(hear: Callable[[], None]) -> None:
    """Each by itself: the simplest `Together`."""
    hear()


class Ears(Protocol):
    """Who is told what came back."""

    def answer(self, ask: AskId, wire: bytes) -> None: ...

    def ask_failed(self, ask: AskId, why: str) -> None: ...


@dataclass(slots=True)
class Ways:
    """What a carrier has done, for `status`."""

    open: int = 0  # connections, or sockets, there are now
    opened: int = 0  # that there ever were
    reused: int = 0  # questions that found a connection open
    failed: int = 0  # connections that could not be had, or broke with questions on them
    resumed: int = 0  # TLS handshakes cut short by a ticket of an earlier one
    last_error: str = ""


class Carrier(Protocol):
    """One way to one upstream."""

    ways: Ways

    def ask(self, effect: Ask) -> None:
        """Send it now, or as soon as there is a connection. OSError, DatapathError: it cannot be
        sent at all; a later failure is told to the ears, once, and the question is closed.
        """

    def forget(self, ask: AskId) -> None:
        """It was answered or given up; unknown ones are none of our business."""

    def sweep(self, now: Nanos) -> None:
        """Let go of what has idled too long; called about once a second."""

    def close(self) -> None:
        """Let go of everything at once; the ears hear nothing of it."""


def fresh(kind: socket.SocketKind, target: Endpoint, own: Own) -> socket.socket:
    """An unconnected socket that the hooks know as the daemon's."""
    sock = socket.socket(target.family, kind | socket.SOCK_NONBLOCK)
    try:
        own(sock.fileno())
        if target.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_OMIT)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
    except BaseException:
        sock.close()
        raise
    return sock
