"""What people ask of the engine."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply
from dnsfw.model import HOST, RoleId, addr_from
from dnsfw.wire.message import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.play import begin


def test_an_address_and_its_name_are_found_both_ways() -> None:
    play = begin("version: 1\ndefault: deny\nrules: [allow: a.com]\n")
    play.query("a.com").expects(Ask)
    play.answer("a.com", "192.0.2.7").expects(OpenThenReply)
    addr, name, engine = addr_from("192.0.2.7"), from_text("a.com"), play.engine

    assert engine.addresses(HOST, name) == (addr,)
    assert engine.last_names(HOST, addr) == (name,)
    assert [row.names for row in engine.grants(play.now)] == [(name,)]
    assert engine.granted(HOST, addr)[0].until > play.now
    assert (engine.asked(HOST), engine.held(HOST), engine.stats()["grants"]) == (1, 1, 1)


def wire(name: str = "a.com", size: int = 1232) -> bytes:
    return write_query(7, from_text(name), A, size=size)


def test_what_was_answered_may_be_copied_until_it_ends() -> None:
    play = begin("version: 1\ndefault: deny\nrules: [allow: a.com]\n")
    assert play.engine.copy(wire(), HOST, play.now) is None
    play.query("a.com").expects(Ask)
    play.answer("a.com", "192.0.2.7").expects(OpenThenReply)
    found = play.engine.copy(wire(), HOST, play.now)

    assert found is not None
    key, ready = found
    assert (key.role, key.key) == (HOST, from_text("a.com") + b"\0\1\0\1")
    assert play.engine.copy(wire(), HOST, ready.until) is None
    assert play.engine.copy(wire(), RoleId(77), play.now) is None
    assert play.engine.copy(b"junk", HOST, play.now) is None


def test_what_has_to_be_told_of_each_time_is_not_copied() -> None:
    """In audit every answer to a name that would be refused is news."""
    play = begin("version: 1\ndefault: deny\nmode: audit\nrules: [allow: a.com]\n")
    for name in ("a.com", "b.com"):
        play.query(name).expects(Ask)
        play.answer(name, "192.0.2.7")

    found = {name: play.engine.copy(wire(name), HOST, play.now) for name in ("a.com", "b.com")}
    assert found["b.com"] is None


def test_what_is_refused_is_not_copied() -> None:
    play = begin("version: 1\ndefault: deny\nrules: [allow: a.com]\n")
    for _ in range(3):
        play.query("b.com")

    assert play.engine.copy(wire("b.com"), HOST, play.now) is None
