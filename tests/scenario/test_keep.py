"""`keep: true`: open before anybody asks, and again before it ends."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from dnsfw.model import SECOND, Lockdown
from tests.scenario.conftest import Begin
from tests.support.play import Play, query_of

KEPT = """
version: 1
default: deny
rules:
  - allow: db.example.com:5432
    keep: true
    ttl: {grace: 5s}
  - allow: "*.example.com:443"
"""


def wake(play: Play) -> list[Ask]:
    """Ring the engine's alarm; returns what it asks."""
    due = play.engine.next_deadline()
    assert due is not None
    scene = play.until(max(due, play.now))
    play.unexpected.clear()
    return [effect for effect in scene.effects if isinstance(effect, Ask)]


def asks(play: Play, count: int) -> list[Ask]:
    found: list[Ask] = []
    for _ in range(20):
        if len(found) < count:
            found += wake(play)
    return found


def test_a_kept_name_is_open_before_anybody_asked(stage: Begin) -> None:
    play = stage(KEPT)

    first, second = asks(play, 2)

    assert {query_of(ask).qtype for ask in (first, second)} == {1, 28}
    scene = play.answer("db.example.com", "192.0.2.5", ttl=60).expects(OpenThenReply)
    assert not scene.heard
    assert play.lets("192.0.2.5", 5432)
    play.query("db.example.com").expects(Reply)  # and its answer is ready for a stub


def test_it_is_renewed_before_it_ends_and_the_grant_has_no_gap(stage: Begin) -> None:
    play = stage(KEPT)
    for _ in range(5):
        for ask in asks(play, 1):
            if query_of(ask).qtype == 1:
                play.answer("db.example.com", "192.0.2.5", ttl=60).expects(OpenThenReply)
                since = play.now
            else:
                play.says(ask)
            play.unexpected.clear()
        assert play.lets("192.0.2.5", 5432)
    assert play.now - since <= 60 * SECOND


def test_no_more_look_ups_at_once_than_the_limit(stage: Begin) -> None:
    rules = "".join(f"  - {{allow: n{n}.org, keep: true}}\n" for n in range(50))
    limits = Limits(keeps_at_once=4, keeps_a_second=10)
    play = stage("version: 1\ndefault: deny\nrules:\n" + rules, limits=limits)
    began = play.now

    asked = asks(play, 4)

    assert len(asked) == 4 and len(play.open_asks) == 4
    assert play.now - began >= 3 * SECOND // 10


def test_nothing_is_looked_up_in_a_lockdown(stage: Begin) -> None:
    play = stage(KEPT)
    play.does(play.engine.set_lockdown(Lockdown.ON, play.now))

    assert play.engine.next_deadline() is None


def test_a_reload_that_takes_it_out_ends_the_look_ups(stage: Begin) -> None:
    play = stage(KEPT)
    asks(play, 2)

    play.swap(KEPT.replace("    keep: true\n", ""))

    assert play.engine.stats()["kept"] == 0 and not play.open_asks
