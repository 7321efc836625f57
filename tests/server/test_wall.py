"""The kernel seam over the real wall: what is decided before any kernel is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath import mounts
from dnsfw.server import wall
from dnsfw.server.options import Options


def test_the_pin_directory_is_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSFW_PIN_DIR", "/sys/fs/bpf/mine")

    assert wall.pin_dir(Options()) == Path("/sys/fs/bpf/mine")


def test_removing_nothing_mounts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DNSFW_PIN_DIR", raising=False)
    monkeypatch.setattr(mounts, "where", lambda kind: None)
    monkeypatch.setattr(mounts, "bpffs", lambda: pytest.fail("mounted"))

    assert not wall.remove_wall(Options())


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (Options(), True),
        (Options(cgroup="/x"), False),
        (Options(interfaces=("eth0",)), False),
    ],
)
def test_up_alone_guards_the_host(options: Options, host: bool) -> None:
    assert wall._guards_host(options) is host


def test_loopback_is_not_among_the_guarded_devices() -> None:
    assert "lo" not in wall.every_device()


def test_the_backend_is_the_one_that_was_asked_for() -> None:
    assert wall._backend("libbpf").name == "libbpf"
