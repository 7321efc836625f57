"""A full table trims the new answer and never a live grant; a failed write undoes itself."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play, rr


def test_row_111_a_full_table_trims_the_new_answer_and_no_live_grant(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(grants=2))
    play.query("a.example.com").expects(Ask)
    play.answer("a.example.com", "192.0.2.1").expects(OpenThenReply)
    play.query("b.example.com").expects(Ask)

    scene = play.answer("b.example.com", "192.0.2.2", "192.0.2.3").expects(OpenThenReply)

    assert scene.reply.addresses == ["192.0.2.2"]
    play.query("c.example.com").expects(Ask)
    full = play.answer("c.example.com", "192.0.2.4").expects(Reply)
    assert (full.reply.rcode, full.reply.ede) == ("SERVFAIL", 0)
    assert play.lets("192.0.2.1") and play.lets("192.0.2.2")


def test_row_111_expired_grants_make_room_and_their_deletion_is_written_first(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(grants=1))
    play.query("a.example.com").expects(Ask)
    play.answer("a.example.com", "192.0.2.1", ttl=5).expects(OpenThenReply)
    ask = play.query("b.example.com").expects(Ask).ask
    play.now += 16 * 10**9  # nobody woke the engine meanwhile

    play.says(ask, rr("b.example.com", "A", "192.0.2.2")).expects(OpenThenReply)

    assert list(play.kernel.entries) and play.lets("192.0.2.2")
    play.unexpected.clear()


def test_a_trimmed_answer_is_asked_for_again_when_there_is_room(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(grants=1))
    play.query("a.example.com").expects(Ask)
    play.answer("a.example.com", "192.0.2.1", ttl=5).expects(OpenThenReply)
    play.query("b.example.com").expects(Ask)
    play.answer("b.example.com", "192.0.2.2").expects(Reply)
    play.after(seconds=16).expects(Close)

    scene = play.query("b.example.com").expects(OpenThenReply)

    assert scene.reply.addresses == ["192.0.2.2"]


def test_a_write_that_fails_is_servfail_and_leaves_nothing_believed(play: Play) -> None:
    play.query("www.example.com", do=True).expects(Ask)
    play.kernel.refuses = 1

    scene = play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply, Close, Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("SERVFAIL", 0)
    assert scene.reply.message.edns is not None and scene.reply.message.edns.do
    play.query("www.example.com", do=True).expects(OpenThenReply)
    assert play.lets("192.0.2.7")


def test_a_failed_renewal_leaves_the_deadline_that_was_promised_before(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=60).expects(OpenThenReply)
    before = play.grants("192.0.2.7")
    play.after(seconds=60)
    play.query("www.example.com").expects(Ask)
    play.kernel.refuses = 1

    play.answer("www.example.com", "192.0.2.7", ttl=600).expects(OpenThenReply, Close, Reply)

    assert play.grants("192.0.2.7") == before
    play.after(seconds=10).expects(Close)
    assert not play.kernel.entries


def test_a_closing_that_cannot_be_written_is_a_deletion_instead(play: Play) -> None:
    """Fail closed: nobody knows what the kernel holds, so it holds nothing."""
    for name in ("www.example.com", "api.example.com"):
        play.query(name).expects(Ask)
        play.answer(name, "192.0.2.7").expects(OpenThenReply)
    play.kernel.refuses = 1

    play.swap(ALLOW_EXAMPLE.replace(":443", ":80")).expects(Close, Close)

    assert not play.kernel.entries
    play.query("www.example.com").expects(OpenThenReply)
    assert play.lets("192.0.2.7", 80)


def test_row_106_random_names_on_one_address_do_not_grow_memory(stage: Begin) -> None:
    """Promise 9: names under an allowed wildcard are the client's to invent."""
    limits = Limits(names_per_grant=8, front=50, answer_bytes=50_000)
    play = stage(ALLOW_EXAMPLE, limits=limits)
    for n in range(500):
        play.query(f"r{n}.example.com").expects(Ask)
        play.answer(f"r{n}.example.com", "192.0.2.7").expects(OpenThenReply)

    stats = play.engine.stats()

    assert stats["names"] <= 8 and stats["grants"] == 1
    assert stats["front"] <= 50 and stats["cache_answer_bytes"] <= 50_000
    assert stats["pending"] == 0
    assert play.lets("192.0.2.7")
