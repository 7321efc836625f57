"""Datagrams by the batch: what comes in is read as `recvmsg` reads it, what goes out arrives."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dnsfw.engine.replies import LONGEST
from dnsfw.server.batch import OCTETS, Batch, Outbox, able
from dnsfw.server.udp_socket import read_control

_RCVMARK, _PKTINFO, _PKTINFO6 = 75, 8, 49
FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

pytestmark = pytest.mark.skipif(not able(), reason="no batches on this machine")


@contextmanager
def pair(family: int = socket.AF_INET, *, wildcard: bool = False) -> Iterator[
    tuple[socket.socket, socket.socket]
]:
    """A listener as `UdpListener` prepares it, and a client that is connected to it."""
    with (
        socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as one,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        one.setsockopt(socket.SOL_SOCKET, _RCVMARK, 1)
        if wildcard and family == socket.AF_INET:
            one.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
        elif wildcard:
            one.setsockopt(socket.IPPROTO_IPV6, _PKTINFO6, 1)
        one.bind(("" if wildcard else FAMILIES[family], 0))
        client.settimeout(2)
        client.connect((FAMILIES[family], one.getsockname()[1]))
        yield one, client


@pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
@pytest.mark.parametrize("wildcard", [False, True], ids=["one", "any"])
def test_what_was_sent_stands_in_its_slot(family: int, wildcard: bool) -> None:
    with pair(family, wildcard=wildcard) as (one, client):
        batch = Batch(family, wildcard, 4, 600)
        sent = [b"q", b"id" + b"x" * LONGEST, b"long" * 120]
        for wire in sent:
            client.send(wire)

        assert batch.receive(one.fileno()) == 3
        assert batch.lengths == [len(wire) for wire in sent]
        assert [batch.wire(i, len(wire)) for i, wire in enumerate(sent)] == sent
        assert batch.heads[LONGEST : 2 * LONGEST] == sent[1][2:]
        assert [batch.peer(i) for i in range(3)] == [client.getsockname()] * 3
        assert not batch.odd
        assert batch.receive(one.fileno()) == 0


def test_each_datagram_has_its_own_mark() -> None:
    """Root's to set: the hooks do it."""
    with pair() as (one, client):
        batch = Batch(socket.AF_INET, False, 8, 600)
        for mark in (7, 0, 255):
            try:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            except PermissionError:
                pytest.skip("not root")
            client.send(b"query")

        batch.receive(one.fileno())

        assert batch.marks == [7, 0, 255]
        assert [batch.control(i)[0][2] for i in range(3)] == [b"\7\0\0\0", bytes(4), b"\xff\0\0\0"]


@pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
@pytest.mark.parametrize("wildcard", [False, True], ids=["one", "any"])
def test_replies_go_to_the_slots_they_are_aimed_at(family: int, wildcard: bool) -> None:
    """The id comes from the slot, the tail from whoever keeps it."""
    with pair(family, wildcard=wildcard) as (one, client):
        batch = Batch(family, wildcard, 8, 600)
        for _ in range(2):  # the second time every buffer has been used
            for wire in (b"AAquery", b"BBquery", b"CCquery"):
                client.send(wire)
            batch.receive(one.fileno())
            tails = b"first", b"second"
            for reply, (slot, tail) in enumerate(zip((0, 2), tails, strict=True)):
                batch.aim(reply, slot)
                batch.out[4 * reply + 2] = id(tail) + OCTETS
                batch.out[4 * reply + 3] = len(tail)

            assert batch.send(one.fileno(), 2) == 0
            assert [client.recv(100) for _ in range(2)] == [b"AAfirst", b"CCsecond"]


def test_one_reply_that_cannot_go_does_not_keep_the_others() -> None:
    with pair() as (one, client):
        batch = Batch(socket.AF_INET, False, 8, 600)
        for wire in (b"AAquery", b"BBquery", b"CCquery"):
            client.send(wire)
        batch.receive(one.fileno())
        large, small = bytes(70_000), b"small"
        for reply, tail in enumerate((small, large, small)):
            batch.out[4 * reply + 2] = id(tail) + OCTETS
            batch.out[4 * reply + 3] = len(tail)

        assert batch.send(one.fileno(), 3) == 1
        assert [client.recv(100) for _ in range(2)] == [b"AAsmall", b"CCsmall"]


def test_a_batch_is_odd_when_something_was_cut() -> None:
    with pair() as (one, client):
        batch = Batch(socket.AF_INET, False, 8, 300)
        client.send(bytes(300))
        client.send(bytes(301))
        batch.receive(one.fileno())

        assert batch.odd
        assert [batch.cut(0), batch.cut(1)] == [False, True]


def test_a_batch_without_marks_is_odd_not_read_as_the_one_before() -> None:
    """What an older datagram left in the slot must never say who sent this one."""
    with pair() as (one, client):
        batch = Batch(socket.AF_INET, False, 8, 600)
        client.send(b"query")
        batch.receive(one.fileno())
        one.setsockopt(socket.SOL_SOCKET, _RCVMARK, 0)
        client.send(b"query")
        batch.receive(one.fileno())

        assert batch.odd
        assert batch.control(0) == []


@pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
def test_senders_are_counted_by_address_not_by_port(family: int) -> None:
    with pair(family) as (one, client), pair(family) as (_, other):
        batch = Batch(family, False, 8, 600)
        other.connect(client.getpeername())
        client.send(b"query")
        other.send(b"query")
        batch.receive(one.fileno())

        assert len(batch.senders) == 1

    if family == socket.AF_INET:
        with pair() as (one, client), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            batch = Batch(family, False, 8, 600)
            far.bind(("127.0.0.9", 0))
            far.sendto(b"query", client.getpeername())
            client.send(b"query")
            batch.receive(one.fileno())

            assert len(batch.senders) == 2


@pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
@pytest.mark.parametrize("wildcard", [False, True], ids=["one", "any"])
def test_an_outbox_sends_to_whoever_asked_from_the_address_that_was_asked(
    family: int, wildcard: bool
) -> None:
    with pair(family, wildcard=wildcard) as (one, client):
        batch, outbox = Batch(family, wildcard, 4, 600), Outbox(2)
        client.send(b"who?")
        assert batch.receive(one.fileno()) == 1
        source = read_control(batch.control(0))[1]
        assert (source is not None) is wildcard

        said = [b"reply %d" % number for number in range(5)]
        assert not outbox.send(one.fileno(), [(wire, batch.name(0), source) for wire in said])

        assert [client.recv(100) for _ in said] == said
        assert batch.address(0) == FAMILIES[family]


def test_what_an_outbox_cannot_send_is_counted_and_the_others_go() -> None:
    with pair() as (one, client):
        batch = Batch(socket.AF_INET, False, 4, 600)
        client.send(b"who?")
        batch.receive(one.fileno())
        good, nobody = batch.name(0), b"\2\0" + bytes(14)  # port 0

        lost = Outbox(4).send(one.fileno(), [(b"a", good, None), (b"b", nobody, None),
                                             (b"c", good, None)])

        assert lost == 1
        assert [client.recv(100) for _ in "ac"] == [b"a", b"c"]
        assert Outbox(4).send(-1, [(b"a", good, None)]) == 1
