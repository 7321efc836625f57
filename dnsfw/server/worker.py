"""A process that answers repeated queries over UDP and hands every other one to the daemon:
`python -m dnsfw.server.worker`, its channel as stdin (`dns.workers`).

It reads sockets of its own with the daemon's own listener, whose ready replies are copies of
the daemon's (`engine/replica.py`). A copy counts for one epoch: the worker looks at the number
when a batch begins, and the daemon, before it changes anything, waits until every batch that
began under an earlier number is over (`worker_memory.py`).

It has no capability, may call nothing but what `cell.WORKER` lists, and ends with its daemon,
however that ends: by SIGKILL when the parent dies, or at the end of the channel. Its user is the
daemon's: another one's process the daemon, which has no CAP_KILL, could not end.
"""

from __future__ import annotations

import array
import ctypes
import gc
import json
import os
import platform
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any

from dnsfw.datapath import cell, seccomp
from dnsfw.engine.replica import Replica
from dnsfw.errors import DatapathError
from dnsfw.model import NO_ROLE, RoleId
from dnsfw.server.address import Endpoint
from dnsfw.server.batch import Batch
from dnsfw.server.capabilities import drop
from dnsfw.server.clock import Now, boot_now
from dnsfw.server.neighbours import ROUTES4, ROUTES6, Held, Neighbours
from dnsfw.server.rate import Rates
from dnsfw.server.roles import EVERYBODY_IS_HOST, MarkedAskers
from dnsfw.server.udp import Slot, UdpListener
from dnsfw.server.udp_socket import read_control
from dnsfw.server.worker_memory import EpochSeen, Page, heed_fences
from dnsfw.server.worker_words import (
    FORGET,
    LONGEST,
    QUERIES,
    READY,
    pack_query,
    pack_told,
    read_copy,
    write_key,
)

__all__ = ["Worker", "main"]

_CHANNEL = 0
_MOST_DESCRIPTORS = 250  # of one message: below SCM_MAX_FD
_ENOUGH = LONGEST // 2  # octets of queries in one message
_TICK = 1.0  # seconds between two signs of life
_TELL = 0.2  # seconds between two reports, while there is something to report
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME = 1, 4, 15


class _Ears:
    """As much of an event loop as a listener wants."""

    def __init__(self) -> None:
        self.callbacks: dict[int, Callable[[], object]] = {}

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> None:
        self.callbacks[fd] = callback

    def remove_reader(self, fd: int, /) -> None:
        del self.callbacks[fd]

    def call_soon(self, callback: Callable[[], object], /) -> None:
        callback()  # what is sent outside of a batch goes at once


class Worker:
    """Listeners in front of a replica, and the channel behind them."""

    def __init__(
        self,
        channel: socket.socket,
        epoch: EpochSeen,
        page: Page,
        listeners: Iterable[UdpListener],
        now: Now = boot_now,
    ) -> None:
        self._poll = select.epoll()
        self.replica = Replica()
        self.rates = Rates(time.monotonic)
        self.neighbours = Neighbours(Held(ROUTES4), Held(ROUTES6))
        self.handed = 0
        self._channel = channel
        self._epoch = epoch
        self._page = page
        self._now = now
        self._mine = 0  # the epoch of the copies
        self._ears = _Ears()
        self._listeners = list(listeners)
        self._number = {id(one): number for number, one in enumerate(self._listeners)}
        self._queries: list[bytes] = []
        self._octets = 0
        self._outbox: deque[bytes] = deque()
        self._told: dict[str, Any] = {}
        self._tell_at = 0.0
        self.rates.allow = lambda datagrams: self._say(allow=datagrams)
        for number, one in enumerate(self._listeners):
            one.replies, one.now, one.rates = self.replica.replies, now, self.rates
            one.pass_on = self._pass_on
            one.share = partial(self._share, number)
            one.attend(self._ears)

    def serve(self) -> None:
        """Until the channel ends."""
        self._send(READY)
        poll = self._poll
        poll.register(self._channel.fileno(), select.EPOLLIN)
        for fd in self._ears.callbacks:
            poll.register(fd, select.EPOLLIN)
        listening = True
        while True:
            if listening is bool(self._outbox):  # what the daemon has no time for waits in the
                listening = not listening  # sockets, where the kernel drops what is too much
                wanted = select.EPOLLIN if listening else select.EPOLLIN | select.EPOLLOUT
                poll.modify(self._channel.fileno(), wanted)
                for fd in self._ears.callbacks:
                    poll.modify(fd, select.EPOLLIN if listening else 0)
            ready = poll.poll(_TELL if self._has_news else _TICK)
            self._page.beat()
            for fd, events in ready:
                if fd in self._ears.callbacks:
                    if not self._outbox:
                        self.batch(self._ears.callbacks[fd])
                    continue
                if events & ~select.EPOLLOUT and not self._hear():
                    return
                self._flush()
            if time.monotonic() >= self._tell_at and self._has_news:
                self._report()

    def batch(self, read: Callable[[], object]) -> None:
        """One batch of a listener's, by copies of the epoch of now."""
        self._page.enter()
        self._look_at_epoch()
        read()
        self._hand_over()
        self._page.leave(self.replica.replies.hits.total() + self._reported, self.handed)
        for key, until in self.replica.fading():
            self._say(renew=write_key(key), until=until)

    def _look_at_epoch(self) -> None:
        if (number := self._epoch.number) != self._mine:
            self.replica.clear()
            self._mine = number

    # to the daemon

    def _pass_on(self, listener: UdpListener, batch: Batch, rest: Iterable[Slot]) -> None:
        """What no copy answers to the octet: rendered from one that answers the question, or
        the daemon's.
        """
        now, wildcard = self._now(), listener.endpoint.wildcard
        for slot, length, role in rest:
            wire = batch.wire(slot, length)
            mark, source = read_control(batch.control(slot))
            reply = self.replica.reply(wire, role, now) if role != NO_ROLE else None
            if reply is not None:
                listener.send(reply, batch.name(slot), source if wildcard else None)
                continue
            info = source[2] if wildcard and source is not None else b""
            number = self._number[id(listener)]
            self._queries.append(pack_query(number, mark, batch.name(slot), info, wire))
            self._octets += len(self._queries[-1])
            self.handed += 1
            if self._octets > _ENOUGH:
                self._hand_over()

    def _hand_over(self) -> None:
        if self._queries:
            self._send(QUERIES + b"".join(self._queries))
            self._queries.clear()
            self._octets = 0

    def _share(self, number: int, on: bool) -> None:
        self._say(share=number, on=on)

    def _say(self, **words: Any) -> None:
        self._send(pack_told(**words))

    def _send(self, message: bytes) -> None:
        self._outbox.append(message)
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            try:
                self._channel.send(self._outbox[0], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                os._exit(0)  # nobody hears us any more
            self._outbox.popleft()

    # counts

    @property
    def _has_news(self) -> bool:
        return bool(self.replica.replies.hits or self.rates.dropped)

    @property
    def _reported(self) -> int:
        return int(self._told.get("answered", 0))

    def _report(self) -> None:
        """What was counted since the last time; the daemon adds it up."""
        hits, dropped = self.replica.replies.hits, self.rates.dropped
        self._told["answered"] = self._reported + hits.total()
        lost = {
            name: sum(getattr(one, name) for one in self._listeners)
            for name in ("truncated", "unsent")
        }
        self._say(hits=dict(hits), dropped=dict(dropped), **lost)
        hits.clear()
        dropped.clear()
        for one in self._listeners:
            one.truncated = one.unsent = 0
        self._tell_at = time.monotonic() + _TELL

    # from the daemon

    def _hear(self) -> bool:
        """What it says; False at its end."""
        while True:
            try:
                message = self._channel.recv(LONGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not message:
                return False
            if message == FORGET:
                self.neighbours.forget()
            else:
                epoch, key, ready = read_copy(message)
                self._look_at_epoch()
                if epoch == self._mine:
                    self.replica.put(key, ready)


def main() -> None:
    """What the daemon starts; never returns."""
    # The terminal's Ctrl-C and systemd's SIGTERM, which both send to all processes, are for the
    # daemon: it answers until it ends, and ends us.
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    channel = socket.socket(fileno=_CHANNEL)
    config, fds = _configured(channel)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, b"dnsfw-worker", 0, 0, 0)
    drop(())
    # No other process of this user without capabilities looks into it for the daemon's sockets.
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != config["parent"]:
        os._exit(0)
    heed_fences()
    epoch, page = EpochSeen(fds[0]), Page(fds[1])
    listeners = [
        UdpListener(
            Endpoint(ip_address(one["address"]), one["port"]), socket.socket(fileno=fd),
            prepared=True,
        )
        for one, fd in zip(config["listeners"], fds[2:], strict=True)
    ]
    worker = Worker(channel, epoch, page, listeners)
    for listener, one in zip(listeners, config["listeners"], strict=True):
        listener.askers = MarkedAskers(_no_connection) if config["marks"] else EVERYBODY_IS_HOST
        listener.neighbours = worker.neighbours if one["strangers"] else None
    gc.freeze()
    _close_in()
    worker.serve()
    os._exit(0)


def _close_in() -> None:
    """Everything it needs is there: from here on it only answers."""
    try:
        seccomp.install(cell.program(platform.machine(), cell.WORKER))
    except DatapathError as error:
        sys.exit(f"dnsfw: a DNS worker cannot be confined: {error}; remedy: dns.workers: 1")


def _configured(channel: socket.socket) -> tuple[Mapping[str, Any], list[int]]:
    """The first message: what to listen on, and descriptors: epoch, page, sockets."""
    room = socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
    data, control, _, _ = channel.recvmsg(LONGEST, room, socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)
    fds = array.array("i")
    for _, _, raw in control:
        fds.frombytes(raw)
    return json.loads(data), list(fds)


def _no_connection(_: int) -> RoleId:
    return NO_ROLE


if __name__ == "__main__":
    main()
