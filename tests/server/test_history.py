"""What is kept of the past, and that no flood makes it grow."""

from __future__ import annotations

from dnsfw.engine.effects import Client, Holder, Note, OpenThenReply, Reply, Transport
from dnsfw.model import HOST, Nanos, Reason, RoleId, RuleId, Verdict, addr_from
from dnsfw.server.history import History
from dnsfw.server.who_asks import NOBODY, Who
from dnsfw.wire.name import from_text

NAME = from_text("www.example.com")
ADDR = addr_from("192.0.2.7")
WEB = RoleId(16)


def note(name: str = "bad.example", role: RoleId = HOST) -> Note:
    return Note("refused", Verdict.DENY, Reason.BY_NAME, role, from_text(name), RuleId(7))


def opening(name: str, addr: str, until: int = 100, role: RoleId = HOST) -> OpenThenReply:
    client = Client(None, role, Transport.UDP, "10.0.0.2")
    chain = (from_text("edge.example"),)
    holder = Holder(role, addr_from(addr), from_text(name), RuleId(9), Nanos(until), chain)
    return OpenThenReply((), (holder,), (Reply(client, b""),))


def test_an_event_is_found_by_the_number_that_it_was_given() -> None:
    history = History()
    first, second = history.happened(note("a.example")), history.happened(note("b.example"))

    seen = history.event(second)

    assert (first, second) == (1, 2)
    assert seen is not None and seen.what == note("b.example")
    assert history.event(3) is None


def test_what_a_name_opened_is_known_with_who_asked_and_how_often() -> None:
    clock = iter((10.0, 20.0))
    who = Who("10.0.0.2", "udp", 1000)
    history = History(wall=lambda: next(clock), who=lambda client: who)
    history.opened([opening("www.example.com", "192.0.2.7", 100)])
    history.opened([opening("www.example.com", "192.0.2.7", 90)])

    (item,) = history.learnt(HOST, name=NAME)

    assert (item.first, item.last, item.times, item.until) == (10.0, 20.0, 2, 100)
    assert item.who == who
    assert list(history.learnt(HOST, addr=ADDR)) == [item]
    assert list(history.learnt(HOST, name=from_text("edge.example"))) == [item]
    assert not list(history.learnt(WEB, name=NAME))


def test_a_refusal_says_to_whom_it_went_last() -> None:
    last = Who("10.0.0.3", "tcp", 7)
    known = iter((Who("10.0.0.2", "udp"), last, NOBODY))
    history = History(who=lambda client: next(known))
    for _ in range(3):
        history.happened(note())

    found = history.refused(HOST, from_text("bad.example"))

    assert found is not None and (found.count, found.who) == (3, last)


def test_numbers_go_on_after_those_of_an_earlier_run() -> None:
    history = History()
    history.begin_at(40)

    assert history.happened(note()) == 41
    history.begin_at(7)
    assert history.happened(note()) == 42


def test_refusals_are_counted_for_each_role_apart() -> None:
    history = History()
    for role in (HOST, HOST, WEB):
        history.happened(note(role=role))

    found = history.refused(HOST, from_text("bad.example"))

    assert found is not None and found.count == 2


def test_row_105_a_flood_of_names_does_not_make_it_grow() -> None:
    history = History(events=10, learnt=10, refused=10)
    history.opened([opening("www.example.com", "192.0.2.7")])
    for n in range(1000):
        history.happened(note(f"r{n}.example"))

    assert len(history) == 21
    assert list(history.learnt(HOST, name=NAME)), "refusals pushed out what was opened"
    for n in range(1000):
        history.opened([opening(f"r{n}.example", "192.0.2.8")])
    assert len(history) == 30
