"""One download over https, on sockets that somebody else opens: in a thread, to its end.

TLS with the system's (or the operator's own) certificates and the host's name; https only,
over every redirect; HTTP/1.1 by the standard library, which bounds lines and headers. Body,
lines and time are bounded here, of what gzip unpacks too, and a server that says nothing for a
while is given up. A body that ends early, a page of HTML and anything that is no
text are errors: what is on disk stays.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import urljoin, urlsplit

from dnsfw import __version__
from dnsfw.engine.ranges import Kind, kind
from dnsfw.errors import ConfigError
from dnsfw.model import addr_from
from dnsfw.policy.problems import Wrong, printable
from dnsfw.policy.remote import check_url
from dnsfw.server.fetch_gzip import MAGIC, NotGzip, Unpacked
from dnsfw.values import dataclass

if TYPE_CHECKING:  # a daemon that fetches nothing does without it
    from http.client import HTTPConnection, HTTPResponse

__all__ = ["Download", "FetchError", "Request", "Stop", "Way", "fetch"]

REDIRECTS = 5  # as many as curl's own caution suggests for robots
CONNECT = 10.0  # seconds for one server to take the connection and to prove who it is
STALL = 20.0  # seconds without a byte; a slow one has all of `time`
_CHUNK = 1 << 16
_LONGEST_MARK = 256  # characters of an ETag or a date that are worth keeping
_MOVED = frozenset({301, 302, 303, 307, 308})
_OK, _NOT_MODIFIED = 200, 304


class FetchError(ConfigError):
    """It did not come, or is not what it should be; says why."""


class Way(Protocol):
    """Opens connections: past the wall for the daemon, as any program for a command."""

    def connect(self, host: str, port: int, patience: float) -> socket.socket:
        """A blocking TCP socket. OSError, FetchError."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for, and how much of it at most."""

    url: str
    size: int
    lines: int
    time: float
    ca: str = ""
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True, slots=True)
class Download:
    """What came."""

    sha256: str
    size: int
    etag: str
    modified: str


@dataclass(slots=True)
class Stop:
    """Ends a download from another thread: by its deadline, or when the daemon ends."""

    why: str = ""
    _held: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, sock: socket.socket) -> None:
        """This is the connection to cut. Its double is cut, for TLS keeps a state beside it."""
        with self._lock:
            self._let_go()
            self._held = socket.socket(fileno=os.dup(sock.fileno()))
        if self.why:
            self(self.why)

    def __call__(self, why: str) -> None:
        with self._lock:
            self.why = self.why or why
            if self._held is not None:
                with suppress(OSError):  # it has ended by itself
                    self._held.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _nothing() -> None:
    """Nobody looks on."""


def fetch(
    request: Request, way: Way, into: Path, stop: Stop, came: Callable[[], None] = _nothing
) -> Download | None:
    """The body in a file; None when the server says that nothing has changed. FetchError.

    `came` is called, in this thread, whenever some of it has.
    """
    from http.client import HTTPException

    told = f"it took longer than {request.time:g} s"
    timer = threading.Timer(request.time, stop, (told,))
    timer.daemon = True
    timer.start()
    try:
        return _Fetch(request, way, stop, time.monotonic() + request.time, came).run(into)
    except FetchError:
        if stop.why:
            raise FetchError(stop.why) from None
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(stop.why or _why(error)) from None
    finally:
        timer.cancel()
        timer.join()  # a thread must not outlive its work: it has our rights
        stop.release()


class _Fetch:
    """One request and its redirects."""

    def __init__(
        self, request: Request, way: Way, stop: Stop, deadline: float, came: Callable[[], None]
    ) -> None:
        self._came = came
        self._request = request
        self._way = way
        self._stop = stop
        self._deadline = deadline
        self._public = False  # the server that was named stands in the internet
        try:
            self._context = ssl.create_default_context(cafile=request.ca or None)
        except OSError as error:
            raise FetchError(f"ca: {request.ca}: {error.strerror or error}") from None
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Debian's Python 3.11 takes a stream that somebody cut for one that ended (gh-95494).
        self._context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        self._context.set_alpn_protocols(["http/1.1"])

    def run(self, into: Path) -> Download | None:
        url = self._request.url
        for turn in range(REDIRECTS + 1):
            connection = self._connect(url, redirected=turn > 0)
            try:
                response = self._ask(connection, url)
                if response.status not in _MOVED:
                    return self._take(response, into)
                url = _elsewhere(url, response)
            finally:
                connection.close()
        raise FetchError(f"more than {REDIRECTS} redirects")

    def _connect(self, url: str, *, redirected: bool) -> HTTPConnection:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        sock = self._way.connect(host, port, min(CONNECT, self._left()))
        try:
            self._look_where(sock, redirected=redirected)
            self._stop.hold(sock)
            sock.settimeout(min(CONNECT, self._left()))
            secured = self._context.wrap_socket(
                sock, server_hostname=host, suppress_ragged_eofs=False
            )
        except BaseException:
            sock.close()
            raise
        secured.settimeout(min(STALL, self._left()))
        from http.client import HTTPConnection

        connection = HTTPConnection(host, port)
        connection.default_port = 443
        connection.sock = secured
        return connection

    def _look_where(self, sock: socket.socket, *, redirected: bool) -> None:
        """Who publishes a list out there must not have our sockets ask the network in here."""
        addr = addr_from(sock.getpeername()[0].partition("%")[0])
        public = kind(addr, frozenset()) is Kind.ORDINARY
        if not redirected:
            self._public = public
        elif self._public and not public:
            raise FetchError("it redirects from the internet to an address of this network")

    def _left(self) -> float:
        """Seconds; a moment where there are none, for the timer says why."""
        return max(0.1, self._deadline - time.monotonic())

    def _ask(self, connection: HTTPConnection, url: str) -> HTTPResponse:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "User-Agent": f"dnsfw/{__version__}", "Accept": "*/*",
            "Accept-Encoding": "gzip",
            "Connection": "close",
        }  # fmt: skip
        if self._request.etag:
            headers["If-None-Match"] = self._request.etag
        if self._request.modified:
            headers["If-Modified-Since"] = self._request.modified
        connection.request("GET", target, headers=headers)
        return connection.getresponse()

    def _take(self, response: HTTPResponse, into: Path) -> Download | None:
        asked = self._request.etag or self._request.modified
        if response.status == _NOT_MODIFIED and asked:
            return None
        if response.status != _OK:
            raise FetchError(f"the server says {response.status} {printable(response.reason)[:60]}")
        coding = response.getheader("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip", "x-gzip"):
            told = printable(coding)[:20]
            raise FetchError(f"the server compresses by {told}, and only gzip is read")
        if response.getheader("Content-Type", "").strip().lower().startswith("text/html"):
            raise FetchError("a page of HTML came, and no text")
        if response.length is not None and response.length > self._request.size:
            raise FetchError(self._too_large())
        with into.open("wb") as file:
            size, digest = self._body(_pieces(response, coding != "identity", self), file)
            if response.length:  # http.client is silent about a body that is too short
                raise FetchError(f"the connection broke off {response.length} bytes before the end")
        etag, modified = response.getheader("ETag", ""), response.getheader("Last-Modified", "")
        return Download(digest, size, _mark(etag), _mark(modified))

    def wire(self, response: HTTPResponse) -> Iterator[bytes]:
        """The body as it was sent; it, too, is no longer than what it may hold."""
        size = 0
        while chunk := response.read1(_CHUNK):
            self._came()
            size += len(chunk)
            if size > self._request.size:
                raise FetchError(self._too_large())
            yield chunk

    def _body(self, pieces: Iterable[bytes], file: BinaryIO) -> tuple[int, str]:
        digest, size, lines, begun = sha256(), 0, 0, False
        for chunk in pieces:
            size += len(chunk)
            lines += chunk.count(b"\n")
            if size > self._request.size:
                raise FetchError(self._too_large())
            if lines > self._request.lines:
                raise FetchError(f"more than {self._request.lines} lines (limits: lines)")
            if b"\0" in chunk:
                raise FetchError("what came is no text")
            if not begun and (first := chunk.lstrip(b"\xef\xbb\xbf \t\r\n")):
                begun = True
                if first.startswith(b"<"):
                    raise FetchError("a page of HTML or XML came, and no text")
            digest.update(chunk)
            file.write(chunk)
        if self._stop.why:
            raise FetchError(self._stop.why)
        if not begun:
            raise FetchError("what came is empty")
        return size, digest.hexdigest()

    def _too_large(self) -> str:
        size = self._request.size
        shown = f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"
        return f"larger than {shown} (limits: size)"


def _pieces(response: HTTPResponse, packed: bool, fetch: _Fetch) -> Iterator[bytes]:
    """The text: unpacked where the server packs it, or the file is packed (`ads.txt.gz`)."""
    wire = fetch.wire(response)
    head = b""
    for chunk in wire:
        head += chunk
        if len(head) >= len(MAGIC):
            break
    whole = chain([head], wire)
    if not packed and not head.startswith(MAGIC):
        yield from whole
        return
    unpacked = Unpacked()
    try:
        for chunk in whole:
            yield from unpacked.feed(chunk)
        unpacked.end()
    except NotGzip as wrong:
        raise FetchError(str(wrong)) from None


def _elsewhere(url: str, response: HTTPResponse) -> str:
    where = response.getheader("Location", "")
    if not where:
        raise FetchError("a redirect that leads nowhere")
    try:
        return check_url(urlsplit(urljoin(url, where))._replace(fragment="").geturl())
    except (Wrong, ValueError) as wrong:
        raise FetchError(f"it redirects to what is refused: {wrong}") from None


def _mark(text: str) -> str:
    """An ETag or a date, as it is sent back; nothing that could be more than that."""
    fits = text.isascii() and text.isprintable() and len(text) <= _LONGEST_MARK
    return text if fits else ""


def _why(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not good: {printable(error.verify_message)}; for a CA of your "
            "own name its file: `ca:`"
        )
    if isinstance(error, TimeoutError):
        return "no answer in time, or it fell silent"
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "the server broke the connection off"
    if isinstance(error, ssl.SSLError) and error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return "the server broke the connection off"  # Python 3.11.2 has no class for it
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {printable(error.reason or str(error))}"
    if isinstance(error, OSError):
        return printable(error.strerror or str(error))
    return f"the server does not speak HTTP: {printable(str(error))[:80]}"
