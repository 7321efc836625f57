"""The command's process before it is the command."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server.run_child import NOT_EXECUTABLE, NOT_FOUND, Child, Start


@pytest.fixture
def child() -> Child:
    return Child(set())


def status(child: Child) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])


def test_it_waits_until_it_may_go(child: Child, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    assert os.waitpid(child.pid, os.WNOHANG) == (0, 0)
    child.go(Start(("touch", str(mark))))

    assert child.failed() is None
    assert status(child) == 0
    assert mark.exists()


def test_without_its_parent_it_ends_and_nothing_ran(child: Child) -> None:
    child.close()

    assert status(child) == 137


@pytest.mark.parametrize(
    ("command", "expected"),
    [("no-such-command", NOT_FOUND), ("/etc/passwd/x", NOT_FOUND), ("/etc/passwd", NOT_EXECUTABLE)],
)
def test_a_command_that_cannot_be_says_why(child: Child, command: str, expected: int) -> None:
    child.go(Start((command,)))

    failed = child.failed()

    assert failed is not None
    assert failed[0] == expected
    assert status(child) == expected


def test_words_are_octets(child: Child, tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")

    child.go(Start(("touch", name)))

    assert status(child) == 0
    assert os.listdir(bytes(tmp_path)) == [b"\xff\xfe"]  # noqa: PTH208


def test_sockets_are_made_where_it_is(child: Child) -> None:
    wanted = [(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))]

    (made,) = child.sockets(wanted)

    assert made.getsockname()[0] == "127.0.0.1"
    made.close()
    with pytest.raises(DatapathError, match="assign requested address"):
        child.sockets([(socket.AF_INET, socket.SOCK_DGRAM, ("203.0.113.1", 0))])
    child.close()
    status(child)


def test_a_guard_that_cannot_be_is_an_error_and_nothing_ran(child: Child, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    child.go(Start(("touch", str(mark)), filter=b"\0" * 8))

    with pytest.raises(DatapathError, match="system call filter"):
        child.failed()
    status(child)
    assert not mark.exists()
