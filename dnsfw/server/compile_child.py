"""A process that reads policies for a daemon, and ends: `python -m dnsfw.server.compile_child`.

What it takes to read YAML is a third of a daemon's memory and half of its start, and is needed
once. The child reads one job from stdin and writes one answer to stdout, both `frozen`. It is
as old as the code on disk: where that has another shape than the daemon's own, the daemon says
so and believes nothing (see `shape`).

What it reads was written by people, so it may do little else: no right but reading files, no
system call but those (`cell.COMPILER`), no writing but to the cache of compiled lists
(Landlock), so much memory; and it ends with whoever asked. A kernel that lacks one of
these has the others.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from traceback import format_exc

from dnsfw.datapath import cell, landlock, seccomp
from dnsfw.errors import DatapathError
from dnsfw.server.capabilities import Cap, drop

__all__ = ["MEMORY", "MOST", "main"]

MOST = 1 << 30  # bytes of an answer, and of each file; as in `compile_apart`
MEMORY = 8 << 30  # bytes: several times what as many names take
_READING = frozenset({Cap.DAC_READ_SEARCH})
_POLITE = 5  # nice(2): answers come first
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


def main() -> None:
    """One job. What goes wrong is part of the answer."""
    _die_first()
    drop(_READING)
    _bind()
    from dnsfw.policy.frozen import freeze, shape, thaw  # with no more rights than that

    name, arguments, hurry = thaw(sys.stdin.buffer.read())
    if not hurry:
        os.nice(_POLITE)
    answer = freeze((shape(), *_answer(name, arguments)))
    with os.fdopen(1, "wb") as out:
        out.write(answer)


def _die_first() -> None:
    """Where memory ends, this process does, and not the daemon whose answers all wait for."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _bind() -> None:
    """From here on it reads, computes and writes what it was started for."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, int(SIGKILL), 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other process of this user looks into it
    for what, most in (
        (resource.RLIMIT_FSIZE, MOST), (resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        with suppress(ValueError):  # somebody set a smaller one
            resource.setrlimit(what, (most, most))
    with suppress(DatapathError, OSError):
        landlock.restrict(landlock.WRITING, _stores())
    with suppress(DatapathError):
        seccomp.install(cell.program(platform.machine(), cell.COMPILER))


def _stores() -> list[Path]:
    """Where it keeps what it has compiled; nowhere if that cannot be made."""
    from dnsfw.policy.lists.store import cache_dir

    cache = cache_dir()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return []
    return [cache]


def _answer(name: str, arguments: tuple[object, ...]) -> tuple[str, object]:
    from dnsfw.errors import ConfigError, DnsfwError, PolicyError
    from dnsfw.policy.frozen import NotWhole
    from dnsfw.server.compile_jobs import FROZEN_JOBS, JOBS

    try:
        if (job := FROZEN_JOBS.get(name)) is not None:
            return "frozen", job(*arguments)
        return "value", JOBS[name](*arguments)
    except PolicyError as error:
        return "policy", str(error)
    except ConfigError as error:
        return "config", str(error)
    except DnsfwError as error:
        return "host", str(error)
    except NotWhole as error:
        return "whole", str(error)
    except Exception:
        return "bug", format_exc()


if __name__ == "__main__":
    main()
