"""What a check says of itself, and how a host is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath.checks import Check, Host


@pytest.mark.parametrize(
    ("ok", "vital", "level"),
    [(True, True, "ok"), (True, False, "ok"), (False, False, "warn"), (False, True, "fail")],
)
def test_only_what_is_vital_fails(ok: bool, vital: bool, level: str) -> None:
    assert Check("x", ok, "", vital=vital).level == level


def test_a_host_is_files_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").write_text("text")
    (tmp_path / "etc/b").symlink_to("a")
    host = Host(root=tmp_path)

    assert (host.text("/etc/a"), host.link("/etc/b")) == ("text", "a")
    assert host.entries("/etc") == ("a", "b")
    assert host.exists("/etc/a") and host.status("/etc/a") is not None


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    host = Host(root=tmp_path)

    assert (host.text("/x"), host.link("/x"), host.entries("/x")) == ("", "", ())
    assert not host.exists("/x") and host.status("/x") is None


def test_this_kernel_tells_a_listener_the_mark() -> None:
    assert Host().has_receive_mark()
