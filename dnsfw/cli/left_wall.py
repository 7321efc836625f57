"""What to say where no daemon answers: nothing is here, or its wall still stands."""

from __future__ import annotations

from pathlib import Path

from dnsfw.server.armed import is_armed
from dnsfw.server.removal import wall_stands

__all__ = ["left_wall"]

_LEFT = (
    "the daemon does not run; the wall it left stands and opens nothing new. "
    "`sudo dnsfw up` (with the same options) takes it over, `sudo dnsfw down` removes it"
)
_ARMED = (
    "armed, no daemon: address rules hold and names stay closed. "
    "`sudo dnsfw up` (with the same options) takes over, `sudo dnsfw down` removes the wall"
)


def left_wall(run_dir: Path) -> tuple[bool, bool, str]:
    """Whether a wall stands without its daemon, whether it was armed, and what to do."""
    left = run_dir.is_dir() and wall_stands()
    armed = left and is_armed(run_dir)
    return left, armed, (_ARMED if armed else _LEFT) if left else ""
