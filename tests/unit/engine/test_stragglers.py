"""Upstreams that were overtaken are still watched."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Forget, Note, OpenThenReply
from dnsfw.engine.limits import TRY_PATIENCE
from dnsfw.model import SECOND
from tests.support.play import Play, begin, rr

ALLOW = "version: 1\ndefault: deny\nrules: [{allow: '*.example.com'}]\n"


def measured(seconds: float = 0.02) -> Play:
    """Two upstreams of which the first is known to answer in that time."""
    play = begin(ALLOW, upstreams=2)
    for number in range(40):
        ask = play.query(f"n{number}.example.com").ask
        play.now = type(play.now)(play.now + int(seconds * SECOND))
        play.says(ask, rr(f"n{number}.example.com", "A", "192.0.2.7"))
    play.forget()
    return play


def hedged(play: Play) -> tuple[Ask, Ask]:
    play.after(0.001)
    first = play.query("slow.example.com").expects(Ask).ask
    return first, play.after(0.06).expects(Ask).ask


def test_a_late_answer_leads_to_the_next_upstream_and_the_first_to_answer_wins() -> None:
    play = measured()
    first, second = hedged(play)

    assert (first.upstream, second.upstream) == (0, 1)
    scene = play.says(second, rr("slow.example.com", "A", "192.0.2.8"))
    scene.expects(Forget, OpenThenReply)
    assert [e.ask for e in scene.effects if isinstance(e, Forget)] == [second.ask]


def test_the_overtaken_one_is_heard_and_measured_and_then_forgotten() -> None:
    play = measured()
    first, second = hedged(play)
    play.says(second, rr("slow.example.com", "A", "192.0.2.8"))
    before = play.engine.upstreams(play.now)[0]

    scene = play.says(first, rr("slow.example.com", "A", "192.0.2.9"))

    scene.expects(Forget)
    after = play.engine.upstreams(play.now)[0]
    assert after.answered == before.answered + 1
    assert after.latency is not None and before.latency is not None
    assert after.latency > before.latency
    assert not play.grants("192.0.2.9")  # and nothing was learnt from it


def test_an_overtaken_one_that_stays_silent_has_failed() -> None:
    play = measured()
    first, second = hedged(play)
    play.says(second, rr("slow.example.com", "A", "192.0.2.8"))

    scene = play.after(TRY_PATIENCE / SECOND)

    assert scene.note("upstream-failed").upstream == first.upstream
    assert first.ask in [e.ask for e in scene.effects if isinstance(e, Forget)]
    assert play.query("next.example.com").ask.upstream == 1


def test_junk_for_an_overtaken_one_is_no_answer() -> None:
    play = measured()
    first, second = hedged(play)
    play.says(second, rr("slow.example.com", "A", "192.0.2.8"))

    play.upstream(first, b"junk" * 8).nothing()
    play.upstream(first, bytes([first.wire[0] ^ 1]) + first.wire[1:]).nothing()

    assert first.ask in play.open_asks


def test_a_broken_way_of_an_overtaken_one_is_a_failure() -> None:
    play = measured()
    first, second = hedged(play)
    play.says(second, rr("slow.example.com", "A", "192.0.2.8"))

    scene = play.breaks(first)

    assert [type(e) for e in scene.effects] == [Forget, Note]


def test_with_an_empty_budget_a_slow_upstream_is_waited_for() -> None:
    play = measured()
    while play.engine._lookups.upstreams.may_hedge(0):
        pass
    play.after(0.001)
    play.query("slow.example.com").expects(Ask)

    play.after(0.7).nothing()
    play.after(0.2).expects(Ask)  # that is no hedge: it counts as a failure
    play.forget()


def test_one_upstream_alone_is_not_hedged() -> None:
    play = begin(ALLOW)
    play.says(play.query("a.example.com").ask, rr("a.example.com", "A", "192.0.2.7"))
    play.query("slow.example.com").expects(Ask)

    play.after(0.7).nothing()


def test_a_stream_is_never_asked_over_udp() -> None:
    play = begin(ALLOW, upstreams=2, streams=frozenset({0, 1}))

    ask = play.query("a.example.com").ask
    again = play.breaks(ask).ask

    assert {ask.transport.value, again.transport.value} == {"tcp"}
    assert play.after(5).asks == [] or {a.transport.value for a in play.sent} == {"tcp"}
    play.forget()
