"""What a worker and its daemon say: as much as was said comes out, and junk is an error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.engine.cache import CacheKey, Ready
from dnsfw.model import HOST, Nanos, RoleId
from dnsfw.server.worker_words import (
    NAME,
    QUERIES,
    Handed,
    pack_copy,
    pack_query,
    pack_told,
    read_copy,
    read_key,
    read_queries,
    read_told,
    write_key,
)
from dnsfw.wire.message import A, Ede, Rcode, peek
from dnsfw.wire.name import from_text
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, write_query

WWW = from_text("www.example.com")
QUESTION = WWW + b"\0\1\0\1"


def key(role: RoleId = HOST) -> CacheKey:
    return CacheKey(role, QUESTION, True, 0x0100)


def test_datagrams_come_out_as_they_went_in() -> None:
    one = (0, 16, b"\2\0" + bytes(14), b"", b"query")
    two = (3, 0, bytes(NAME), b"\1" * 20, b"")
    message = QUERIES + pack_query(*one) + pack_query(*two)

    assert list(read_queries(message)) == [
        Handed(0, 16, one[2].ljust(NAME, b"\0"), bytes(20), b"query"), Handed(*two),
    ]  # fmt: skip


@given(st.binary(max_size=400))
def test_row_50_whatever_a_worker_says_is_read_or_refused(junk: bytes) -> None:
    for read in (lambda: list(read_queries(QUERIES + junk)), lambda: read_told(b"T" + junk)):
        with contextlib.suppress(ValueError, RecursionError):
            read()


@given(st.integers(min_value=1, max_value=60))
def test_a_message_that_breaks_off_is_an_error(cut: int) -> None:
    message = QUERIES + pack_query(0, 0, bytes(NAME), b"", b"query")

    with pytest.raises(ValueError):
        list(read_queries(message[:-cut]))


def test_what_is_told_comes_out_as_it_went_in() -> None:
    assert read_told(pack_told(share=1, on=True)) == {"share": 1, "on": True}
    with pytest.raises(ValueError):
        read_told(b"T[]")


def test_a_key_comes_out_as_it_went_in() -> None:
    assert read_key(write_key(key())) == key()


@pytest.mark.parametrize(
    "told",
    [
        None, [], [0, "", 0, 0], [0, "zz", 0, 0], [0, 7, 0, 0], [0, QUESTION[:-1].hex(), 0, 0],
        [0, QUESTION.hex() + "00", 0, 0], [0, b"\3WWW\0\0\1\0\1".hex(), 0, 0],
        [0, (b"\x3f" + bytes(70)).hex(), 0, 0], ["x", QUESTION.hex(), 0, 0],
    ],
)  # fmt: skip
def test_what_is_no_key_is_an_error(told: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_key(told)


@pytest.mark.parametrize("do", [False, True])
@pytest.mark.parametrize("size", [0, 1232])
@pytest.mark.parametrize("ede", [None, (Ede.BLOCKED, "said")])
def test_a_copy_renders_as_what_it_was_made_of(
    do: bool, size: int, ede: tuple[int, str] | None
) -> None:
    records = [Record(WWW, A, 1, 300, b"\xc0\0\2\7"), Record(from_text("x.y"), 5, 1, 70, WWW)]
    template = Template(WWW, Rcode.NOERROR, records, ad=True, ede=ede)
    asked = peek(write_query(7, WWW, A, do=do, size=size))
    assert asked is not None

    epoch, found, copy = read_copy(pack_copy(3, key(), Ready(template, Nanos(5), Nanos(9))))

    assert (epoch, found, copy.born, copy.until) == (3, key(), 5, 9)
    assert not copy.notes and not copy.offer
    for age in (0, 1, 69, 71):
        assert copy.template.render(asked, age) == template.render(asked, age)
