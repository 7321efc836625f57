"""The command's end and stops, and who buries its orphans."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dnsfw.server.run_signals import Signals
from dnsfw.server.run_watch import ChildWatch, bury

_PATIENCE = 10


@pytest.fixture
def signals() -> Iterator[Signals]:
    made = Signals()
    yield made
    made.close()


def _spawn(argv: tuple[str, ...], signals: Signals) -> int:
    return os.posix_spawn(argv[0], argv, os.environ, setsigmask=signals.before)


async def status_of(signals: Signals, *argv: str, send: int = 0) -> int:
    loop = asyncio.get_running_loop()
    pid = _spawn(argv, signals)
    watch = ChildWatch(pid, signals)
    loop.add_reader(signals.fd, watch.hear)
    try:
        if send:
            os.kill(os.getpid(), send)
        async with asyncio.timeout(_PATIENCE):
            return await watch.ended
    finally:
        loop.remove_reader(signals.fd)


@pytest.mark.parametrize(
    ("script", "expected"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)]
)
async def test_its_end_is_a_shells_status(signals: Signals, script: str, expected: int) -> None:
    assert await status_of(signals, "/bin/sh", "-c", script) == expected


async def test_a_signal_to_us_is_passed_on(signals: Signals) -> None:
    assert await status_of(signals, "/bin/sleep", "60", send=signal.SIGUSR1) == 128 + 10


def test_orphans_are_buried_but_not_the_command() -> None:
    orphan = os.posix_spawn("/bin/true", ["true"], os.environ)
    os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
    bury(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(orphan, 0)

    command = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    bury(command.pid)
    assert command.wait() == 0
