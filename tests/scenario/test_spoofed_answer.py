"""Answers that are not the answer: ignored, however many come first (ATTACKS 78, 80)."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Forget, OpenThenReply, Transport
from dnsfw.engine.pending import MAX_JUNK
from dnsfw.wire import message, reply
from dnsfw.wire.name import from_text
from tests.support.play import Play, rr


def lie(ask: Ask, *, id_off: int = 0, name: str = "www.example.com") -> bytes:
    asked = message.read_query(ask.wire)
    wire = reply.write_query(asked.id ^ id_off, from_text(name), 1)
    query = message.read_query(wire)
    return reply.write_reply(query, 0, [rr(name, "A", "203.0.113.66")])


def test_row_78_an_answer_with_another_id_is_ignored(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    play.upstream(ask, lie(ask, id_off=1)).nothing()

    assert not play.kernel.entries
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)


def test_an_answer_to_another_question_is_ignored(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    play.upstream(ask, lie(ask, name="evil.example.com")).nothing()

    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)


def test_row_80_junk_first_and_the_good_answer_after_it(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask
    good = lie(ask)

    for junk in (b"", b"\0" * 11, good[:2], good[:-3], good[:2] + bytes(10), good + b"", b"x" * 99):
        if junk != good:
            play.upstream(ask, junk).nothing()

    assert play.upstream(ask, good).expects(OpenThenReply).reply.addresses == ["203.0.113.66"]


def test_an_answer_after_the_answer_is_ignored(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask
    play.upstream(ask, lie(ask)).expects(OpenThenReply)

    play.upstream(ask, lie(ask)).nothing()


def test_row_78_somebody_who_guesses_makes_us_go_on_over_tcp(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    for guess in range(1, MAX_JUNK):
        play.upstream(ask, lie(ask, id_off=guess)).nothing()
    scene = play.upstream(ask, lie(ask, id_off=MAX_JUNK)).expects(Forget, Ask)

    assert scene.ask.transport is Transport.TCP
    play.upstream(ask, lie(ask)).nothing()


def test_the_case_of_the_question_must_come_back_as_it_was_sent(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    play.upstream(ask, lie(ask).replace(b"www", b"WWW", 1)).nothing()

    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)
