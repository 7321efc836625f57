"""What belongs to an answer: one complete chain from the query name, and nothing else."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.model import Reason
from dnsfw.wire.name import from_text
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play, rr

WITH_TRACKER = ALLOW_EXAMPLE.replace("rules:", 'rules:\n  - deny: "*.tracker.net"')


def test_a_chain_opens_its_end_for_the_name_that_was_asked(play: Play) -> None:
    play.query("www.example.com").expects(Ask)

    scene = play.answer("www.example.com", "192.0.2.7", via=["a.cdn.net", "b.cdn.net"])

    scene.expects(OpenThenReply)
    assert scene.reply.owners == ["www.example.com", "a.cdn.net", "b.cdn.net"]
    assert play.lets("192.0.2.7")


def test_row_109_the_ttl_is_the_least_of_the_chain(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.says(
        ask,
        rr("www.example.com", "CNAME", "cdn.net", ttl=300),
        rr("cdn.net", "A", "192.0.2.7", ttl=30),
        rr("cdn.net", "A", "192.0.2.8", ttl=90),
    ).expects(OpenThenReply)

    assert scene.reply.ttls == [30, 30, 30]


def test_row_69_a_denied_name_on_the_chain_blocks_the_answer(stage: Begin) -> None:
    play = stage(WITH_TRACKER)
    play.query("www.example.com").expects(Ask)

    scene = play.answer("www.example.com", "192.0.2.7", via=["x.tracker.net"]).expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("NXDOMAIN", 15)
    assert scene.note("refused").reason is Reason.CHAIN_DENIED
    assert not play.kernel.entries
    assert play.query("www.example.com").expects(Reply).reply.rcode == "NXDOMAIN"


def test_row_69_odd_octets_do_not_hide_a_denied_name_on_the_chain(stage: Begin) -> None:
    """Under `default: deny` no rule allows such a name; the one that denies it still speaks."""
    play = stage(WITH_TRACKER)
    play.query("www.example.com").expects(Ask)

    scene = play.answer("www.example.com", "192.0.2.7", via=["x\\032y.tracker.net"]).expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("NXDOMAIN", 15)
    assert scene.note("refused").reason is Reason.CHAIN_DENIED
    assert not play.kernel.entries


def test_a_port_denied_to_a_name_on_the_chain_is_not_opened(stage: Begin) -> None:
    play = stage(
        ALLOW_EXAMPLE.replace("com:443", "com:443,8443").replace(
            "rules:", 'rules:\n  - deny: "*.cdn.net:8443"'
        )
    )
    play.query("www.example.com").expects(Ask)

    play.answer("www.example.com", "192.0.2.7", via=["x.cdn.net"]).expects(OpenThenReply)

    assert play.lets("192.0.2.7", 443) and not play.lets("192.0.2.7", 8443)


def test_row_70_a_denied_name_does_not_become_allowed_by_leading_to_an_allowed_one(
    play: Play,
) -> None:
    play.query("evil.net").expects(Reply)

    assert play.sent == []


def test_row_72_records_of_other_names_are_neither_learned_nor_passed_on(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.says(
        ask,
        rr("www.example.com", "A", "192.0.2.7"),
        rr("www.bank.net", "A", "203.0.113.9"),
        rr("www.example.com", "AAAA", "2001:db8::9"),
        authority=[rr("example.com", "NS", "ns.evil.net"), rr("evil.net", "A", "203.0.113.8")],
    ).expects(OpenThenReply)

    assert scene.reply.addresses == ["192.0.2.7"]
    assert scene.reply.message.authority == ()
    assert len(play.kernel.entries) == 1


def test_row_71_a_chain_with_a_gap_opens_nothing(play: Play) -> None:
    """The address hangs on a name that the chain does not reach."""
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.says(
        ask, rr("www.example.com", "CNAME", "a.cdn.net"), rr("b.cdn.net", "A", "192.0.2.7")
    ).expects(Reply)

    assert scene.reply.addresses == []
    assert not play.kernel.entries


def test_a_chain_in_a_circle_is_a_failure(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.says(
        ask,
        rr("www.example.com", "CNAME", "a.net"),
        rr("a.net", "CNAME", "www.example.com"),
        rr("a.net", "TXT", b"\0"),
    ).expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("SERVFAIL", 24)


def test_a_chain_may_have_eleven_links_and_not_twelve(play: Play) -> None:
    names = [f"n{i}.net" for i in range(12)]
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", via=names[:11]).expects(OpenThenReply)

    play.query("api.example.com").expects(Ask)
    scene = play.answer("api.example.com", "192.0.2.8", via=names).expects(Reply)

    assert scene.reply.rcode == "SERVFAIL"
    assert not play.lets("192.0.2.8")


def test_two_different_cnames_of_one_name_are_a_failure(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.says(
        ask, rr("www.example.com", "CNAME", "a.net"), rr("www.example.com", "CNAME", "b.net")
    ).expects(Reply)

    assert scene.reply.rcode == "SERVFAIL"


def test_a_query_for_the_cname_itself_stops_there(play: Play) -> None:
    ask = play.query("www.example.com", "CNAME").expects(Ask).ask

    scene = play.says(ask, rr("www.example.com", "CNAME", "a.net"), rr("a.net", "A", "192.0.2.7"))

    assert scene.expects(Reply).reply.types == [5]


def test_row_123_signatures_of_the_chain_pass_only_with_do_and_only_for_whole_sets(
    play: Play,
) -> None:
    """RRSIG covers A (type 1), signed by example.com."""
    fields = b"\0\1\x08\3\0\0\1\x2c" + bytes(8) + b"\0\1"
    rrsig = rr("www.example.com", "RRSIG", fields + from_text("example.com") + b"sig")
    stray = rr("evil.net", "RRSIG", fields + from_text("evil.net") + b"sig")
    good = rr("www.example.com", "A", "192.0.2.7")
    private = rr("www.example.com", "A", "10.0.0.1")

    plain = play.query("www.example.com").expects(Ask).ask
    assert play.says(plain, good, rrsig).expects(OpenThenReply).reply.types == [1]
    signed = play.query("www.example.com", do=True).expects(Ask).ask
    heard = play.says(signed, good, rrsig, stray).expects(OpenThenReply).reply
    assert heard.types == [1, 46]
    play.after(seconds=301)
    play.unexpected.clear()
    cut = play.query("www.example.com", do=True).expects(Ask).ask
    assert play.says(cut, good, private, rrsig).expects(OpenThenReply).reply.types == [1]
