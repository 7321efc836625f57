"""An allowed name: asked once, opened, then told."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.model import SECOND, Nanos
from dnsfw.wire import reply
from dnsfw.wire.name import from_text
from tests.support.play import Play, query_of, rr


def test_row_112_reply_waits_for_the_grant(play: Play) -> None:
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


def test_row_93_an_answer_too_big_for_the_client_is_truncated_and_comes_whole_over_tcp(
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


@pytest.mark.parametrize("name", ["WWW.EXAMPLE.COM", "www.example.com.", "wWw.eXample.cOM"])
def test_row_90_case_and_the_final_dot_make_no_difference(play: Play, name: str) -> None:
    wire = reply.write_query(1, from_text("www.example.com"), 1)
    sent = name.rstrip(".").encode().split(b".")
    asked = b"".join(bytes((len(label),)) + label for label in sent)
    play.raw(wire.replace(b"\x03www\x07example\x03com", asked)).expects(Ask)

    heard = play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply).reply

    assert heard.addresses == ["192.0.2.7"] and asked in heard.wire


def test_row_90_the_root_is_a_name_like_any_other(play: Play) -> None:
    assert play.query(".", "NS").expects(Reply).reply.rcode == "NXDOMAIN"


def test_row_117_time_is_what_the_caller_says_and_nothing_else(play: Play) -> None:
    """A suspend of an hour in BOOTTIME: hits have expired, the grant is swept."""
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=300).expects(OpenThenReply)
    play.now = Nanos(play.now + 3600 * SECOND)

    play.query("www.example.com").expects(Ask)
    play.does(play.engine.on_deadline(play.now)).expects(Close)

    assert not play.lets("192.0.2.7")
    play.answer("www.example.com", "192.0.2.8").expects(OpenThenReply)


def test_row_108_no_answer_is_served_after_its_ttl_even_when_nobody_answers(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=10).expects(OpenThenReply)
    play.after(seconds=10).nothing()

    play.breaks(play.query("www.example.com").expects(Ask).ask).expects(Reply)

    assert play.query("www.example.com").expects(Reply).reply.rcode == "SERVFAIL"
    play.after(seconds=10).expects(Close)
