"""`python -m dnsfw`, for who has no `dnsfw` on the path."""

from __future__ import annotations

import subprocess
import sys

from dnsfw import __version__


def test_python_m_dnsfw_is_dnsfw() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dnsfw", "--version"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, f"dnsfw {__version__}\n")
