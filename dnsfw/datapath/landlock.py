"""Landlock (Linux 5.13): where a process, and all it starts, may write, make and remove.

It is for good, needs no right, and comes with what is for nobody to ask for: who is inside
can neither mount nor look into processes that are outside.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from struct import Struct

from dnsfw.errors import DatapathError

__all__ = ["EVERYTHING", "WRITING", "restrict", "version"]

# The same numbers on every architecture (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
EVERYTHING = (1 << 13) - 1  # every right of the first version: running, reading, writing, making
_READING = 1 << 2 | 1 << 3  # files, directories
WRITING = EVERYTHING & ~_READING  # running programs, too
_TRUNCATE, _TRUNCATE_SINCE = 1 << 14, 3
_RULESET = Struct("=Q")
_PATH_BENEATH = Struct("=Qi")  # packed in the kernel too

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """0 where the kernel has no Landlock, or has it switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def restrict(rights: int, below: Iterable[Path]) -> None:
    """These rights count below these directories only, for this thread and what it starts.
    DatapathError: refused.

    Without CAP_SYS_ADMIN the kernel wants no_new_privs first; with it, sudo goes on to work.
    """
    if version() >= _TRUNCATE_SINCE and rights == WRITING:
        rights |= _TRUNCATE
    ruleset = int(_libc.syscall(_CREATE_RULESET, _RULESET.pack(rights), _RULESET.size, 0))
    if ruleset < 0:
        raise _refused("a rule set")
    try:
        for directory in below:
            _allow(ruleset, rights, directory)
        if _libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            raise _refused("to be restricted (no_new_privs?)")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, rights: int, directory: Path) -> None:
    place = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PATH_BENEATH.pack(rights, place)
        if _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
            raise _refused(str(directory))
    finally:
        os.close(place)


def _refused(what: str) -> DatapathError:
    return DatapathError(f"Landlock refused {what}: {os.strerror(ctypes.get_errno())}")
