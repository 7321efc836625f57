"""`dnsfw down` without a daemon: takes away what one left."""

from __future__ import annotations

from pathlib import Path

from dnsfw.server.clock import boot_now
from dnsfw.server.journal import Journal
from dnsfw.server.lock import Lock
from dnsfw.server.options import Options

__all__ = ["remove_left_overs"]


def remove_left_overs(run_dir: Path) -> bool:
    """True if there was a wall. DatapathError when a daemon runs after all, or without rights."""
    from dnsfw.server.wall import remove_wall  # BPF, netlink: only where there is work for them

    lock = Lock(run_dir)
    try:
        removed = remove_wall(Options(run_dir=run_dir))
        Journal(run_dir, boot_now).remove()
    finally:
        lock.release()
    return removed
