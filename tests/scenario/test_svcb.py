"""HTTPS and SVCB: hints are addresses, targets are names (RFC 9460, ATTACKS 85)."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play, rr, svcb


def test_row_85_hints_are_opened_like_addresses(play: Play) -> None:
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    scene = play.says(ask, svcb("www.example.com", ".", ["192.0.2.7", "2001:db8::7"]))

    assert scene.expects(OpenThenReply).reply.hints == ["192.0.2.7", "2001:db8::7"]
    assert play.lets("192.0.2.7") and play.lets("2001:db8::7")


def test_row_85_private_and_special_hints_are_removed(play: Play) -> None:
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    scene = play.says(
        ask, svcb("www.example.com", ".", ["10.0.0.1", "192.0.2.7", "127.0.0.1", "fe80::1"])
    )

    heard = scene.expects(OpenThenReply).reply
    assert (heard.hints, heard.ede) == (["192.0.2.7"], 17)


def test_a_record_without_hints_opens_nothing(play: Play) -> None:
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    scene = play.says(ask, svcb("www.example.com")).expects(Reply)

    assert scene.reply.types == [65]


def test_row_85_a_target_that_no_rule_allows_is_dropped_and_its_hints_with_it(play: Play) -> None:
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    scene = play.says(
        ask,
        svcb("www.example.com", "evil.net", ["203.0.113.9"]),
        svcb("www.example.com", "cdn.example.com", ["192.0.2.7"], priority=2),
    ).expects(OpenThenReply)

    assert scene.reply.hints == ["192.0.2.7"] and len(scene.reply.types) == 1
    assert not play.lets("203.0.113.9")


def test_the_hints_of_a_target_are_held_by_the_target(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - allow: cdn.net:8443"))
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    play.says(ask, svcb("www.example.com", "cdn.net", ["192.0.2.7"])).expects(OpenThenReply)

    assert play.lets("192.0.2.7", 8443) and not play.lets("192.0.2.7", 443)


def test_row_85_an_alias_to_a_denied_name_blocks_the_answer(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", 'rules:\n  - deny: "*.tracker.net"'))
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    scene = play.says(ask, svcb("www.example.com", "x.tracker.net", priority=0)).expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("NXDOMAIN", 15)


def test_a_malformed_record_is_dropped(play: Play) -> None:
    ask = play.query("www.example.com", "HTTPS").expects(Ask).ask

    scene = play.says(ask, rr("www.example.com", "HTTPS", b"\0\1\0\0\4\0\3abc")).expects(Reply)

    assert scene.reply.types == []


def test_svcb_is_treated_like_https(play: Play) -> None:
    ask = play.query("_dns.example.com", "SVCB").expects(Ask).ask

    scene = play.says(ask, svcb("_dns.example.com", ".", ["10.0.0.1"], rtype="SVCB"))

    assert scene.expects(Reply).reply.hints == []
