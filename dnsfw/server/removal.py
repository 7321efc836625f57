"""What a daemon leaves when it is gone: finding it, and `dnsfw down` taking it away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dnsfw.datapath import mounts
from dnsfw.errors import DatapathError
from dnsfw.server.armed import disarmed
from dnsfw.server.clock import boot_now
from dnsfw.server.journal import Journal
from dnsfw.server.left_cgroups import dissolve_left
from dnsfw.server.lock import Lock
from dnsfw.server.options import Options
from dnsfw.server.revision import Revision
from dnsfw.server.role_names import RoleNames

if TYPE_CHECKING:
    from dnsfw.policy.compile_log import LogSettings

__all__ = ["kept_on_disk", "remove_left_overs", "wall_stands"]


def remove_left_overs(run_dir: Path) -> bool:
    """True if there was a wall. DatapathError when a daemon runs after all, or without rights."""
    # With the policy, BPF and netlink: only where there is work for them.
    from dnsfw.server.judged import Judged
    from dnsfw.server.temporary import Temporaries
    from dnsfw.server.wall import remove_wall

    lock = Lock(run_dir)
    try:
        removed = remove_wall(Options(run_dir=run_dir))
        dissolve_left(run_dir)
        Journal(run_dir, boot_now).remove()
        RoleNames(run_dir).remove()
        Revision(run_dir).remove()
        Judged(run_dir).remove()
        Temporaries(run_dir, boot_now).remove()
        disarmed(run_dir)
    except PermissionError as error:
        raise DatapathError(f"cannot use {error.filename}: {error.strerror}; run as root") from None
    finally:
        lock.release(remove=True)
    return removed


def kept_on_disk(run_dir: Path, log: LogSettings) -> list[str]:
    """What an undo leaves, each with what it is: of use to the next start, or a record."""
    from dnsfw.policy.copies import state_dir
    from dnsfw.policy.lists.store import cache_dir
    from dnsfw.server.records import log_directory  # with all that writes there

    found = (
        (state_dir(), "copies of what came over https"),
        (cache_dir(), "compiled lists and policies"),
        (log_directory(log, run_dir), "the log, and its key"),
    )
    return [f"{path} ({what})" for path, what in found if _holds_something(path)]


def _holds_something(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except OSError:
        return False


def wall_stands() -> bool:
    """Is a wall pinned where one is expected? False also for who may not look."""
    named, found = os.environ.get("DNSFW_PIN_DIR"), mounts.where(mounts.BPFFS)
    if not named and found is None:
        return False
    try:
        directory = Path(named) if named else Path(str(found)) / "dnsfw"
        return any(path.name.startswith("abi") for path in directory.iterdir())
    except OSError:
        return False
