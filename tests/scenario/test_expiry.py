"""Deadlines: TTL plus grace, floors and caps, and never earlier than promised (promise 2)."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, Close, OpenThenReply
from dnsfw.model import HOST, SECOND, addr_from
from dnsfw.wire.name import from_text
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play

SHORT = ALLOW_EXAMPLE.replace(
    '- allow: "*.example.com:443"',
    '- allow: "*.example.com:443"\n    ttl: {min: 5s, max: 100s, grace: 7s}',
)


@pytest.mark.parametrize(
    ("ttl", "told", "lasts"),
    [
        (0, 0, 12),  # ATTACKS 109: 0 is kept for the client, the map has a floor
        (1, 1, 12),
        (5, 5, 12),
        (60, 60, 67),
        (100, 100, 107),
        (86_400, 100, 107),  # the answer is held to the rule's max, and so is the grant
        (2**31 - 1, 100, 107),
    ],
)
def test_row_109_ttls_are_clamped(stage: Begin, ttl: int, told: int, lasts: int) -> None:
    play = stage(SHORT)
    play.query("www.example.com").expects(Ask)

    scene = play.answer("www.example.com", "192.0.2.7", ttl=ttl).expects(OpenThenReply)

    assert scene.reply.ttls == [told]
    (grant,) = play.grants("192.0.2.7")
    assert grant.until - play.now == lasts * SECOND


def test_an_answer_with_ttl_0_is_not_cached(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=0).expects(OpenThenReply)

    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=0).expects(OpenThenReply)


def test_a_renewed_grant_keeps_the_later_deadline(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=300).expects(OpenThenReply)
    (before,) = play.grants("192.0.2.7")

    play.query("www.example.com", cd=True).expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=5).expects(OpenThenReply)

    assert play.grants("192.0.2.7") == [before]


def test_the_sweep_deletes_what_has_ended_and_nothing_else(play: Play) -> None:
    play.query("a.example.com").expects(Ask)
    play.answer("a.example.com", "192.0.2.7", ttl=10).expects(OpenThenReply)
    play.query("b.example.com").expects(Ask)
    play.answer("b.example.com", "192.0.2.8", ttl=60).expects(OpenThenReply)

    play.after(seconds=20).expects(Close)

    assert not play.lets("192.0.2.7") and play.lets("192.0.2.8")
    play.after(seconds=51).expects(Close)
    assert not play.kernel.entries
    assert play.engine.next_deadline() is None


def test_row_116_who_held_an_address_is_known_after_its_grant_has_ended(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=10).expects(OpenThenReply)
    play.after(seconds=3600).expects(Close)

    names = play.engine.last_names(HOST, addr_from("192.0.2.7"))

    assert names == (from_text("www.example.com"),)
