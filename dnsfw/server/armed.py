"""The mark that a wall was built by `arm` and has no daemon yet, for `status`."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["disarmed", "is_armed", "mark_armed"]

_MARK = "armed"


def mark_armed(run_dir: Path) -> None:
    with contextlib.suppress(OSError):  # the wall stands, whatever `status` calls it
        (run_dir / _MARK).touch(mode=0o600)


def is_armed(run_dir: Path) -> bool:
    """Was the wall that stands built by `arm`, and taken over by nobody since?"""
    with contextlib.suppress(OSError):
        return (run_dir / _MARK).exists()
    return False


def disarmed(run_dir: Path) -> None:
    """A daemon has taken the wall over, or the wall is gone."""
    with contextlib.suppress(OSError):
        (run_dir / _MARK).unlink(missing_ok=True)
