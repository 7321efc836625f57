"""A worker by itself: a listener, copies, and a channel whose other end the test holds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from dnsfw.engine.cache import CacheKey, Ready
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.clock import boot_now
from dnsfw.server.udp import UdpListener
from dnsfw.server.worker import Worker
from dnsfw.server.worker_memory import Epoch, EpochSeen, Page
from dnsfw.server.worker_words import (
    FORGET,
    QUERIES,
    Handed,
    pack_copy,
    read_queries,
    read_told,
    write_key,
)
from dnsfw.wire.message import A, Rcode, peek
from dnsfw.wire.name import from_text
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, write_query

WWW = from_text("www.example.com")


def query(id: int = 7) -> bytes:
    return write_query(id, WWW, A)


def key() -> CacheKey:
    asked = peek(query())
    assert asked is not None
    return CacheKey(HOST, asked.key, asked.do, asked.flags)


class Bench:
    """One worker that the test turns by hand."""

    def __init__(self, address: str) -> None:
        self.epoch, self.page = Epoch(), Page.made()
        self.daemon, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.daemon.setblocking(False)
        self.channel = theirs
        self.listener = UdpListener(Endpoint(ip_address(address), 0))
        self.time = boot_now()
        self.worker = Worker(
            theirs, EpochSeen(self.epoch.fd), self.page, [self.listener], lambda: self.time
        )
        asked = {"0.0.0.0": "127.8.8.8", "::": "::1"}.get(address, address)
        self.client = socket.socket(self.listener.endpoint.family, socket.SOCK_DGRAM)
        self.client.setblocking(False)
        self.client.connect((asked, self.listener.socket.getsockname()[1]))

    def close(self) -> None:
        for one in (self.epoch, self.page, self.daemon, self.channel, self.listener, self.client):
            one.close()  # type: ignore[attr-defined]

    def turn(self) -> None:
        """What the loop does when something waits in the socket."""
        self.worker.batch(self.listener._drain)

    def ask(self, wire: bytes | None = None) -> bytes | None:
        """The reply, if the worker had one."""
        self.client.send(query() if wire is None else wire)
        self.turn()
        try:
            return self.client.recv(4096)
        except BlockingIOError:
            return None

    def copy(self, ttl: int = 300, epoch: int | None = None) -> None:
        template = Template(WWW, Rcode.NOERROR, [Record(WWW, A, 1, ttl, b"\xc0\0\2\7")])
        ready = Ready(template, self.time, Nanos(self.time + ttl * SECOND))
        number = self.epoch.number if epoch is None else epoch
        self.daemon.send(pack_copy(number, key(), ready))
        assert self.worker._hear()

    def heard(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.daemon.recv(1 << 20))
            except BlockingIOError:
                return found

    def handed(self) -> list[Handed]:
        return [q for m in self.heard() if m[:1] == QUERIES for q in read_queries(m)]

    def told(self) -> list[Any]:
        return [read_told(m) for m in self.heard() if m[:1] == b"T"]


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(getattr(request, "param", "127.0.0.1"))
    yield made
    made.close()


def test_what_it_does_not_know_it_hands_on_as_it_came(bench: Bench) -> None:
    assert bench.ask() is None

    (handed,) = bench.handed()
    assert handed.wire == query()
    assert bench.page.handed_on == 1


@pytest.mark.parametrize("bench", ["0.0.0.0", "::"], indirect=True)
def test_it_says_which_address_was_asked_where_it_listens_on_all(bench: Bench) -> None:
    bench.ask()
    (handed,) = bench.handed()

    where = socket.inet_pton(bench.client.family, bench.client.getpeername()[0])
    assert where in handed.info


@pytest.mark.parametrize("bench", ["127.0.0.1", "::1", "0.0.0.0", "::"], indirect=True)
def test_what_it_has_a_copy_of_it_answers(bench: Bench) -> None:
    bench.copy()
    replies = [bench.ask(query(id)) for id in (1, 2, 3)]

    assert [reply and reply[:2] for reply in replies] == [b"\0\1", b"\0\2", b"\0\3"]
    assert not bench.handed()
    assert bench.page.answered == 3


def test_nothing_is_answered_by_a_copy_of_an_earlier_epoch(bench: Bench) -> None:
    bench.copy()
    assert bench.ask() is not None
    bench.epoch.next()

    assert bench.ask() is None
    assert len(bench.handed()) == 1


def test_a_copy_that_was_under_way_when_the_epoch_ended_is_not_taken(bench: Bench) -> None:
    old = bench.epoch.number
    bench.epoch.next()
    bench.copy(epoch=old)

    assert bench.ask() is None


def test_a_copy_of_the_next_epoch_stands_alone(bench: Bench) -> None:
    bench.copy()
    bench.epoch.next()
    bench.copy(ttl=200)

    assert bench.ask() is not None
    assert len(bench.worker.replica) == 1


def test_a_copy_ends_by_itself(bench: Bench) -> None:
    bench.copy(ttl=5)
    assert bench.ask() is not None
    bench.time = Nanos(bench.time + 5 * SECOND)

    assert bench.ask() is None


def test_what_is_used_in_its_last_part_is_asked_for_anew(bench: Bench) -> None:
    bench.copy(ttl=100)
    bench.ask()
    assert not bench.told()
    until = int(bench.time + 100 * SECOND)
    bench.time = Nanos(bench.time + 95 * SECOND)
    bench.ask()

    assert bench.told() == [{"renew": write_key(key()), "until": until}]


def test_counts_are_reported_once(bench: Bench) -> None:
    bench.copy()
    for _ in range(3):
        bench.ask()
    bench.worker._report()

    hits = {str(int(HOST)): 3}
    assert bench.told() == [{"hits": hits, "dropped": {}, "truncated": 0, "unsent": 0}]
    bench.ask()
    bench.worker._report()
    assert [told["hits"] for told in bench.told()] == [{str(int(HOST)): 1}]
    assert bench.page.answered == 4


def test_the_last_word_of_a_daemon_that_ends_is_understood(bench: Bench) -> None:
    bench.daemon.close()

    assert not bench.worker._hear()


def test_it_forgets_who_was_near_when_it_is_told(bench: Bench) -> None:
    bench.worker.neighbours.near.add(7)
    bench.daemon.send(FORGET)
    bench.worker._hear()

    assert not bench.worker.neighbours.near


def test_what_the_daemon_has_no_time_for_waits_in_the_socket(bench: Bench) -> None:
    bench.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    asked = 0
    while not bench.worker._outbox:
        bench.client.send(query(asked))
        asked += 1
        bench.turn()
    kept = len(bench.worker._outbox)

    bench.client.send(query(asked))
    heard = len(bench.handed())
    bench.worker._flush()
    heard += len(bench.handed())

    assert (kept, heard) == (1, asked)
    bench.turn()
    assert len(bench.handed()) == 1


def test_row_103_it_says_when_it_is_behind_and_what_it_can_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.listener.share(True)
    bench.worker.rates.allow(500)
    bench.listener.share(False)

    assert bench.told() == [{"share": 0, "on": True}, {"allow": 500}, {"share": 0, "on": False}]


def test_a_long_message_is_cut_in_two(bench: Bench) -> None:
    wires = [query(n) + bytes(3000) for n in range(60)]
    for wire in wires:
        bench.client.send(wire)
    bench.turn()

    messages = [m for m in bench.heard() if m[:1] == QUERIES]
    assert len(messages) > 1
    assert [q.wire for m in messages for q in read_queries(m)] == wires


def test_it_tells_only_what_json_can_carry(bench: Bench) -> None:
    """The daemon never unmarshals what a worker says."""
    bench.ask()
    bench.worker._report()

    kinds = {message[:1]: message for message in bench.heard()}
    assert set(kinds) == {QUERIES, b"T"}
    json.loads(kinds[b"T"][1:])


