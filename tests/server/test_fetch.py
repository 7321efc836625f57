"""One download from a real server over TLS, and everything that can be wrong with it: rows 127
and 128."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from gzip import compress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from dnsfw.server.fetch import Download, FetchError, Request, Stop, fetch
from dnsfw.server.fetch_ways import AnyWay
from tests.support.https import (
    Ca,
    Https,
    Script,
    answered,
    broken_off,
    cut,
    dripping,
    endless,
    redirect,
    say,
    short,
)

BODY = b"a.example\nb.example\n"
gzip = partial(compress, mtime=0)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def site(ca: Ca) -> Iterator[Https]:
    with Https(ca) as made:
        yield made


def get(
    site: Https, into: Path, path: str = "/a", *, ca: str | None = None, url: str = "",
    size: int = 10_000, lines: int = 1000, time: float = 5, etag: str = "", modified: str = "",
    stop: Stop | None = None,
) -> Download | None:  # fmt: skip
    ca = str(site.ca.file) if ca is None else ca
    request = Request(url or site.url(path), size, lines, time, ca, etag, modified)
    return fetch(request, AnyWay(), into / "body", stop or Stop())


def test_a_body_is_on_disk_with_its_hash_and_marks(site: Https, tmp_path: Path) -> None:
    site.put("/a", answered(body=BODY, ETag='"7"', Last_Modified="Sun, 22 Nov 2026 09:00:00 GMT"))

    got = get(site, tmp_path)

    assert got == Download(
        sha256(BODY).hexdigest(), len(BODY), '"7"', "Sun, 22 Nov 2026 09:00:00 GMT"
    )
    assert (tmp_path / "body").read_bytes() == BODY
    _, headers = site.heard[-1]
    assert headers["host"] == f"localhost:{site.port}"
    assert headers["user-agent"].startswith("dnsfw/")
    assert headers["accept-encoding"] == "gzip"
    assert site.names[-1] == "localhost"


@pytest.mark.parametrize(
    "page",
    [
        answered(body=gzip(BODY), Content_Encoding="gzip"),
        answered(body=gzip(BODY), Content_Type="application/gzip"),
        gzip(BODY[:10]) + gzip(BODY[10:]) + bytes(512),
    ],
    ids=["the server packs", "the file is packed", "members"],
)
def test_what_is_packed_is_on_disk_as_it_is_unpacked(
    site: Https, tmp_path: Path, page: bytes | Script
) -> None:
    site.put("/a", page)

    got = get(site, tmp_path)

    assert got is not None
    assert (got.sha256, got.size) == (sha256(BODY).hexdigest(), len(BODY))
    assert (tmp_path / "body").read_bytes() == BODY


def test_row_128_a_bomb_is_stopped_at_its_size(site: Https, tmp_path: Path) -> None:
    """A thousand times as large unpacked: no more of it is written than may be."""
    bomb = gzip(b"a.example\n" * 5_000_000)
    assert len(bomb) < 200_000

    refused(site, tmp_path, bomb, "larger than 1000000 bytes", size=1_000_000, lines=10**9)
    assert (tmp_path / "body").stat().st_size <= 1_000_000


def test_whoever_looks_on_hears_of_what_comes(site: Https, tmp_path: Path) -> None:
    site.put("/a", BODY)
    heard: list[int] = []
    request = Request(site.url("/a"), 10_000, 1000, 5, str(site.ca.file))

    fetch(request, AnyWay(), tmp_path / "body", Stop(), lambda: heard.append(1))

    assert heard


def test_a_server_that_falls_silent_is_given_up_before_the_time_is_over(
    site: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.fetch.STALL", 0.2)
    done = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"a.example\n")
        handler.wfile.flush()
        done.wait(10)

    refused(site, tmp_path, silent, "it fell silent", time=60)
    done.set()


def test_what_has_not_changed_is_not_sent_again(site: Https, tmp_path: Path) -> None:
    site.put("/a", BODY)
    got = get(site, tmp_path)
    assert got is not None

    assert get(site, tmp_path, etag=got.etag) is None
    assert site.heard[-1][1]["if-none-match"] == got.etag


def test_a_date_is_asked_about_too(site: Https, tmp_path: Path) -> None:
    site.put("/a", answered(304))

    assert get(site, tmp_path, modified="Sun, 22 Nov 2026 09:00:00 GMT") is None
    assert "if-modified-since" in site.heard[-1][1]


def test_an_unchanged_that_nobody_asked_about_is_an_error(site: Https, tmp_path: Path) -> None:
    site.put("/a", answered(304))

    with pytest.raises(FetchError, match="304"):
        get(site, tmp_path)


def refused(site: Https, tmp_path: Path, page: bytes | Script, said: str, **more: object) -> None:
    site.put("/a", page)
    with pytest.raises(FetchError, match=said):
        get(site, tmp_path, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (answered(500), "the server says 500"),
        (answered(404, b"<html>"), "the server says 404"),
        (answered(206, BODY), "the server says 206"),
        (b"", "is empty"),
        (b"\n \r\n\t", "is empty"),
        (b"<!DOCTYPE html><p>moved", "page of HTML"),
        (b"\xef\xbb\xbf\n  <html>", "page of HTML"),
        (answered(body=b"a.example\n", Content_Type="text/html; charset=utf-8"), "page of HTML"),
        (answered(body=BODY, Content_Encoding="br"), "compresses by br, and only gzip"),
        (answered(body=BODY, Content_Encoding="gzip"), "no gzip, or damaged"),
        (b"\x1f\x8b\x08\x00", "broke off before its end"),
        (b"\x1f\x8b\x09\x00", "no gzip, or damaged"),
        (gzip(BODY)[:-4], "broke off before its end"),
        (answered(body=gzip(BODY)[:-8] + bytes(8), Content_Encoding="gzip"), "or damaged"),
        (gzip(gzip(BODY)), "no text"),
        (gzip(b"<html>"), "page of HTML"),
        (gzip(b""), "is empty"),
        (gzip(b"a.example\n" * 1001), "larger than 10000 bytes"),
        (gzip(b"\n" * 1001 + b"a.example"), "more than 1000 lines"),
        (broken_off(BODY, 500), "broke off|broke the connection"),
        (short(BODY, 500), "broke off 480 bytes before"),
        (cut(BODY), "broke the connection off"),
        (broken_off(b"", 500), "broke off|broke the connection|empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_row_128_what_is_no_list_is_an_error(
    site: Https, tmp_path: Path, page: bytes | Script, said: str
) -> None:
    refused(site, tmp_path, page, said)


def test_row_128_a_body_that_is_too_long_is_an_error_before_it_is_sent(
    site: Https, tmp_path: Path
) -> None:
    refused(site, tmp_path, b"a.example\n" * 101, "larger than", size=1000)
    assert not (tmp_path / "body").exists()


def test_row_128_a_body_without_end_is_cut(site: Https, tmp_path: Path) -> None:
    refused(site, tmp_path, endless(), "larger than", size=1 << 20, lines=1 << 30)
    assert (tmp_path / "body").stat().st_size <= 1 << 20


def test_row_128_too_many_lines_are_an_error(site: Https, tmp_path: Path) -> None:
    refused(site, tmp_path, b"a\n" * 1001, "more than 1000 lines")


@pytest.mark.parametrize("head", [False, True], ids=["body", "header"])
def test_a_server_that_drips_is_cut_at_the_deadline(
    site: Https, tmp_path: Path, head: bool
) -> None:
    began = time.monotonic()

    refused(site, tmp_path, dripping(head=head), "longer than 0.3 s", time=0.3)
    assert time.monotonic() - began < 3


def test_a_server_that_never_shakes_hands_is_cut(tmp_path: Path, ca: Ca) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}/"
        request = Request(url, 10, 10, 0.3, str(ca.file))

        with pytest.raises(FetchError, match=r"longer than 0.3 s|no answer in time"):
            fetch(request, AnyWay(), tmp_path / "body", Stop())


def test_who_ends_stops_a_download_at_once(site: Https, tmp_path: Path) -> None:
    site.put("/a", dripping())
    stop = Stop()
    threading.Timer(0.2, stop, ("dnsfw ends",)).start()

    with pytest.raises(FetchError, match="dnsfw ends"):
        get(site, tmp_path, time=30, stop=stop)


def test_what_was_stopped_before_it_began_does_not_begin(site: Https, tmp_path: Path) -> None:
    stop = Stop()
    stop("dnsfw ends")

    with pytest.raises(FetchError, match="dnsfw ends"):
        get(site, tmp_path, stop=stop)


# who the server is


def test_row_127_another_ca_is_not_believed(tmp_path: Path, site: Https) -> None:
    other = Ca.make(tmp_path / "other")
    before = len(site.heard)

    with pytest.raises(FetchError, match=r"certificate is not good.*`ca:`"):
        get(site, tmp_path, ca=str(other.file))
    assert len(site.heard) == before


def test_row_127_the_systems_cas_do_not_know_ours(tmp_path: Path, site: Https) -> None:
    with pytest.raises(FetchError, match="certificate is not good"):
        get(site, tmp_path, ca="")


def test_the_systems_cas_are_asked_where_none_is_named(
    tmp_path: Path, site: Https, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.ca.file))
    site.put("/a", BODY)

    assert get(site, tmp_path, ca="") is not None


def test_row_127_a_certificate_for_another_host_is_not_believed(tmp_path: Path, ca: Ca) -> None:
    with (
        Https(ca, cert=ca.certify("elsewhere.example")) as wrong,
        pytest.raises(FetchError, match=r"certificate is not good.*[Hh]ostname"),
    ):
        get(wrong, tmp_path)


def test_row_127_an_expired_certificate_is_not_believed(tmp_path: Path, ca: Ca) -> None:
    with (
        Https(ca, cert=ca.certify(days=-1)) as old,
        pytest.raises(FetchError, match=r"certificate is not good.*expired"),
    ):
        get(old, tmp_path)


def test_old_tls_is_not_spoken(tmp_path: Path, ca: Ca) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert context.minimum_version <= ssl.TLSVersion.TLSv1_2  # the control: it could be lower
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            sock, _ = plain.accept()
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            sock.close()

        threading.Thread(target=answer, daemon=True).start()
        request = Request(f"https://localhost:{plain.getsockname()[1]}/", 10, 10, 3, str(ca.file))

        with pytest.raises(FetchError, match="TLS failed"):
            fetch(request, AnyWay(), tmp_path / "body", Stop())


def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path, site: Https) -> None:
    with pytest.raises(FetchError, match=r"ca: /nowhere/ca.pem: No such file"):
        get(site, tmp_path, ca="/nowhere/ca.pem")


# redirects


def test_a_redirect_is_followed(site: Https, tmp_path: Path) -> None:
    site.put("/b", BODY)
    site.put("/a", redirect("/b"))

    assert get(site, tmp_path) is not None


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("http://localhost/b", "only https"),
        ("ftp://localhost/b", "only https"),
        ("file:///etc/shadow", "only https"),
        ("//user:secret@localhost/b", "no user"),
        ("", "leads nowhere"),
    ],
)
def test_row_127_a_redirect_leaves_https_for_nothing(
    site: Https, tmp_path: Path, to: str, said: str
) -> None:
    refused(site, tmp_path, redirect(to), said)


def test_a_redirect_in_a_circle_ends(site: Https, tmp_path: Path) -> None:
    refused(site, tmp_path, redirect("/a", 308), "more than 5 redirects")


def test_a_redirects_new_host_must_prove_itself(
    site: Https, tmp_path: Path, ca: Ca
) -> None:
    with Https(ca, cert=ca.certify("elsewhere.example")) as wrong:
        wrong.put("/a", BODY)
        refused(site, tmp_path, redirect(wrong.url("/a")), "certificate is not good")


class FirstFar(AnyWay):
    """A way on which the first server stands in the internet, and the next one there."""

    def __init__(self, then: str) -> None:
        self.peers = ["192.0.2.1", then]

    def connect(self, host: str, port: int, patience: float) -> socket.socket:
        return Elsewhere(super().connect(host, port, patience), self.peers.pop(0))


class Elsewhere(socket.socket):
    """A connection that says its peer has another address."""

    def __init__(self, sock: socket.socket, there: str) -> None:
        super().__init__(fileno=sock.detach())
        self.there = there

    def getpeername(self) -> tuple[str, int]:
        return self.there, 443


@pytest.mark.parametrize("there", ["10.1.2.3", "169.254.169.254", "fd00::1", "::ffff:10.0.0.1"])
def test_row_127_a_redirect_from_the_internet_does_not_reach_into_this_network(
    site: Https, tmp_path: Path, there: str
) -> None:
    """Its sockets pass the wall, so a publisher could have the daemon ask what he cannot."""
    site.put("/b", BODY)
    site.put("/a", redirect("/b"))
    request = Request(site.url("/a"), 10_000, 10, 5, str(site.ca.file))
    before = len(site.heard)

    with pytest.raises(FetchError, match="an address of this network"):
        fetch(request, FirstFar(there), tmp_path / "body", Stop())
    assert len(site.heard) == before + 1, "the other one was never asked"

    assert fetch(request, FirstFar("198.51.100.7"), tmp_path / "body", Stop()) is not None


# other nonsense


def test_a_host_that_nobody_knows_is_named(site: Https, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"nobody.invalid"):
        get(site, tmp_path, url="https://nobody.invalid/a")


def test_a_closed_port_is_said(tmp_path: Path, ca: Ca) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(FetchError, match="refused"):
        request = Request(f"https://localhost:{port}/", 10, 10, 3, str(ca.file))
        fetch(request, AnyWay(), tmp_path / "body", Stop())


@pytest.mark.parametrize(
    "junk",
    [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200,
     b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["another protocol", "status", "headers", "a header", "chunks"],
)  # fmt: skip
def test_what_is_no_http_is_an_error(site: Https, tmp_path: Path, junk: bytes) -> None:
    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(junk)
        handler.close_connection = True

    refused(site, tmp_path, script, "HTTP|no text|is empty|broke")


def test_marks_that_are_no_marks_are_forgotten(site: Https, tmp_path: Path) -> None:
    site.put("/a", lambda handler: say(handler, 200, BODY, {"ETag": "x" * 300}))

    got = get(site, tmp_path)

    assert got is not None and got.etag == ""
