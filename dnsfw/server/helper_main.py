"""The helper as long as nobody asks it for anything: an interpreter, and its pair.

It gives up what it does not need and waits. What it takes to serve is imported with the first
request, which on most hosts never comes; until then it is a third as large. Nothing here
imports more than that needs: no pathlib, no dataclasses.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress

from dnsfw.server.capabilities import HELPER, drop, hand_on
from dnsfw.server.hurry import relax

__all__ = ["begin", "command", "main"]

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_CLONE_NEWNET = 0x40000000
_FIRST = 3  # descriptor after stdin, stdout and stderr
_libc = ctypes.CDLL(None, use_errno=True)


def command(pair: int, news: int, parent: int) -> tuple[list[str], dict[str, str]]:
    """How it is started, by the same Python and package that we are: arguments, environment."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    text = "from dnsfw.server.helper_main import main; main()"
    # -P: never from the cwd. -S: the standard library and dnsfw are all that it needs.
    argv = [sys.executable, "-P", "-S", "-c", text, str(pair), str(news), str(parent)]
    return argv, {"PYTHONPATH": home, "PATH": os.environ.get("PATH", os.defpath)}


def begin(pair: int, news: int, parent: int) -> None:
    """In the process that was forked for it: become it. Never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # the parent's to act on; we follow it
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for fd in (pair, news):
            os.set_inheritable(fd, True)
        argv, environment = command(pair, news, parent)
        relax()  # nobody waits for it
        hand_on(HELPER)
        os.chdir("/")
        os.execve(argv[0], argv, environment)  # what else is open closes
    finally:
        os._exit(1)


def main() -> None:
    """The helper's whole life. Never returns."""
    status = 1
    try:
        pair, news, parent = map(int, sys.argv[1:])
        _settle({pair, news}, parent)
        poll = select.poll()
        poll.register(pair, select.POLLIN)
        poll.poll()
        serve(pair, news)
        status = 0
    finally:
        os._exit(status)


def serve(pair: int, news: int) -> None:
    """Somebody asks, or has ended."""
    import socket

    from dnsfw.server.helper_child import HelperChild

    HelperChild(socket.socket(fileno=pair), socket.socket(fileno=news)).serve()


def _settle(keep: set[int], parent: int) -> None:
    """Alone: no descriptor, no terminal, no network, no more privileges than it needs."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if (fd := int(name)) >= _FIRST and fd not in keep:
            with suppress(OSError):  # the one that lists them
                os.close(fd)
    _libc.prctl(_PR_SET_NAME, b"dnsfw-helper", 0, 0, 0)
    _libc.unshare(_CLONE_NEWNET)  # without the right to it there is nothing to fear either
    os.umask(0o022)
    drop(HELPER)
    # Last: a change of credentials clears it (prctl(2)).
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
