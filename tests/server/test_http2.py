"""DNS over HTTPS on HTTP/2: streams, and a server of the same library on the other side."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

from dnsfw.errors import WireError
from dnsfw.server.http2 import Http2
from dnsfw.server.speech import Heard
from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

QUERY = write_query(4711, from_text("www.example.com"), A)
ANSWER = b"\0\0" + QUERY[2:]
GOOD = [(":status", "200"), ("content-type", "application/dns-message")]


class Both:
    """A client of ours and a server, without a wire between."""

    def __init__(self) -> None:
        self.http = Http2("dns.example:8443", "/dns-query")
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.server.initiate_connection()
        self.events = self.server.receive_data(self.http.begin())
        self.back()

    def ask(self, number: int) -> None:
        self.events = self.server.receive_data(self.http.ask(number, QUERY))

    def back(self) -> list[Heard]:
        found = list(self.http.hear(self.server.data_to_send()))
        self.events = self.server.receive_data(self.http.reply())
        return found

    def says(self, stream: int, body: bytes = ANSWER, head: list[tuple[str, str]] = GOOD) -> None:
        self.server.send_headers(stream, head)
        for at in range(0, len(body), 16_000):
            self.server.send_data(stream, body[at : at + 16_000])
        self.server.end_stream(stream)


def test_a_question_is_a_post_with_id_0_and_padding() -> None:
    both = Both()
    both.ask(7)
    (request,) = [e for e in both.events if isinstance(e, RequestReceived)]
    (data,) = [e for e in both.events if isinstance(e, DataReceived)]

    headers = dict(request.headers)
    assert (headers[":method"], headers[":path"]) == ("POST", "/dns-query")
    assert headers[":authority"] == "dns.example:8443"
    assert headers["content-type"] == "application/dns-message"
    assert data.data[:2] == b"\0\0" and len(data.data) == 128


def test_answers_come_in_any_order() -> None:
    both = Both()
    for number in (7, 8, 9):
        both.ask(number)
    for stream in (5, 1, 3):
        both.says(stream)

    assert both.back() == [Heard(9, QUERY), Heard(7, QUERY), Heard(8, QUERY)]
    assert len(both.http) == 0


@pytest.mark.parametrize(
    ("head", "body", "why"),
    [
        ([(":status", "500")], b"", "HTTP 500"),
        ([(":status", "200"), ("content-type", "text/html")], ANSWER, "'text/html'"),
        (GOOD, b"short", "without a DNS message"),
    ],
)
def test_what_is_no_dns_answer_is_a_failure_of_one_question(
    head: list[tuple[str, str]], body: bytes, why: str
) -> None:
    both = Both()
    both.ask(7)
    both.ask(8)
    both.says(1, body, head)
    both.says(3)

    bad, good = both.back()
    assert bad.wire == b"" and why in bad.why
    assert good == Heard(8, QUERY)


def test_a_body_longer_than_a_message_is_cut_off() -> None:
    both = Both()
    both.ask(7)
    both.server.send_headers(1, GOOD)
    found: list[Heard] = []
    for _ in range(10):
        if not found:
            both.server.send_data(1, bytes(8_000))
            found += both.back()

    assert "longer" in found[0].why
    assert any(isinstance(event, StreamReset) for event in both.events)
    assert len(both.http) == 0


def test_a_stream_that_the_server_drops_is_a_failure() -> None:
    both = Both()
    both.ask(7)
    both.server.reset_stream(1)

    assert "dropped" in both.back()[0].why


def test_a_question_that_nobody_wants_any_more_is_cancelled() -> None:
    both = Both()
    both.ask(7)
    events = both.server.receive_data(both.http.forget(7))

    assert any(isinstance(event, StreamReset) for event in events)
    assert len(both.http) == 0 and both.http.forget(7) == b""


def test_a_server_that_goes_away_is_asked_no_more() -> None:
    both = Both()
    both.server.close_connection()
    both.back()

    assert both.http.ending


def test_the_server_says_how_many_at_once() -> None:
    both = Both()
    assert both.http.most == 100
    both.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    both.back()

    assert both.http.most == 3


def test_a_server_that_reads_no_more_is_asked_no_more() -> None:
    both = Both()
    for number in range(600):
        if both.http.most == 0:
            break
        both.ask(number)
        both.says(2 * number + 1)
        both.back()

    assert number == 508  # 65,535 octets, of which none was acknowledged
    both.server.increment_flow_control_window(10_000)
    both.back()
    assert both.http.most == 100


def test_garbage_ends_the_connection_before_much_of_it_is_kept() -> None:
    both = Both()
    with pytest.raises(WireError):
        for _ in range(40):
            list(both.http.hear(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200))
    with pytest.raises(WireError):
        list(Both().http.hear(b"\0\0\5\6\0\0\0\0\0hello"))


def test_many_answers_do_not_shut_the_window() -> None:
    both = Both()
    for number in range(40):
        both.ask(number)
        both.says(2 * number + 1, ANSWER + bytes(15_000))
        assert len(both.back()) == 1
