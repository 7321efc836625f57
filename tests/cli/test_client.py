"""The commands' end of the control socket, against daemons that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnsfw.cli.client import Client, NoDaemon
from dnsfw.errors import ConfigError, DatapathError, PolicyError


@contextmanager
def speaking(tmp_path: Path, *said: bytes) -> Iterator[Client]:
    """A daemon that says this, whatever it is asked, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                for part in said:
                    sock.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Client(str(tmp_path))
        thread.join()


def test_rows_and_last_line_may_come_in_any_pieces(tmp_path: Path) -> None:
    with speaking(
        tmp_path, b'{"row": {"n"', b': 1}}\n{"row": {"n": 2}}\n{"o', b'k": true}\n'
    ) as one:
        assert list(one.rows("grants")) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"ok": false, "error": "x", "exit": 2}\n', ConfigError),
        (b'{"ok": false, "error": "x", "exit": 2, "policy": true}\n', PolicyError),
        (b'{"ok": false, "error": "x", "exit": 3}\n', DatapathError),
    ],
)
def test_the_daemons_no_is_an_error_of_its_kind(
    tmp_path: Path, line: bytes, kind: type[Exception]
) -> None:
    with speaking(tmp_path, line) as one, pytest.raises(kind, match="x"):
        one.ask("reload")


@pytest.mark.parametrize("said", [b"", b'{"row": {}}\n'])
def test_a_daemon_that_ends_in_the_middle_is_told(tmp_path: Path, said: bytes) -> None:
    with speaking(tmp_path, said) as one, pytest.raises(DatapathError, match="its log"):
        one.ask("status")


def test_a_watch_that_outlives_the_daemon_says_where_to_look(tmp_path: Path) -> None:
    with (
        speaking(tmp_path, b'{"row": {}}\n') as one,
        pytest.raises(DatapathError, match="the daemon has ended; `dnsfw status`"),
    ):
        list(one.rows("watch", forever=True))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match="sudo dnsfw up"):
        Client(str(tmp_path)).ask("status")


def test_a_socket_nobody_listens_on_any_more(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))

    with pytest.raises(NoDaemon):
        Client(str(tmp_path)).ask("status")


def test_no_access_says_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "connect", refuse)

    with pytest.raises(ConfigError, match="sudo"):
        Client(str(tmp_path)).ask("status")
