"""Framed messages: ids of their own, any order, late answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from dnsfw.errors import WireError
from dnsfw.server.speech import Framed, Heard
from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from dnsfw.wire.stream import Frames, frame


def query(id_: int = 1, name: str = "www.example.com") -> bytes:
    return write_query(id_, from_text(name), A)


def framed(*, pad: bool = False) -> Framed:
    ids = count(100)
    return Framed(lambda: next(ids), pad=pad)


def said(data: bytes) -> bytes:
    (wire,) = Frames().feed(data)
    return wire


def heard(speech: Framed, *wires: bytes, forget: bool = True) -> Iterator[Heard]:
    for one in speech.hear(b"".join(map(frame, wires))):
        if forget:
            speech.forget(one.number)
        yield one


def test_two_questions_with_one_id_get_two() -> None:
    speech = framed()
    first, second = said(speech.ask(1, query(7))), said(speech.ask(2, query(7)))

    assert first[:2] != second[:2]
    found = list(heard(speech, second, first))
    assert [one.number for one in found] == [2, 1]  # in any order
    assert {one.wire[:2] for one in found} == {b"\0\7"}  # the asker's own id again
    assert len(speech) == 0


def test_an_id_is_not_used_again_while_a_late_answer_may_come() -> None:
    speech = Framed(lambda: 5, pad=False)
    first = said(speech.ask(1, query()))
    speech.forget(1)
    second = said(speech.ask(2, query()))

    assert first[:2] != second[:2]
    assert list(heard(speech, first)) == []  # late, and nobody's
    third = said(speech.ask(3, query()))
    assert third[:2] == first[:2]


def test_what_is_no_answer_leaves_the_question_open() -> None:
    speech = framed()
    asked = said(speech.ask(1, query()))

    assert len(list(heard(speech, asked, forget=False))) == 1  # the ears did not like it
    assert len(list(heard(speech, asked))) == 1
    assert len(speech) == 0


def test_row_78_answers_that_nobody_asked_for_end_the_connection() -> None:
    speech = framed()
    speech.ask(1, query())

    with pytest.raises(WireError):
        list(heard(speech, *[query(9)] * 65))


def test_padding_is_for_encrypted_transports_alone() -> None:
    assert len(said(framed(pad=True).ask(1, query()))) == 128
    assert len(said(framed().ask(1, query()))) < 64


def test_keepalive_is_asked_for_once_a_connection_and_honoured() -> None:
    speech = framed()
    first, second = said(speech.ask(1, query())), said(speech.ask(2, query()))
    assert len(first) == len(second) + 4

    answer = first[:-2] + b"\0\2\0\x64"  # the option with 10 s
    list(speech.hear(frame(answer)))
    assert speech.idle == 10.0 and not speech.ending

    list(speech.hear(frame(first[:-2] + b"\0\2\0\0")))
    assert speech.idle == 0.0 and speech.ending  # RFC 7828, 3.2.2: close when you can


def test_no_server_keeps_us_for_hours() -> None:
    speech = framed()
    first = said(speech.ask(1, query()))
    list(speech.hear(frame(first[:-2] + b"\0\2\xff\xff")))

    assert speech.idle == 120.0


def test_a_connection_on_which_answers_never_come_is_given_up() -> None:
    speech = framed()
    for number in range(speech.most // 2 + 1):
        assert not speech.ending
        speech.ask(number, query())
        speech.forget(number)

    assert speech.ending


def test_a_server_that_chokes_on_the_option_is_asked_again_without_it() -> None:
    speech = framed()
    first = said(speech.ask(1, query()))
    refusal = first[:2] + b"\x81\x81" + first[4:]

    assert list(heard(speech, refusal)) == []
    again = said(speech.reply())
    assert again == first[:-4][:-2] + b"\0\0" and speech.reply() == b""
    assert [one.number for one in heard(speech, again[:2] + b"\x81\x80" + again[4:])] == [1]


def test_a_second_formerr_is_the_answer() -> None:
    speech = framed()
    first = said(speech.ask(1, query()))
    refusal = first[:2] + b"\x81\x81" + first[4:]
    list(speech.hear(frame(refusal)))

    assert len(list(heard(speech, refusal))) == 1
    assert len(list(heard(speech, said(speech.ask(2, query()))[:2] + refusal[2:]))) == 1
