"""Compiles the lists of a policy in a process of its own, so that whoever reads the policy
next finds them done: `python -m dnsfw.policy.warm FILE`.

A million names are seconds of Python. In the daemon's own process they would hold the one
lock that its answers need; here they cost it nothing. What is wrong with a policy is nobody's
news here: the load that follows says it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import dnsfw
from dnsfw.errors import DnsfwError
from dnsfw.policy.files import policy_files
from dnsfw.policy.fingerprints import refuses
from dnsfw.policy.listed_prints import wanted
from dnsfw.policy.print_store import PrintStore

__all__ = ["command", "has_lists", "main"]

_WORD = b"list"  # `{list: ads.txt}`; a note that says so costs a process, no more
_POLITE = 5  # nice(2): answers come first


def has_lists(path: Path) -> bool:
    """Whether a policy may name a list. Cheap, and never wrong when it says no."""
    with contextlib.suppress(OSError, DnsfwError):
        return any(_WORD in file.read_bytes() for file in policy_files(path))
    return False


def command(path: Path) -> tuple[list[str], dict[str, str]]:
    """How to start it, by the same Python and package that we are: arguments, environment."""
    home = str(Path(dnsfw.__file__).parents[1])
    argv = [sys.executable, "-P", "-m", __name__, str(path)]  # -P: never from the cwd
    places = [home, *(place for place in sys.path if place.startswith("/"))]
    return argv, {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def main(argv: Sequence[str]) -> None:
    """Load each policy and forget it; its lists stay on disk, and their names in one text, of
    which the kernel's table of refusals is built.
    """
    from dnsfw.policy.compile import load  # whoever asks for `command` needs none of it

    os.nice(_POLITE)
    for file in argv:
        with contextlib.suppress(DnsfwError):
            roles = filter(refuses, load(Path(file)).roles.values())
            PrintStore().spell(wanted(names.table for role in roles for names in role.lists))


if __name__ == "__main__":
    main(sys.argv[1:])
