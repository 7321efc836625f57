"""Row 118: somebody rewrote resolv.conf, and it is said once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.server.address import parse_endpoint
from dnsfw.server.resolvwatch import ResolvWatch

LISTEN = [parse_endpoint("127.0.53.53:53"), parse_endpoint("[::1]:53")]


class Host:
    """A resolv.conf and who watches it."""

    def __init__(self, path: Path, text: str | None) -> None:
        self.path = path
        self.said: list[tuple[str, str]] = []
        self.write(text)
        self.taken_over = False
        self.watch = ResolvWatch(
            LISTEN, lambda kind, text: self.said.append((kind, text)), lambda: self.taken_over, path
        )

    def write(self, text: str | None) -> None:
        """As tools do it: a new file in the place of the old one."""
        new = self.path.with_suffix(".new")
        if text is None:
            self.path.unlink(missing_ok=True)
            return
        new.write_text(text)
        new.rename(self.path)

    def becomes(self, text: str | None) -> None:
        self.write(text)
        self.watch.look()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


def test_row_118_a_file_that_stops_leading_here_is_told_once(path: Path) -> None:
    host = Host(path, "nameserver 127.0.53.53\n")
    host.watch.look()
    assert not host.said

    host.becomes("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    host.becomes("nameserver 192.0.2.3\n")
    host.watch.look()

    ((kind, text),) = host.said
    assert kind == "resolv-conf"
    assert "no longer leads here: it names 192.0.2.1, 192.0.2.2" in text
    assert host.watch.wrong == text


@pytest.mark.parametrize("text", [None, "", "nameserver 127.0.0.53\n"])
def test_row_118_so_is_one_that_is_gone_empty_or_a_stubs(path: Path, text: str | None) -> None:
    host = Host(path, "nameserver ::1\n")

    host.becomes(text)

    assert len(host.said) == 1


def test_row_118_what_is_mended_is_told_too(path: Path) -> None:
    host = Host(path, "nameserver 127.0.53.53\n")
    host.becomes("nameserver 192.0.2.1\n")
    host.becomes("nameserver 192.0.2.1\nnameserver 127.0.53.53\n")

    assert host.said[1][1].endswith("leads here again")
    assert not host.watch.wrong
    host.becomes("nameserver 192.0.2.1\n")
    assert len(host.said) == 3


def test_a_host_that_never_asked_us_is_left_alone(path: Path) -> None:
    host = Host(path, "nameserver 192.0.2.1\n")
    host.becomes("nameserver 192.0.2.2\n")
    host.becomes(None)

    assert not host.said


def test_a_host_that_begins_to_ask_us_counts_from_then_on(path: Path) -> None:
    host = Host(path, "nameserver 192.0.2.1\n")
    host.becomes("nameserver 127.0.53.53\n")
    host.becomes("nameserver 192.0.2.1\n")

    assert len(host.said) == 1


def test_a_host_whose_port_53_is_taken_over_may_write_what_it_likes(path: Path) -> None:
    host = Host(path, "nameserver 127.0.53.53\n")
    host.taken_over = True
    host.becomes("nameserver 192.0.2.1\n")

    assert not host.said
