"""Whatever an upstream sends on a connection ends in answers, or in a WireError."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.errors import WireError
from dnsfw.server.http1 import Http1
from dnsfw.server.http2 import Http2
from dnsfw.server.speech import Framed, Speech
from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

QUERY = write_query(1, from_text("www.example.com"), A)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\n"
PIECES = st.sampled_from([
    HEAD, b"Content-Length: 45\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n",
    b"0\r\n\r\n", b"\r\n", QUERY, b"\0\x2d" + QUERY, b"\0\0\4\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0",
    b"\0\0\4\1\4\0\0\0\1\x88\x5f\x01\x58", b"\0\0\x2d\0\1\0\0\0\1" + QUERY, b"\xff" * 9,
])  # fmt: skip
STREAMS = st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12)


def talk(speech: Speech, chunks: list[bytes]) -> None:
    speech.begin()
    for number in range(speech.most if speech.most < 5 else 5):
        speech.ask(number, QUERY)
    try:
        for chunk in chunks:
            for heard in speech.hear(chunk):
                assert heard.wire or heard.why
                assert len(heard.wire) <= 65_535
                speech.forget(heard.number)
            speech.reply()
    except WireError:
        return
    assert len(speech) <= 5


@settings(max_examples=300, deadline=None)
@given(STREAMS)
def test_row_80_no_bytes_break_a_stream(chunks: list[bytes]) -> None:
    talk(Framed(lambda: random.randrange(65536), pad=True), chunks)


@settings(max_examples=300, deadline=None)
@given(STREAMS)
def test_row_80_no_bytes_break_http_1(chunks: list[bytes]) -> None:
    talk(Http1("dns.example", "/dns-query"), chunks)


@settings(max_examples=300, deadline=None)
@given(STREAMS)
def test_row_80_no_bytes_break_http_2(chunks: list[bytes]) -> None:
    talk(Http2("dns.example", "/dns-query"), [b"\0\0\0\4\0\0\0\0\0", *chunks])
