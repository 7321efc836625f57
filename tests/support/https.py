"""A publisher on loopback: TLS with a throw-away CA of openssl's, and whatever goes wrong.

    with Https() as site:
        site.put("/ads.txt", b"a.example\\n")
        site.url("/ads.txt")          # https://localhost:PORT/ads.txt
        site.ca.file                  # for `ca:`
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "localhost"
Script = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Ca:
    """A certificate authority that nobody knows, in a directory of the test's."""

    directory: Path
    name: str = "ca"

    @property
    def file(self) -> Path:
        return self.directory / f"{self.name}.pem"

    @classmethod
    def make(cls, directory: Path, name: str = "ca") -> Ca:
        directory.mkdir(parents=True, exist_ok=True)
        ca = cls(directory, name)
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", str(directory / f"{name}.key"), "-out", str(ca.file), "-days", "2",
            "-subj", f"/CN=throw-away {name}",
        )  # fmt: skip
        return ca

    def certify(self, host: str = HOST, days: int = 1) -> Path:
        """Key and certificate of a server, in one file."""
        made = self.directory / f"{self.name}-{host}-{days}"
        key, request, cert = (made.with_suffix(s) for s in (".key", ".csr", ".crt"))
        extension = made.with_suffix(".ext")
        extension.write_text(f"subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", str(key), "-out", str(request), "-subj", f"/CN={host}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.file), "-CAkey",
            str(self.directory / f"{self.name}.key"), "-CAcreateserial", "-out", str(cert),
            "-days", str(days), "-extfile", str(extension),
        )  # fmt: skip
        whole = made.with_suffix(".pem")
        whole.write_bytes(key.read_bytes() + cert.read_bytes())
        return whole


def _openssl(*argv: str) -> None:
    subprocess.run(["openssl", *argv], check=True, capture_output=True)


@dataclass
class Https:
    """One server; what is put at a path is a body or a script."""

    ca: Ca
    cert: Path | None = None
    address: str = "127.0.0.1"
    wanted_port: int = 0
    pages: dict[str, bytes | Script] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # path, headers

    def __enter__(self) -> Https:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert or self.ca.certify())
        self.names: list[str | None] = []  # what clients said whom they want (SNI)
        context.sni_callback = lambda sock, name, old: self.names.append(name)  # type: ignore[assignment]
        site = self

        class Handler(_Handler):
            owner = site

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in site.address else socket.AF_INET

            def finish_request(self, request: Any, client: Any) -> None:
                request.settimeout(10)
                with context.wrap_socket(request, server_side=True) as secured:
                    super().finish_request(secured, client)

            def handle_error(self, request: Any, client: Any) -> None:
                """Clients that leave are what is tested."""

        self._server = Server((self.address, self.wanted_port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, path: str, page: bytes | str | Script) -> str:
        """Publish it; its URL."""
        self.pages[path] = page.encode() if isinstance(page, str) else page
        return self.url(path)

    def url(self, path: str, host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        return sum(1 for heard, _ in self.heard if heard == path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Https

    def do_GET(self) -> None:
        self.owner.heard.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        page = self.owner.pages.get(self.path)
        if page is None:
            say(self, 404, b"<html>not here</html>", {"Content-Type": "text/html"})
        elif callable(page):
            page(self)
        else:
            etag = f'"{sha256(page).hexdigest()[:16]}"'
            if self.headers.get("If-None-Match") == etag:
                say(self, 304, b"", {"ETag": etag})
            else:
                say(self, 200, page, {"ETag": etag, "Content-Type": "text/plain"})

    def log_message(self, *_: object) -> None:
        """The tests look at what the client made of it."""


def say(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    """A whole answer."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    if status != 304:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def redirect(to: str, status: int = 302) -> Script:
    return lambda handler: say(handler, status, b"", {"Location": to})


def answered(status: int = 200, body: bytes = b"", **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: say(handler, status, body, named)


def broken_off(body: bytes, promised: int) -> Script:
    """Fewer bytes than it says."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(promised))
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return script


def short(body: bytes, promised: int) -> Script:
    """Fewer bytes than it says, and a TLS end as if that were all."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(promised))
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.connection.unwrap()  # type: ignore[attr-defined]

    return script


def cut(body: bytes) -> Script:
    """A body that ends with the connection, and the connection without TLS's own end: somebody
    on the way may have cut it.
    """

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return script


def dripping(
    every: float = 0.02, longest: float = 8.0, head: bool = False, first: bytes = b""
) -> Script:
    """A byte now and then, in the body (after `first`) or (`head`) already in the header, never
    an end.
    """

    def script(handler: BaseHTTPRequestHandler) -> None:
        if not head:
            handler.send_response(200)
            handler.send_header("Content-Length", str(9000 + len(first)))
            handler.end_headers()
            handler.wfile.write(first)
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        until = time.monotonic() + longest
        while time.monotonic() < until:
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(every)

    return script


def endless(chunk: bytes = b"a.example\n" * 1000) -> Script:
    """Chunks without number, and no length said."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    return script
