"""A cgroup for a command: whatever it starts ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath.tree import Tree, own_cgroup
from dnsfw.errors import DatapathError
from tests.support.netlab import Lab, wait_until

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroup]

FORKS = "import os, time\nfor _ in range(3): os.fork()\ntime.sleep(60)\n"


@pytest.fixture
def tree(lab: Lab) -> Iterator[Tree]:
    cgroup = lab.cgroup()
    made = Tree(cgroup.path / "run")
    made.path.mkdir()
    yield made


def start(tree: Tree) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", f"input()\n{FORKS}"], stdin=subprocess.PIPE)
    tree.take(process.pid)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    wait_until(lambda: len(tree.pids()) == 8, what="eight processes")
    return process


def test_everything_in_it_ends_at_once(tree: Tree) -> None:
    process = start(tree)

    assert tree.end()

    assert tree.pids() == ()
    assert process.wait(5) == -9
    tree.remove()
    assert not tree.path.exists()


def test_before_linux_5_14_a_frozen_tree_is_killed_one_by_one(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(tree)
    write = Path.write_text

    def no_kill(path: Path, text: str) -> int:
        if path.name == "cgroup.kill":
            raise FileNotFoundError(path)
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", no_kill)
    assert tree.end()

    assert process.wait(5) == -9
    tree.remove()
    assert not tree.path.exists()


def test_an_empty_or_a_missing_one_has_ended() -> None:
    assert Tree(Path("/nonexistent")).end()


def test_a_process_that_is_gone_cannot_be_taken(tree: Tree) -> None:
    done = subprocess.Popen(["true"])
    done.wait()

    with pytest.raises(DatapathError, match="cannot move process"):
        tree.take(done.pid)


def test_our_own_cgroup_is_found_below_the_top(tree: Tree) -> None:
    top = tree.path.parents[1]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from dnsfw.datapath.tree import own_cgroup; input(); print(own_cgroup(Path(sys.argv[2])))"
    )
    home = str(Path(sys.modules["dnsfw"].__file__ or "").parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", code, home, str(top)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    tree.take(process.pid)

    assert process.communicate("\n", timeout=20)[0].strip() == str(tree.path)
    assert own_cgroup(Path("/nonexistent")) == Path("/nonexistent")
    assert os.path.isdir(own_cgroup(top))  # noqa: PTH112
