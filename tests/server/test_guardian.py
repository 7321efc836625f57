"""The promise of `--try` without the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dnsfw
from dnsfw.server.guardian import Guardian

WITNESS = """
import sys
from pathlib import Path
import dnsfw.server.removal
dnsfw.server.removal.remove_left_overs = lambda run_dir: (run_dir / "removed").write_text("")
from dnsfw.server.guardian import main
main()
"""


def start(run_dir: Path) -> subprocess.Popen[bytes]:
    """A guardian whose removal leaves a witness."""
    return subprocess.Popen(
        [sys.executable, "-c", WITNESS, str(run_dir)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(dnsfw.__file__).parents[1])},
    )


def test_a_daemon_that_dies_in_its_trial_leaves_no_wall(tmp_path: Path) -> None:
    guardian = start(tmp_path)
    assert guardian.stdin is not None
    guardian.stdin.close()  # what the kernel does when the daemon is killed

    assert guardian.wait(10) == 0
    assert (tmp_path / "removed").exists()


def test_a_relieved_guardian_removes_nothing(tmp_path: Path) -> None:
    guardian = start(tmp_path)
    guardian.communicate(b".", 10)

    assert not (tmp_path / "removed").exists()


def test_it_survives_the_terminal_that_started_it(tmp_path: Path) -> None:
    guardian = start(tmp_path)
    assert guardian.stdin is not None
    _wait_for_ignored(guardian.pid)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        guardian.send_signal(number)
    guardian.stdin.close()

    assert guardian.wait(10) == 0
    assert (tmp_path / "removed").exists()


def _wait_for_ignored(pid: int) -> None:
    wanted = 1 << signal.SIGTERM - 1
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("SigIgn:"))
        if int(line.split()[1], 16) & wanted:
            return


def test_the_daemons_end_is_quick(tmp_path: Path) -> None:
    Guardian(tmp_path).relieve()
