"""Questions in flight: found by question, by ask and by time."""

from __future__ import annotations

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Ask, AskId, Client, Transport
from dnsfw.engine.limits import CLIENT_PATIENCE, Limits
from dnsfw.engine.pending import MAX_TRIES, Pending, Table
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.wire import message, reply
from dnsfw.wire.message import Query
from dnsfw.wire.name import from_text

NOW = Nanos(1000 * SECOND)
LATER = Nanos(1001 * SECOND)


def query(id: int = 1, name: str = "x.net") -> Query:
    return message.read_query(reply.write_query(id, from_text(name), 1))


def opened(table: Table, name: str = "x.net", *, closing: bool = False) -> Pending:
    one = query(name=name)
    return table.open(CacheKey.of(HOST, one), one.name, one.qtype, NOW, closing)


def client(route: int) -> Client:
    return Client(route, HOST, Transport.UDP)


def ask(number: int) -> Ask:
    return Ask(AskId(number), 0, Transport.UDP, b"", NOW)


def test_a_question_is_found_by_its_key_and_by_its_asks() -> None:
    table = Table(Limits())
    pending = opened(table)
    table.asked(pending, ask(7), NOW, LATER)

    assert table.find(pending.key) is pending and table.by_ask(AskId(7)) is pending
    assert table.find(pending.key, closing=True) is None


def test_our_own_look_up_and_a_clients_question_are_two() -> None:
    table = Table(Limits())

    assert opened(table) is not opened(table, closing=True)
    assert len(table) == 2


def test_closing_a_question_forgets_its_asks() -> None:
    table = Table(Limits())
    pending = opened(table)
    table.asked(pending, ask(7), NOW, LATER)
    table.schedule(pending)

    assert table.close(pending) == [7]
    assert table.by_ask(AskId(7)) is None and len(table) == 0 and table.next_wake() is None


def test_the_oldest_try_makes_room_for_one_too_many() -> None:
    table = Table(Limits())
    pending = opened(table)
    for number in range(MAX_TRIES):
        assert table.asked(pending, ask(number), NOW, LATER) == []

    assert table.asked(pending, ask(99), NOW, LATER) == [0]
    assert table.by_ask(AskId(0)) is None


def test_a_client_counts_once_and_too_many_do_not_fit() -> None:
    table = Table(Limits(waiters=2))
    pending = opened(table)

    assert table.join(pending, client(1), query(1), NOW)
    assert table.join(pending, client(1), query(1), NOW)
    assert table.join(pending, client(1), query(2), NOW)
    assert not table.join(pending, client(2), query(1), NOW)
    assert table.join(pending, client(1), query(2), NOW)


def test_each_client_keeps_its_own_patience() -> None:
    table = Table(Limits())
    pending = opened(table)
    table.join(pending, client(1), query(), NOW)
    later = Nanos(NOW + SECOND)
    table.join(pending, client(2), query(), later)

    gone = pending.late(Nanos(NOW + CLIENT_PATIENCE))

    assert [w.client.route for w in gone] == [1]
    assert [w.client.route for w in pending.waiters.values()] == [2]
    assert pending.until == later + CLIENT_PATIENCE


def test_it_wakes_at_the_earliest_of_try_patience_and_end() -> None:
    table = Table(Limits())
    pending = opened(table)
    table.join(pending, client(1), query(), NOW)
    pending.next_try = Nanos(NOW + SECOND)
    table.schedule(pending)
    assert table.next_wake() == NOW + SECOND

    pending.next_try = Nanos(NOW + 99 * SECOND)
    table.schedule(pending)

    assert table.next_wake() == NOW + CLIENT_PATIENCE
    assert list(table.due(Nanos(NOW + SECOND))) == []
    assert list(table.due(Nanos(NOW + CLIENT_PATIENCE))) == [pending]
    assert table.next_wake() is None


def test_stale_timers_are_thrown_away() -> None:
    table = Table(Limits())
    pending = opened(table)
    for n in range(1000):
        pending.next_try = Nanos(NOW + SECOND + n)
        table.schedule(pending)

    assert len(table._timers) <= 4 * len(table) + 65
    assert table.next_wake() == NOW + SECOND + 999


def test_full_is_full() -> None:
    table = Table(Limits(pending=1))
    assert table.room.left(HOST)
    pending = opened(table)

    assert not table.room.left(HOST)
    table.close(pending)
    assert table.room.left(HOST)
