"""Upstreams that cut, fail, lie about themselves or say nothing (ATTACKS 93, 107)."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, Forget, OpenThenReply, Reply, Transport
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play, Scene, rr

ARCOUNT = 11  # in a query of ours: its low octet


def test_row_93_a_cut_answer_is_asked_again_over_tcp_and_nothing_of_it_is_used(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.says(ask, rr("www.example.com", "A", "203.0.113.9"), tc=True)

    scene.expects(Forget, Ask)
    assert scene.ask.transport is Transport.TCP and scene.ask.upstream == ask.upstream
    assert not play.kernel.entries
    whole = play.says(scene.ask, rr("www.example.com", "A", "192.0.2.7")).expects(OpenThenReply)
    assert whole.reply.addresses == ["192.0.2.7"]


def test_a_silent_upstream_is_passed_over_and_its_late_answer_is_still_taken(
    stage: Begin,
) -> None:
    play = stage(ALLOW_EXAMPLE, upstreams=2)
    first = play.query("www.example.com").expects(Ask).ask

    second = play.after(seconds=0.8).expects(Ask).ask

    assert (first.upstream, second.upstream) == (0, 1)
    play.says(first, rr("www.example.com", "A", "192.0.2.7")).expects(OpenThenReply)
    play.says(second, rr("www.example.com", "A", "192.0.2.8")).nothing()


def test_an_upstream_that_fails_is_replaced_at_once_and_rests(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, upstreams=2)
    ask = play.query("www.example.com").expects(Ask).ask

    again = play.breaks(ask).expects(Forget, Ask).ask

    assert again.upstream == 1
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)
    assert play.query("api.example.com").expects(Ask).ask.upstream == 1
    play.answer("api.example.com", "192.0.2.7").expects(OpenThenReply)
    play.after(seconds=1).nothing()
    used, tried_out = play.query("next.example.com").expects(Ask, Ask).asks
    assert (used.upstream, tried_out.upstream) == (1, 0)  # nobody waits for the proof
    play.says(used, rr("next.example.com", "A", "192.0.2.7")).expects(OpenThenReply)
    play.says(tried_out, rr("next.example.com", "A", "192.0.2.8")).nothing()
    assert play.query("last.example.com").expects(Ask).ask.upstream == 0


def test_servfail_from_all_is_servfail_with_the_upstreams_own_reason(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, upstreams=2)
    ask = play.query("www.example.com").expects(Ask).ask

    play.says(ask, rcode=2).expects(Ask)
    scene = play.says(play.asking("www.example.com"), rcode=2, ede=(6, "bogus")).expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("SERVFAIL", 6)


def test_row_107_silence_is_servfail_before_the_client_gives_up(play: Play) -> None:
    play.query("www.example.com").expects(Ask)

    scene = play.after(seconds=4.9)

    scene.expects(Ask, Ask, Ask, Reply)
    assert (scene.reply.rcode, scene.reply.ede) == ("SERVFAIL", 22)


def test_an_upstream_older_than_edns_is_asked_without_it(play: Play) -> None:
    """RFC 6891, section 7: FORMERR or NOTIMP without an OPT record of its own."""
    ask = play.query("www.example.com").expects(Ask).ask

    again = refuses_edns(play, ask).expects(Ask).ask

    assert (again.upstream, again.transport) == (ask.upstream, ask.transport)
    assert (ask.wire[ARCOUNT], again.wire[ARCOUNT]) == (1, 0)
    play.says(again, rr("www.example.com", "A", "192.0.2.7")).expects(OpenThenReply)
    next_one = play.query("api.example.com").expects(Ask).ask
    assert next_one.wire[ARCOUNT] == 0  # known now
    play.says(next_one, rr("api.example.com", "A", "192.0.2.8")).expects(OpenThenReply)
    play.after(seconds=700).expects(Close)
    assert play.query("later.example.com").expects(Ask).ask.wire[ARCOUNT] == 1  # it may be new


def test_formerr_without_edns_too_is_an_answer_to_give_up_at(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask
    again = refuses_edns(play, ask).expects(Ask).ask

    scene = refuses_edns(play, again).expects(Reply)

    assert scene.reply.rcode == "SERVFAIL"
    assert play.query("api.example.com").expects(Ask).ask.wire[ARCOUNT] == 1  # no proof of age


def test_formerr_of_one_that_knows_edns_is_not_asked_again(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    assert play.says(ask, rcode=1).expects(Reply).reply.rcode == "SERVFAIL"


def refuses_edns(play: Play, ask: Ask, rcode: int = 1) -> Scene:
    """FORMERR as a server of 1998 says it: the header and the question."""
    question = ask.wire[12:][: len(ask.wire[12:]) - (11 if ask.wire[ARCOUNT] else 0)]
    flags = (0x8180 | rcode).to_bytes(2, "big")
    return play.upstream(ask, ask.wire[:2] + flags + b"\0\1\0\0\0\0\0\0" + question)


def test_no_route_is_servfail_with_network_error(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.breaks(ask, "no route to host").expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("SERVFAIL", 23)


def test_row_107_a_failure_is_remembered_a_second_and_then_twice_as_long(play: Play) -> None:
    """RFC 9520."""
    play.breaks(play.query("www.example.com").expects(Ask).ask).expects(Reply)

    assert play.query("www.example.com").expects(Reply).reply.rcode == "SERVFAIL"
    play.after(seconds=1).nothing()
    play.breaks(play.query("www.example.com").expects(Ask).ask).expects(Reply)
    play.after(seconds=1).nothing()
    play.query("www.example.com").expects(Reply)
    play.after(seconds=1).nothing()
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)


def test_a_slow_name_does_not_make_its_upstream_rest(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, upstreams=2)
    play.query("slow.example.com").expects(Ask)
    play.query("fast.example.com").expects(Ask)
    play.answer("fast.example.com", "192.0.2.7").expects(OpenThenReply)

    play.after(seconds=0.8).expects(Ask)

    assert play.query("next.example.com").expects(Ask).ask.upstream == 0


def test_without_upstreams_a_query_fails_at_once(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, upstreams=0)

    assert play.query("www.example.com").expects(Reply).reply.rcode == "SERVFAIL"


def test_row_93_a_tcp_answer_that_is_cut_is_no_answer(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask
    over_tcp = play.says(ask, tc=True).expects(Ask).ask

    scene = play.says(over_tcp, tc=True).expects(Reply)

    assert scene.reply.rcode == "SERVFAIL"


def test_at_most_three_tries_of_one_question_are_open_at_once(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, upstreams=5)
    play.query("www.example.com")

    play.after(seconds=4)

    assert len(play.open_asks) <= 3
    play.after(seconds=1)
    assert not play.open_asks
    play.unexpected.clear()


def test_row_123_the_ad_bit_of_an_upstream_that_anyone_could_be_is_not_passed_on(
    play: Play,
) -> None:
    ask = play.query("www.example.com", do=True).expects(Ask).ask

    scene = play.says(ask, rr("www.example.com", "A", "192.0.2.7"), ad=True)

    assert not scene.expects(OpenThenReply).reply.message.ad
    play.after(seconds=310).expects(Close)
