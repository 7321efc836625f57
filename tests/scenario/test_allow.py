"""An allowed name: asked once, opened, then told."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.model import SECOND
from tests.support.play import Play, query_of, rr


def test_reply_waits_for_the_grant(play: Play) -> None:
    play.query("www.example.com", "A").expects(Ask)

    scene = play.answer("www.example.com", "192.0.2.7", ttl=60).expects(OpenThenReply)

    assert scene.reply.addresses == ["192.0.2.7"]
    assert play.lets("192.0.2.7", 443)
    play.after(seconds=71).expects(Close)
    assert not play.kernel.entries


def test_a_grant_has_the_ports_of_its_rule_and_no_other(play: Play) -> None:
    play.query("www.example.com").expects(Ask)

    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)

    assert play.lets("192.0.2.7", 443, proto=17)
    assert not play.lets("192.0.2.7", 80)
    assert not play.lets("192.0.2.7", 0, proto=1)


def test_a_grant_lasts_ttl_plus_grace(play: Play) -> None:
    play.query("www.example.com").expects(Ask)

    play.answer("www.example.com", "192.0.2.7", ttl=60).expects(OpenThenReply)

    (grant,) = play.grants("192.0.2.7")
    assert grant.until == play.now + 70 * SECOND


def test_the_question_goes_out_in_lower_case_with_nothing_of_the_client(play: Play) -> None:
    scene = play.query("wWw.ExAmple.com", id=7).expects(Ask)

    query = query_of(scene.ask)

    assert b"www\x07example\x03com" in query.question
    assert query.id != 7
    assert query.edns is not None and query.edns.options == ()


def test_every_ask_has_a_fresh_id(play: Play) -> None:
    first = play.query("a.example.com").expects(Ask).ask
    second = play.query("b.example.com").expects(Ask).ask

    assert query_of(first).id != query_of(second).id


def test_do_and_cd_are_passed_on(play: Play) -> None:
    scene = play.query("www.example.com", do=True, cd=True).expects(Ask)

    query = query_of(scene.ask)

    assert query.do and query.cd


def test_an_answer_too_big_for_the_client_is_truncated_and_comes_whole_over_tcp(
    play: Play,
) -> None:
    addrs = [f"198.51.100.{n}" for n in range(60)]
    play.query("www.example.com", size=512).expects(Ask)

    cut = play.answer("www.example.com", *addrs).expects(OpenThenReply).reply

    assert cut.message.tc and not cut.message.answers
    whole = play.query("www.example.com", tcp=True).expects(Reply).reply
    assert whole.addresses == addrs


def test_another_type_is_answered_without_any_grant(play: Play) -> None:
    ask = play.query("www.example.com", "MX").expects(Ask).ask
    mail = rr("www.example.com", "MX", b"\0\x0a\x04mail\x04evil\x03com\0")

    scene = play.says(ask, mail).expects(Reply)

    assert scene.reply.types == [15]
    assert not play.kernel.entries
