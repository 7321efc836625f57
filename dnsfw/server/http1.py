"""DNS over HTTPS on HTTP/1.1 (RFC 8484, RFC 9112): one question at a time on a connection.

Only what a DoH server has to send is understood: a status line, headers within 16 KB, and
a body by Content-Length or in chunks. Everything else ends the connection.
"""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.errors import WireError
from dnsfw.server.speech import Heard
from dnsfw.wire.padding import padded
from dnsfw.wire.stream import MAX_MESSAGE

__all__ = ["MEDIA_TYPE", "Http1", "bare", "complaint"]

MEDIA_TYPE = "application/dns-message"
_MAX_HEAD = 16_384
_LAST_INFORMATION = 199  # 1xx: something else follows
_OK = 200


def complaint(status: int, media: str) -> str:
    """Why an answer cannot be used; empty if it can."""
    if status != _OK:
        return f"HTTP {status}"
    if media.partition(";")[0].strip().lower() != MEDIA_TYPE:
        return f"HTTP answer of type {media[:40] or 'nothing'!r}, not {MEDIA_TYPE}"
    return ""


def bare(wire: bytes) -> bytes:
    """The query with the id 0 and padded: equal questions look equal (RFC 8484, 4.1)."""
    return b"\0\0" + padded(wire)[2:]


class Http1:
    """One connection, kept alive."""

    most = 1

    def __init__(self, host: str, path: str) -> None:
        self.idle: float | None = None
        self.ending = False
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {MEDIA_TYPE}\r\n"
            f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: "
        ).encode("ascii")
        self._number: int | None = None
        self._id = b""
        self._wanted = False
        self._buffer = bytearray()
        self._body: _Body | None = None
        self._why = ""

    def __len__(self) -> int:
        return int(self._number is not None)

    def begin(self) -> bytes:
        return b""

    def ask(self, number: int, wire: bytes) -> bytes:
        self._number, self._id, self._wanted = number, wire[:2], True
        body = bare(wire)
        return self._head + f"{len(body)}\r\n\r\n".encode("ascii") + body

    def forget(self, number: int) -> bytes:
        if number == self._number:
            self._wanted = False
        return b""

    def hear(self, data: bytes) -> Iterable[Heard]:
        self._buffer += data
        while True:
            if self._number is None:
                if self._buffer:
                    raise WireError("an HTTP answer that nobody asked for")
                return
            if self._body is None and not self._read_head():
                return
            if self._body is None:
                continue  # 1xx
            if not self._body.take(self._buffer):
                return
            yield from self._finish(bytes(self._body.content))

    def reply(self) -> bytes:
        return b""

    def _finish(self, body: bytes) -> Iterable[Heard]:
        number, wanted, why = self._number, self._wanted, self._why
        assert number is not None
        self._number = self._body = None
        if not wanted:
            return
        if not why and len(body) < 12:
            why = "HTTP answer without a DNS message"
        yield Heard(number, b"" if why else self._id + body[2:], why)

    def _read_head(self) -> bool:
        """Take the head off the buffer; False while it is not whole."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > _MAX_HEAD:
            if len(self._buffer) > _MAX_HEAD:
                raise WireError("HTTP headers are longer than 16 KB")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        status = _status(lines[0])
        headers = _headers(lines[1:])
        if status <= _LAST_INFORMATION:
            if status == 101:
                raise WireError("HTTP 101: the server wants to speak something else")
            return True
        if headers.get("connection", "").lower() == "close" or lines[0].startswith("HTTP/1.0"):
            self.ending = True
        self._why = complaint(status, headers.get("content-type", ""))
        try:
            self._body = _Body(headers)
        except WireError:
            if self._why:  # what it says matters more than that it says it badly
                raise WireError(self._why) from None
            raise
        return True


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    code = rest[:3]
    good = code.isascii() and code.isdigit() and len(code) == 3
    if version not in ("HTTP/1.1", "HTTP/1.0") or not good:
        raise WireError("this is not HTTP/1.1")
    return int(code)


def _headers(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise WireError("an HTTP header without a name")
        key = name.lower()
        if key in ("content-length", "transfer-encoding") and key in found:
            raise WireError(f"HTTP answer with two {key}")
        found[key] = value.strip()
    return found


class _Body:
    """What follows a head: so many octets, or chunks."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.content = bytearray()
        self._chunked = "transfer-encoding" in headers
        self._left = 0
        self._trailer = False
        length = headers.get("content-length", "")
        if self._chunked:
            if headers["transfer-encoding"].lower() != "chunked" or length:
                raise WireError("HTTP answer of unclear length")
        elif not length.isascii() or not length.isdigit():
            raise WireError("HTTP answer without a length")
        elif len(length) > 5 or int(length) > MAX_MESSAGE:
            raise WireError("HTTP answer longer than any DNS message")
        else:
            self._left = int(length)

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to it out of the buffer; whether it is whole."""
        while True:
            if self._left:
                part = buffer[: self._left]
                self.content += part
                del buffer[: len(part)]
                self._left -= len(part)
                if self._left:
                    return False
            if not self._chunked:
                return True
            found = self._line(buffer)
            if found is None:
                return False
            if self._trailer:
                if not found:
                    return True
            else:
                self._next_chunk(found)

    def _next_chunk(self, line: bytes) -> None:
        if not line and self.content:
            return  # the end of the chunk before
        size = line.partition(b";")[0].strip()
        if not size or len(size) > 6 or any(c not in b"0123456789abcdefABCDEF" for c in size):
            raise WireError("a chunk without a length")
        self._left = int(size, 16)
        self._trailer = not self._left
        if len(self.content) + self._left > MAX_MESSAGE:
            raise WireError("HTTP answer longer than any DNS message")

    @staticmethod
    def _line(buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) > _MAX_HEAD:
                raise WireError("HTTP headers are longer than 16 KB")
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line
