"""The helper's loop believes nothing: requests as no daemon of ours would make them."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server.helper_child import HelperChild
from dnsfw.server.helper_wire import LONGEST, code, receive, send


class Asker:
    """The daemon's end, and a helper in a thread that has no privileges to lose."""

    def __init__(self) -> None:
        self.pair, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.news, says = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pair.settimeout(5)
        self.pair.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LONGEST)
        self._ends = (theirs, says)
        self.thread = threading.Thread(target=HelperChild(theirs, says).serve, daemon=True)
        self.thread.start()

    def ask(self, **request: Any) -> dict[str, Any]:
        send(self.pair, request)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        data, fds = receive(self.pair)
        assert not fds
        reply: dict[str, Any] = json.loads(data)
        return reply

    def close(self) -> None:
        self.pair.close()
        self.thread.join(5)
        for end in (*self._ends, self.news):
            end.close()


@pytest.fixture
def asker() -> Iterator[Asker]:
    made = Asker()
    yield made
    made.close()


@pytest.mark.parametrize(
    "message",
    [b"x", b"[]", b"null", b"{", b'{"do": 7}', b'{"do": "shell"}', b'{"do": "__init__"}',
     b"\xff\xfe", b'{"do": "sockets"}', b'{"do": "sockets", "pid": "x", "wanted": []}',
     b'{"do": "sockets", "pid": 1, "wanted": 7}', b'{"do": "end", "sockets": [{}]}',
     b'{"do": "tables", "names": ["dnsfw_cgroups"]}', b"[" * 100_000],
    ids=lambda message: message[:40].decode(errors="replace"),
)  # fmt: skip
def test_nonsense_is_answered_and_the_next_request_too(asker: Asker, message: bytes) -> None:
    asker.pair.send(message)

    assert "error" in asker.answer()
    assert asker.ask(do="watch", executables=[]) == {"absent": []}


@pytest.mark.parametrize("do", ["enroll", "unenroll", "relabel", "watch"])
def test_nothing_is_moved_before_the_tables_are_there(asker: Asker, do: str) -> None:
    executable = {"path": "/bin/true", "role": 20, "name": "web", "number": 0}

    said = asker.ask(do=do, pid=1, role=20, name="web", pids=[1], executables=[executable])

    assert said == {"error": "helper: no tables yet", "mistake": False}


@pytest.mark.parametrize(
    ("address", "says"),
    [("192.0.2.1", "on loopback only"), ("0.0.0.0", "on loopback only"), ("::", "on loopback only"),
     ("x; rm -rf", "ValueError")],
)  # fmt: skip
@pytest.mark.needs_root
def test_sockets_elsewhere_are_on_loopback(asker: Asker, address: str, says: str) -> None:
    wanted = [{"transport": "udp", "address": address, "port": 0}]

    assert says in asker.ask(do="sockets", pid=os.getpid(), wanted=wanted)["error"]


def test_requests_are_bounded(asker: Asker) -> None:
    one = {"transport": "udp", "address": "127.0.0.1", "port": 0}
    program = {"path": "/bin/true", "role": 20, "name": "web", "number": 0}

    assert "more than" in asker.ask(do="sockets", pid=os.getpid(), wanted=[one] * 33)["error"]
    assert "more than" in asker.ask(do="watch", executables=[program] * 1025)["error"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("path", "relative"), ("path", ""), ("role", 1), ("role", 256), ("role", "20"),
     ("name", "a/b"), ("name", "../x"), ("name", 7)],
)  # fmt: skip
def test_programs_are_looked_at(asker: Asker, key: str, value: object) -> None:
    program = {"path": "/bin/true", "role": 20, "name": "web", "number": 0, key: value}

    assert "helper: " in asker.ask(do="watch", executables=[program])["error"]


def test_tables_must_be_the_tables(asker: Asker) -> None:
    with open(os.devnull) as null:  # noqa: PTH123
        request = {"do": "tables", "names": ["dnsfw_cgroups"], "code": code()}
        send(asker.pair, request, [null.fileno()])
        said = asker.answer()

    assert "error" in said and "disk" not in said["error"]


def test_more_descriptors_than_agreed_are_not_taken(asker: Asker) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with ours, theirs:
        send(ours, {}, [0] * 200)
        with pytest.raises(DatapathError, match="too long"):
            receive(theirs)

    assert len(os.listdir("/proc/self/fd")) == before - 2  # noqa: PTH208


def test_it_ends_with_the_other_end(asker: Asker) -> None:
    asker.pair.close()

    asker.thread.join(5)
    assert not asker.thread.is_alive()
