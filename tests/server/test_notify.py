"""What systemd hears."""

from __future__ import annotations

import socket
from pathlib import Path

from dnsfw.server.notify import Notify


def test_systemd_hears_ready_reloading_alive_stopping(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "10000000"}
        notify = Notify(environ)
        notify.longer(40.0)
        notify.ready("guarding")
        notify.reloading()
        notify.alive()
        notify.stopping()

        heard = [systemd.recv(200).decode() for _ in range(5)]

    assert heard.pop(0) == "EXTEND_TIMEOUT_USEC=40000000"
    assert heard[0] == "READY=1\nSTATUS=guarding"
    assert heard[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[2:] == ["WATCHDOG=1", "STOPPING=1"]
    assert environ == {}  # a child must not speak for us


def test_the_watchdog_is_fed_well_before_it_bites() -> None:
    assert Notify({"WATCHDOG_USEC": "10000000"}).watchdog == 5.0


def test_without_systemd_nothing_is_sent() -> None:
    Notify({}).ready("guarding")


def test_a_notify_socket_that_is_gone_is_survived(tmp_path: Path) -> None:
    Notify({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("guarding")


def test_an_abstract_socket_is_written_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0dnsfw-test-notify")
        Notify({"NOTIFY_SOCKET": "@dnsfw-test-notify"}).alive()

        assert systemd.recv(100) == b"WATCHDOG=1"
