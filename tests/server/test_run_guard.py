"""The process that ends a run whose own process was killed."""

from __future__ import annotations

import os
from pathlib import Path

from dnsfw.server.run_guard import RunGuard
from tests.support.netlab import wait_until


def test_who_is_relieved_does_nothing(tmp_path: Path) -> None:
    guard = RunGuard(lambda: (tmp_path / "undone").touch())

    guard.relieve()

    assert not (tmp_path / "undone").exists()


def test_row_48_the_end_of_the_pipe_without_a_word_undoes_everything(tmp_path: Path) -> None:
    guard = RunGuard(lambda: (tmp_path / "undone").touch())

    os.close(guard.fd)

    wait_until((tmp_path / "undone").exists, what="the guard")
    os.waitpid(guard._pid, 0)
