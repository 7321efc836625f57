"""DNS over HTTPS from the socket on: HTTP/1.1 of a few lines, and whatever unbound speaks."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dnsfw.policy.upstream import Upstream, parse_url
from dnsfw.server.address import Endpoint, parse_endpoint
from tests.server.test_connections import answer_to, asking, tls
from tests.support.certs import NAME, Ca
from tests.support.running import free_port
from tests.support.until import until

TYPE = "application/dns-message"


def https(endpoint: Endpoint, ca: Ca, name: str = NAME) -> Upstream:
    return replace(parse_url(f"https://{endpoint}/dns-query#{name}"), ca=str(ca.file))


class Web:
    """An HTTP/1.1 server that says what it is told to."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.media = TYPE
        self.body: bytes | None = None
        self.connections = 0
        self.heard: list[bytes] = []
        self.close_after = 1 << 30
        self.delay = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for _ in range(self.close_after):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                wire = await reader.readexactly(length)
                self.heard.append(head + wire)
                await asyncio.sleep(self.delay)
                body = answer_to(wire) if self.body is None else self.body
                writer.write(
                    f"HTTP/1.1 {self.status}\r\nContent-Type: {self.media}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@asynccontextmanager
async def serving(web: Web, ca: Ca) -> AsyncIterator[Endpoint]:
    context = ca.good.server("http/1.1")
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    try:
        yield parse_endpoint(f"{host}:{port}")
    finally:
        server.close()


async def test_row_81_a_question_over_http_1_is_answered_and_the_connection_kept(ca: Ca) -> None:
    web = Web()
    async with serving(web, ca) as where, asking(https(where, ca)) as heard:
        for number in range(4):
            heard.ask(number)
            await heard.something(number + 1)

        assert len(heard.answers) == 4 and web.connections == 1
        assert heard.carrier.ways.reused == 3
        assert {wire[-128:][:2] for wire in web.heard} == {b"\0\0"}


async def test_questions_at_once_use_connections_at_once_up_to_a_bound(ca: Ca) -> None:
    web = Web()
    web.delay = 0.02
    async with serving(web, ca) as where, asking(https(where, ca)) as heard:
        heard.ask(999)
        await heard.something()
        for number in range(60):
            heard.ask(number)
        await heard.something(61)

        assert not heard.failures and 2 <= web.connections <= 16


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "500 Oh"}, "HTTP 500"),
        ({"status": "302 Found"}, "HTTP 302"),
        ({"media": "text/html"}, "text/html"),
        ({"body": b""}, "without a DNS message"),
        ({"body": bytes(70_000)}, "longer than any DNS message"),
    ],
)
async def test_what_is_no_answer_is_a_failure_at_once(
    ca: Ca, change: dict[str, object], why: str
) -> None:
    web = Web()
    for key, value in change.items():
        setattr(web, key, value)
    async with serving(web, ca) as where, asking(https(where, ca)) as heard:
        heard.ask(1)
        await heard.something()

        assert why in heard.failures[0][1]


async def test_a_server_that_closes_after_each_answer_is_dialled_again(ca: Ca) -> None:
    web = Web()
    web.close_after = 1
    async with serving(web, ca) as where, asking(https(where, ca)) as heard:
        for number in range(5):
            heard.ask(number)
            await heard.something(number + 1)

        assert len(heard.answers) == 5 and not heard.failures


async def test_row_81_an_impostor_hears_no_question(ca: Ca) -> None:
    web = Web()
    async with serving(web, ca) as where, asking(https(where, ca, "other.example")) as heard:
        heard.ask(1)
        await heard.something()

        assert "does not prove who it is" in heard.failures[0][1] and not web.heard


# unbound


@pytest.fixture(scope="module")
def unbound(ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> object:
    """DNS over TLS and over HTTPS (HTTP/2) on loopback."""
    if shutil.which("unbound") is None:
        pytest.skip("unbound is not installed")
    tls_port, https_port = free_port(), free_port()
    where = tmp_path_factory.mktemp("unbound")
    config = where / "unbound.conf"
    config.write_text(
        "server:\n do-daemonize: no\n use-syslog: no\n pidfile: ''\n username: ''\n chroot: ''\n"
        f" directory: '{where}'\n interface: 127.0.0.1@{tls_port}\n"
        f" interface: 127.0.0.1@{https_port}\n tls-port: {tls_port}\n https-port: {https_port}\n"
        f" tls-service-key: '{ca.good.key}'\n tls-service-pem: '{ca.good.cert}'\n"
        " module-config: 'iterator'\n local-zone: 'example.com.' static\n"
        " local-data: 'www.example.com. 60 A 192.0.2.7'\n edns-tcp-keepalive: yes\n"
        "remote-control:\n control-enable: no\n"
    )
    server = subprocess.Popen(
        ["unbound", "-d", "-c", str(config)], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        for port in (tls_port, https_port):
            _wait(server, port)
        yield (parse_endpoint(f"127.0.0.1:{tls_port}"), parse_endpoint(f"127.0.0.1:{https_port}"))
    finally:
        server.terminate()
        server.wait()


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(100):
        assert server.poll() is None, "unbound did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        server_wait(server)


def server_wait(server: subprocess.Popen[bytes]) -> None:
    try:
        server.wait(0.05)
    except subprocess.TimeoutExpired:
        return


@pytest.mark.needs_peers
@pytest.mark.parametrize("kind", [tls, https])
async def test_row_81_unbound_is_asked_over_tls_and_http_2(
    ca: Ca, unbound: tuple[Endpoint, Endpoint], kind: object
) -> None:
    where = unbound[0] if kind is tls else unbound[1]
    async with asking(kind(where, ca)) as heard:  # type: ignore[operator]
        for number in range(40):
            heard.ask(number, id_=9)
        await heard.something(40)
        heard.ask(99)
        await heard.something(41)

        assert not heard.failures and len(heard.answers) == 41
        assert all(bytes([192, 0, 2, 7]) in wire for wire in heard.answers.values())
        assert heard.carrier.ways.opened == 1
        name = type(heard.carrier._links[0].speech).__name__
        assert name == ("Framed" if kind is tls else "Http2")
        if kind is tls:  # RFC 7828: unbound says how long
            assert heard.carrier._links[0].speech.idle is not None


@pytest.mark.needs_peers
async def test_unbound_resumes_our_sessions(ca: Ca, unbound: tuple[Endpoint, Endpoint]) -> None:
    async with asking(tls(unbound[0], ca)) as heard:
        for number in range(3):
            heard.ask(number)
            await heard.something(number + 1)
            heard.carrier._links[0].used -= 1000
            heard.carrier._links[0].speech.idle = 1.0
            heard.carrier.sweep(0)
            await until(lambda: heard.carrier.ways.open == 0)

        assert heard.carrier.ways.resumed == 2 and len(heard.answers) == 3


def test_uvloop_speaks_tls_with_sessions_too(ca: Ca) -> None:
    """The daemon's own loop is another than the tests'."""
    pytest.importorskip("uvloop")
    code = (
        "import asyncio, sys, uvloop\nfrom pathlib import Path\n"
        "from tests.support.certs import Ca, Pair\nimport tests.server.test_connections as t\n"
        "ca = Ca.__new__(Ca); ca.where = Path(sys.argv[1]); ca.made = {}\n"
        "ca.made['good'] = Pair(ca.where / 'good.pem', ca.where / 'good.key')\n"
        "import ssl\n"
        "uvloop.run(t.test_a_second_handshake_is_short(ca, ssl.TLSVersion.TLSv1_3))\n"
        "print('fine')\n"
    )
    assert ca.good.cert.exists()
    done = subprocess.run(
        [sys.executable, "-c", code, str(ca.where)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr
