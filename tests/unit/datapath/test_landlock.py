"""Where a process may write: the kernel's word, in a child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath import landlock

pytestmark = pytest.mark.skipif(not landlock.version(), reason="no Landlock")

CHILD = """
import ctypes, errno, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from dnsfw.datapath import landlock
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
top = Path(sys.argv[2])
landlock.restrict(landlock.WRITING, [top / "store"])
def tries(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
print(
    tries((top / "policy").read_text), tries(os.listdir, top),
    tries((top / "store" / "a").write_text, "a"), tries((top / "store" / "b").mkdir),
    tries((top / "store" / "a").rename, top / "store" / "c"), tries((top / "store" / "c").unlink),
)
print(
    tries((top / "policy").write_text, "a"), tries((top / "new").write_text, "a"),
    tries((top / "policy").unlink), tries((top / "dir").mkdir),
    tries(os.rename, top / "policy", top / "store" / "x"), tries(os.execv, "/bin/true", ["true"]),
    tries(os.open, top / "policy", os.O_RDONLY | os.O_TRUNC),
)
"""


def test_it_writes_where_it_may_and_reads_everywhere(tmp_path: Path) -> None:
    home = str(Path(sys.modules["dnsfw"].__file__ or "").parents[1])
    (tmp_path / "store").mkdir()
    (tmp_path / "policy").write_text("kept")

    done = subprocess.run(
        [sys.executable, "-c", CHILD, home, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stderr == ""
    inside, outside = done.stdout.splitlines()
    assert inside.split() == ["done"] * 6
    assert set(outside.split()[:-1]) <= {"EACCES", "EXDEV"}
    if landlock.version() >= 3:
        assert outside.split()[-1] == "EACCES"
        assert (tmp_path / "policy").read_text() == "kept"
