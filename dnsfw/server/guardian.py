"""Keeps the promise of `--try` when the daemon cannot: a process of its own that waits.

It holds the reading end of a pipe. One byte means that the daemon confirmed the trial or
took everything down itself. The end of the pipe without that byte means that the daemon
died in its trial: the wall it left goes at once, for nobody could confirm it any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dnsfw
from dnsfw.errors import DnsfwError

__all__ = ["Guardian", "main"]

_RELIEVED = b"."


class Guardian:
    """The daemon's end."""

    def __init__(self, run_dir: Path) -> None:
        """Starts it. It survives the terminal, Ctrl-C, and us."""
        home = str(Path(dnsfw.__file__).parents[1])  # the same package that we are
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(run_dir)],  # -P: never from the cwd
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": home},
        )

    def relieve(self) -> None:
        """The trial is over, one way or the other: it may go."""
        stdin, self._process.stdin = self._process.stdin, None
        if stdin is not None:
            try:
                stdin.write(_RELIEVED)
                stdin.close()
            except BrokenPipeError:
                pass  # somebody ended it
            self._process.wait()


def main() -> None:
    """Its own end: stdin is the pipe, the argument is the run directory."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read(1) == _RELIEVED:
        return
    from dnsfw.server.removal import remove_left_overs

    try:
        remove_left_overs(Path(sys.argv[1]))
    except DnsfwError as error:
        sys.exit(f"dnsfw: the trial ended with the daemon, but its wall could not go: {error}")


if __name__ == "__main__":
    main()
