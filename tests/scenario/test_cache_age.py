"""Cache hits: aged TTLs rounded down, negative answers, and promise 2 at every hit."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.model import addr_from
from dnsfw.wire import reply
from dnsfw.wire.name import from_text
from tests.support.play import Play, rr


def test_a_hit_carries_what_is_left_of_the_ttl_rounded_down(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=60).expects(OpenThenReply)

    assert play.query("www.example.com").expects(Reply).reply.ttls == [60]
    play.after(seconds=0.25)
    assert play.query("www.example.com").expects(Reply).reply.ttls == [59]
    play.after(seconds=59.5)
    assert play.query("www.example.com").expects(Reply).reply.ttls == [0]
    play.after(seconds=0.25)
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)


def test_a_hit_has_the_id_and_the_case_of_its_own_query(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)

    wire = reply.write_query(0x4242, from_text("www.example.com"), 1)
    heard = play.raw(wire.replace(b"www", b"wWw")).expects(Reply).reply

    assert heard.wire[:2] == b"BB"
    assert heard.wire[12:].startswith(b"\x03wWw\x07example\x03com")


def test_a_hit_after_the_front_was_emptied_is_judged_again_and_opens_again(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=60).expects(OpenThenReply)
    play.engine.set_own_addresses([addr_from("198.51.100.1")])
    play.after(seconds=30)

    scene = play.query("www.example.com").expects(OpenThenReply)

    assert scene.reply.ttls == [30]


def test_do_cd_and_type_have_answers_of_their_own(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)

    play.query("www.example.com", do=True).expects(Ask)
    play.query("www.example.com", cd=True).expects(Ask)
    play.query("www.example.com", "AAAA").expects(Ask)


def test_nxdomain_is_kept_for_the_least_of_soa_ttl_and_minimum(play: Play) -> None:
    """RFC 2308."""
    ask = play.query("no.example.com").expects(Ask).ask
    play.says(ask, rcode=3, authority=[rr("example.com", "SOA", ttl=30)]).expects(Reply)

    play.after(seconds=10)
    hit = play.query("no.example.com").expects(Reply).reply
    play.after(seconds=20)

    assert (hit.rcode, hit.soa_ttl) == ("NXDOMAIN", 20)
    play.query("no.example.com").expects(Ask)
    play.answer("no.example.com", rcode=3).expects(Reply)


def test_a_negative_answer_without_an_soa_is_not_kept(play: Play) -> None:
    ask = play.query("no.example.com").expects(Ask).ask
    play.says(ask, rcode=3).expects(Reply)

    play.query("no.example.com").expects(Ask)
    play.answer("no.example.com", rcode=3).expects(Reply)


def test_an_soa_of_another_zone_is_not_believed(play: Play) -> None:
    ask = play.query("no.example.com").expects(Ask).ask

    scene = play.says(ask, rcode=3, authority=[rr("evil.net", "SOA", ttl=900)]).expects(Reply)

    assert scene.reply.message.authority == ()


def test_a_negative_answer_is_kept_fifteen_minutes_at_most(play: Play) -> None:
    ask = play.query("no.example.com").expects(Ask).ask
    scene = play.says(ask, rcode=3, authority=[rr("example.com", "SOA", ttl=86_400)])

    assert scene.expects(Reply).reply.soa_ttl == 900


def test_row_121_nodata_at_the_end_of_a_chain_keeps_the_chain(play: Play) -> None:
    """NODATA, not NXDOMAIN, so that the other family still works."""
    ask = play.query("www.example.com", "AAAA").expects(Ask).ask

    scene = play.says(
        ask,
        rr("www.example.com", "CNAME", "cdn.net"),
        authority=[rr("cdn.net", "SOA", ttl=60)],
    ).expects(Reply)

    assert (scene.reply.rcode, scene.reply.types, scene.reply.soa_ttl) == ("NOERROR", [5], 60)
