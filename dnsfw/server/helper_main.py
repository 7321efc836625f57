"""The helper as long as nobody asks it for anything: a shell that waits, and its pair.

On most hosts nobody ever does. So it gives up what it does not need and becomes a shell in one
`read`, a thirtieth of an interpreter; a word from the daemon makes it our Python. Where there is
no shell it is that from the start: then what it takes to serve is imported with the first
request. Nothing here imports more than waiting needs: no pathlib, no dataclasses.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl

from dnsfw.server.capabilities import HELPER, Cap, drop, hand_on
from dnsfw.server.hurry import relax

__all__ = ["WAKE", "begin", "command", "main"]

WAKE = b"\n"  # said by the daemon on the way of news, before its first request
_SHELL = "/bin/sh"
# No program is run for it. A shell knows descriptors of one figure only.
_WAIT = 'echo dnsfw-helper >/proc/self/comm; read -r _ <&4 && exec "$@"'
_PAIR, _NEWS = 3, 4
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
        argv, environment = command(_PAIR, _NEWS, parent)
        relax()  # nobody waits for it
        _place(pair, news)
        _libc.unshare(_CLONE_NEWNET)  # without the right to it there is nothing to fear either
        os.umask(0o022)
        os.chdir("/")
        hand_on({*HELPER, Cap.SETPCAP})  # that one to empty what programs of root's may have
        _follow(parent)
        with suppress(OSError):  # there is none, or none that we may run
            # As `sh`: busybox is the program that it is called.
            os.execve(_SHELL, ["sh", "-c", _WAIT, "dnsfw-helper", *argv], environment)
        os.execve(argv[0], argv, environment)
    finally:
        os._exit(1)


def _place(pair: int, news: int) -> None:
    """No terminal, and no descriptor but these two, where a shell can name them."""
    null = os.open(os.devnull, os.O_RDWR)
    aside = [fcntl(fd, F_DUPFD_CLOEXEC, _NEWS + 1) for fd in (null, null, null, pair, news)]
    for fd, given in enumerate(aside):
        os.dup2(given, fd)
    _close_others({_PAIR, _NEWS})


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
    """No more descriptors and privileges than it needs."""
    _close_others(keep)
    _libc.prctl(_PR_SET_NAME, b"dnsfw-helper", 0, 0, 0)
    drop(HELPER)
    _follow(parent)


def _close_others(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if (fd := int(name)) >= _FIRST and fd not in keep:
            with suppress(OSError):  # the one that lists them
                os.close(fd)


def _follow(parent: int) -> None:
    """It ends when its parent does. To be said last: a change of rights clears it (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
