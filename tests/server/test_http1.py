"""DNS over HTTPS on HTTP/1.1: what is taken for an answer, and what ends the connection."""

from __future__ import annotations

import pytest

from dnsfw.errors import WireError
from dnsfw.server.http1 import Http1
from dnsfw.server.speech import Heard
from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

QUERY = write_query(4711, from_text("www.example.com"), A)
ANSWER = b"\0\0" + QUERY[2:]
TYPE = b"Content-Type: application/dns-message\r\n"


def asked() -> Http1:
    http = Http1("dns.example", "/dns-query")
    http.ask(7, QUERY)
    return http


def reply(body: bytes = ANSWER, head: bytes = TYPE, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\n" + head + length + b"\r\n" + body


def test_a_question_is_a_post_with_id_0_and_padding() -> None:
    sent = Http1("dns.example", "/dns-query").ask(7, QUERY)
    head, _, body = sent.partition(b"\r\n\r\n")

    assert head.startswith(b"POST /dns-query HTTP/1.1\r\nHost: dns.example\r\n")
    assert b"Content-Type: application/dns-message" in head
    assert body[:2] == b"\0\0" and len(body) == 128
    assert b"Content-Length: 128" in head


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_an_answer_comes_in_any_pieces(cut: int) -> None:
    http, data = asked(), reply()
    found: list[Heard] = []
    for at in range(0, len(data), cut):
        found += http.hear(data[at : at + cut])

    assert found == [Heard(7, QUERY)]  # with the id that was asked with
    assert len(http) == 0 and not http.ending


@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_chunks_and_what_comes_before_an_answer_are_understood(cut: int) -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    data += b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
    data += b"5;x=y\r\n" + ANSWER[:5] + b"\r\n" + b"%X\r\n" % (len(ANSWER) - 5) + ANSWER[5:]
    data += b"\r\n0\r\nTrailer: x\r\n\r\n"
    http = asked()
    found: list[Heard] = []
    for at in range(0, len(data), cut):
        found += http.hear(data[at : at + cut])

    assert found == [Heard(7, QUERY)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (reply(status=b"500 Oh"), "HTTP 500"),
        (reply(b"", status=b"302 Found"), "HTTP 302"),
        (reply(head=b"Content-Type: text/html\r\n"), "'text/html'"),
        (reply(head=b""), "'nothing'"),
        (reply(b"short"), "without a DNS message"),
    ],
)
def test_what_is_no_dns_answer_is_a_failure_of_one_question(data: bytes, why: str) -> None:
    http = asked()
    (found,) = http.hear(data)

    assert found.wire == b"" and why in found.why
    http.ask(8, QUERY)
    assert list(http.hear(reply())) == [Heard(8, QUERY)]


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2\xb20 OK\r\n" + TYPE + b"Content-Length: 12\r\n\r\n",  # a digit, not of ASCII
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n",  # until it closes: not kept alive
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: 65536\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"A : b\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 20_000,
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 99\r\n\r\n",
        reply() + b"HTTP/1.1 200 OK\r\n",  # an answer that nobody asked for
    ],
)
def test_what_makes_no_sense_ends_the_connection(data: bytes) -> None:
    with pytest.raises(WireError):
        list(asked().hear(data))


def test_an_error_without_a_length_is_told_as_what_it_is() -> None:
    with pytest.raises(WireError, match="HTTP 503"):
        list(asked().hear(b"HTTP/1.1 503 Busy\r\n\r\n"))


@pytest.mark.parametrize("data", [reply(head=TYPE + b"Connection: Close\r\n"),
                                  reply().replace(b"1.1", b"1.0")])  # fmt: skip
def test_a_server_that_closes_is_asked_no_more(data: bytes) -> None:
    http = asked()

    assert list(http.hear(data)) == [Heard(7, QUERY)]
    assert http.ending


def test_an_answer_that_nobody_wants_any_more_frees_the_connection() -> None:
    http = asked()
    http.forget(7)

    assert len(http) == 1 and list(http.hear(reply())) == [] and len(http) == 0
