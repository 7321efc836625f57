"""Signals of `dnsfw run`, read from a descriptor with who sent them.

The command stays in our process group, so that Ctrl-C, Ctrl-Z and pipes work as without us
and the terminal need not be handed over. What the terminal sends reaches both; what somebody
sends to us alone is passed on.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from struct import Struct

from dnsfw.values import dataclass

__all__ = ["PASSED", "Heard", "Signals"]

PASSED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT,
)  # fmt: skip
_ALL = frozenset({*PASSED, signal.SIGCHLD})
_SI_KERNEL = 0x80
_SET_BYTES = 128  # sigset_t of glibc and musl
_SIGINFO = Struct("=IiiI")  # the head of struct signalfd_siginfo, 128 bytes
_SIGINFO_BYTES = 128
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Heard:
    """One signal."""

    number: signal.Signals
    by_terminal: bool  # the kernel sent it to the whole foreground process group


class Signals:
    """Holds them back from the moment it is made, for this thread and those it starts."""

    def __init__(self) -> None:
        self.before: set[int] = set(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)))
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else nobody learns how it ended
        self.fd = _signalfd()

    def read(self) -> Iterator[Heard]:
        """What came since, SIGCHLD among it."""
        while True:
            try:
                data = os.read(self.fd, _SIGINFO_BYTES * _BATCH)
            except BlockingIOError:
                return
            for at in range(0, len(data), _SIGINFO_BYTES):
                number, _, code, _ = _SIGINFO.unpack_from(data, at)
                yield Heard(signal.Signals(number), code == _SI_KERNEL)

    def close(self) -> None:
        """As before."""
        os.close(self.fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


def _signalfd() -> int:
    mask = sum(1 << (number - 1) for number in _ALL)
    libc = ctypes.CDLL(None, use_errno=True)
    flags = os.O_NONBLOCK | os.O_CLOEXEC  # SFD_NONBLOCK, SFD_CLOEXEC
    fd = int(libc.signalfd(-1, mask.to_bytes(_SET_BYTES, "little"), flags))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return fd
