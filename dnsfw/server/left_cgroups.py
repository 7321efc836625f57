"""The cgroups that dnsfw made for enrolled processes and programs, when their daemon is gone.

The running daemon's helper takes everybody out again. After a crash only the cgroups
themselves tell (a mark on the directory), so what was guarded is noted: a second dnsfw
elsewhere in the tree has cgroups of its own, which are not ours to dissolve.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dnsfw.datapath import cgroup, enroll
from dnsfw.datapath.abi import Rank
from dnsfw.errors import DnsfwError

__all__ = ["dissolve_left", "forget", "remember"]

_NOTE = "guarded"
_LONGEST = 4096


def remember(run_dir: Path, guarded: str | None) -> None:
    """Below which cgroup to look: `--cgroup`, or everywhere."""
    with contextlib.suppress(OSError):
        (run_dir / _NOTE).write_text(guarded or "")


def forget(run_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (run_dir / _NOTE).unlink(missing_ok=True)


def dissolve_left(run_dir: Path) -> tuple[str, ...]:
    """Everybody back where they came from, the deepest first. Says which cgroups stayed."""
    try:
        with (run_dir / _NOTE).open() as file:
            named = file.read(_LONGEST)
        top = cgroup.find(named) if named else cgroup.root()
    except (OSError, ValueError, DnsfwError):
        return ()
    forget(run_dir)
    return tuple(str(path) for path in _made(top) if not enroll.dissolve(path, _home(path, top)))


def _made(top: Path) -> list[Path]:
    """Those with somebody to move: one that only holds others goes with the last of them."""
    below = [Path(where) for where, _, _ in os.walk(top)]
    marked = [p for p in below if enroll.rank_of(p) not in {None, Rank.NONE}]
    return sorted(marked, key=lambda path: len(path.parts), reverse=True)


def _home(path: Path, top: Path) -> Path:
    home = path.parent
    while home != top and enroll.rank_of(home) is not None:
        home = home.parent
    return home
