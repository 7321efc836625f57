"""DNS over HTTPS on HTTP/2 (RFC 8484, RFC 9113): every question a stream of its own.

The framing is `h2`'s, which knows no sockets either. It is imported when an upstream is
first asked this way, so that nobody else pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from dnsfw.errors import WireError
from dnsfw.server.http1 import MEDIA_TYPE, bare, complaint
from dnsfw.server.speech import Heard
from dnsfw.wire.stream import MAX_MESSAGE

__all__ = ["Http2"]

_MOST = 100  # RFC 9113, section 6.5.2: what servers are asked to allow at least
_QUERY = 512  # octets; no query of ours is longer
_MAX_UNREAD = 1 << 17  # h2 would keep a frame of 16 MB before it says that it is too large
_LAST_STREAM = 1 << 30  # numbers are not used twice: half of them is enough for one connection


class _Stream:
    __slots__ = ("body", "id", "number", "why")

    def __init__(self, number: int, id_: bytes) -> None:
        self.number = number
        self.id = id_
        self.body = bytearray()
        self.why = "HTTP answer without a head"


class Http2:
    """One connection."""

    def __init__(self, host: str, path: str) -> None:
        self.idle: float | None = None
        self.ending = False
        self._most = _MOST
        self._head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
            ("accept", MEDIA_TYPE),
            ("content-type", MEDIA_TYPE),
        ]
        self._talk = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                normalize_outbound_headers=False,  # ours are as they should be
                validate_outbound_headers=False,
            )
        )
        self._streams: dict[int, _Stream] = {}
        self._by_number: dict[int, int] = {}
        self._unread = 0

    @property
    def most(self) -> int:
        if self._talk.outbound_flow_control_window < _QUERY:
            return 0  # until the server has read what it has
        return min(self._most, self._talk.remote_settings.max_concurrent_streams)

    def __len__(self) -> int:
        return len(self._streams)

    def begin(self) -> bytes:
        self._talk.initiate_connection()
        self._talk.update_settings({SettingCodes.ENABLE_PUSH: 0})
        return self._talk.data_to_send()

    def ask(self, number: int, wire: bytes) -> bytes:
        talk, body = self._talk, bare(wire)
        try:
            stream = talk.get_next_available_stream_id()
            talk.send_headers(stream, [*self._head, ("content-length", str(len(body)))])
            talk.send_data(stream, body, end_stream=True)
        except ProtocolError as error:  # its window is shut: queries are never that large
            raise WireError(f"HTTP/2: {error}") from None
        self._streams[stream] = _Stream(number, wire[:2])
        self._by_number[number] = stream
        self.ending |= stream > _LAST_STREAM
        return talk.data_to_send()

    def forget(self, number: int) -> bytes:
        stream = self._by_number.pop(number, None)
        if stream is None:
            return b""
        del self._streams[stream]
        return self._cancel(stream)

    def hear(self, data: bytes) -> Iterable[Heard]:
        self._unread += len(data)
        try:
            events = self._talk.receive_data(data)
        except ProtocolError as error:
            raise WireError(f"HTTP/2: {type(error).__name__}") from None
        if events:
            self._unread = 0
        elif self._unread > _MAX_UNREAD:
            raise WireError("HTTP/2: frames that do not end")
        for event in events:
            yield from self._take(event)

    def reply(self) -> bytes:
        return self._talk.data_to_send()

    def _take(self, event: Event) -> Iterable[Heard]:
        if isinstance(event, ConnectionTerminated):
            self.ending = True
            return
        if isinstance(event, DataReceived) and event.flow_controlled_length:
            self._talk.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        number = getattr(event, "stream_id", None)
        stream = self._streams.get(number) if number is not None else None
        if stream is None or number is None:
            return
        if isinstance(event, ResponseReceived):
            headers = dict(event.headers)
            status, media = headers.get(b":status", b""), headers.get(b"content-type", b"")
            stream.why = complaint(int(status) if status.isdigit() else 0, media.decode("latin-1"))
        elif isinstance(event, DataReceived):
            stream.body += event.data
            if len(stream.body) > MAX_MESSAGE:
                stream.why = "HTTP answer longer than any DNS message"
                self._cancel_later(number)
                yield self._done(number, stream)
        elif isinstance(event, StreamReset):
            stream.why = "HTTP/2: the server dropped the question"
            yield self._done(number, stream)
        elif isinstance(event, StreamEnded):
            yield self._done(number, stream)

    def _done(self, number: int, stream: _Stream) -> Heard:
        del self._streams[number]
        self._by_number.pop(stream.number, None)
        why = stream.why or ("" if len(stream.body) >= 12 else "HTTP answer without a DNS message")
        return Heard(stream.number, b"" if why else stream.id + bytes(stream.body[2:]), why)

    def _cancel(self, stream: int) -> bytes:
        self._cancel_later(stream)
        return self._talk.data_to_send()

    def _cancel_later(self, stream: int) -> None:
        """What the server does not know yet goes out with the next bytes."""
        try:
            self._talk.reset_stream(stream, ErrorCodes.CANCEL)
        except ProtocolError:
            return  # it is closed already
