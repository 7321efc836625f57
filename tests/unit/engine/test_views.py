"""What people ask of the engine."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply
from dnsfw.model import HOST, addr_from
from dnsfw.wire.name import from_text
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
