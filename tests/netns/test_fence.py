"""What the fence closes; the whole of it is tried in test_run.py (row 42)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath import landlock

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroup]

INSIDE = """
import sys
sys.path.insert(0, sys.argv[1])
from dnsfw.datapath.fence import close_in
close_in()
print(open("/proc/self/cgroup").read().rpartition("0::")[2].strip())
import os
try:
    os.listdir("/proc/1/root")
    print("sees it")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(not landlock.version(), reason="no Landlock")
def test_its_cgroup_is_the_top_and_other_processes_are_closed() -> None:
    home = str(Path(sys.modules["dnsfw"].__file__ or "").parents[1])

    done = subprocess.run(
        [sys.executable, "-c", INSIDE, home], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert done.stdout.split() == ["/", "PermissionError"]
