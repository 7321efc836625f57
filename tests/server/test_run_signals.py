"""Signals as values: which, and whether the terminal sent them to all."""

from __future__ import annotations

import os
import signal

from dnsfw.server.run_signals import Signals


def test_a_signal_is_held_back_and_read_with_its_sender() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signals = Signals()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGWINCH)

        heard = list(signals.read())

        assert {h.number for h in heard} == {signal.SIGUSR1, signal.SIGWINCH}
        assert not any(h.by_terminal for h in heard)
        assert list(signals.read()) == []
    finally:
        signals.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signals.before == set(map(int, before))
