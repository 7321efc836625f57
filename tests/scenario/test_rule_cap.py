"""A cap for each rule: the expired go first, the living never, and the client hears what is open.

ATTACKS row 110.
"""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, Note, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from tests.scenario.conftest import Begin
from tests.support.play import Play, rr

CAPPED = """
version: 1
default: deny
rules:
  - allow: "*.cdn.net:443"
    addresses: 3
    ttl: {min: 5s, grace: 10s}
  - allow: other.org:443
"""


def ask(play: Play, name: str, *addrs: str, ttl: int = 300) -> list[str]:
    play.query(name).expects(Ask)
    return play.answer(name, *addrs, ttl=ttl).expects(OpenThenReply).reply.addresses


def test_row_110_a_full_cap_trims_the_answer_to_what_is_open_and_evicts_nobody(
    stage: Begin,
) -> None:
    play = stage(CAPPED)
    assert ask(play, "a.cdn.net", "192.0.2.1", "192.0.2.2") == ["192.0.2.1", "192.0.2.2"]

    told = ask(play, "b.cdn.net", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")

    assert told == ["192.0.2.2", "192.0.2.3"]
    assert all(play.lets(f"192.0.2.{n}") for n in (1, 2, 3))
    assert not play.lets("192.0.2.4")


def test_row_110_an_answer_of_which_nothing_fits_is_servfail_and_an_event(stage: Begin) -> None:
    play = stage(CAPPED)
    ask(play, "a.cdn.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    play.query("b.cdn.net").expects(Ask)

    scene = play.answer("b.cdn.net", "192.0.2.9").expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("SERVFAIL", 0)
    (note,) = [effect for effect in scene.effects if isinstance(effect, Note)]
    assert (note.kind, "the rule holds" in note.text) == ("table-full", True)


def test_row_110_one_rule_at_its_cap_takes_nothing_from_another(stage: Begin) -> None:
    play = stage(CAPPED)
    ask(play, "a.cdn.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")

    assert ask(play, "other.org", "192.0.2.9") == ["192.0.2.9"]


def test_row_110_expired_grants_go_first(stage: Begin) -> None:
    play = stage(CAPPED)
    ask(play, "a.cdn.net", "192.0.2.1", "192.0.2.2", "192.0.2.3", ttl=5)
    query = play.query("b.cdn.net").expects(Ask).ask
    play.now += 16 * 10**9  # nobody woke the engine meanwhile

    scene = play.says(query, rr("b.cdn.net", "A", "192.0.2.9")).expects(OpenThenReply)
    play.unexpected.clear()

    assert scene.reply.addresses == ["192.0.2.9"]
    assert play.lets("192.0.2.9")


def test_row_110_a_name_that_flips_its_address_renews_what_it_has(stage: Begin) -> None:
    """A CDN answers from a pool: what is open is told again, and lives longer."""
    play = stage(CAPPED, limits=Limits(front=1, answer_bytes=1))
    for n in range(40):
        play.query("a.cdn.net").expects(Ask)
        addrs = [f"192.0.2.{(n + k) % 5}" for k in range(3)]
        scene = play.answer("a.cdn.net", *addrs, ttl=1)
        play.unexpected.clear()
        for addr in scene.reply.addresses:
            assert play.lets(addr)
        play.now += 2 * 10**9
    assert len(play.kernel.entries) <= 3


def test_a_lower_cap_in_a_new_policy_takes_nothing_away(stage: Begin) -> None:
    play = stage(CAPPED)
    ask(play, "a.cdn.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")

    play.swap(CAPPED.replace("addresses: 3", "addresses: 1"))

    assert all(play.lets(f"192.0.2.{n}") for n in (1, 2, 3))
    play.after(seconds=320).expects(Close)
    assert ask(play, "b.cdn.net", "192.0.2.7", "192.0.2.8") == ["192.0.2.7"]
