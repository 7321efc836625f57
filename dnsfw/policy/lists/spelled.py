"""The names of a list as one text, for whoever hashes them: "\\n.www.example.com\\n.example.net".

To take a million names out of a compiled list is half a second of Python, in which a daemon
could answer nobody. So the process that compiles lists writes them out, and the daemon maps
the file and hands it to the kernel.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct

from dnsfw.policy.lists.store import replace_file
from dnsfw.policy.lists.table import Table

__all__ = ["Buffer", "Texts", "forget", "keep", "read", "spelled"]

Buffer = bytes | memoryview
Texts = Iterable[tuple[int, Buffer]]  # what is meant (columns.Means), and the names of it

_HEAD = Struct("<8sQQ")  # magic, what is meant, bytes of the text
_MAGIC = b"dnsfwnm1"


def spelled(table: Table) -> Iterator[tuple[int, bytes]]:
    """From the compiled list, whose keys are names backwards with a final dot."""
    for means, names in table.by_means():
        yield means, ("\n".join(names) + "\n")[::-1].encode()


def keep(directory: Path, table: Table) -> None:
    """Write the file. OSError."""
    parts: list[bytes] = []
    for means, text in spelled(table):
        parts += (_HEAD.pack(_MAGIC, means, len(text)), text)
    replace_file(_path(directory, table), parts)


def read(directory: Path, table: Table) -> list[tuple[int, memoryview]] | None:
    """What `keep` wrote; None where there is nothing, or not all of it."""
    try:
        fd = os.open(_path(directory, table), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
    found = []
    at = 0
    while at + _HEAD.size <= len(data):
        magic, means, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        if magic != _MAGIC or at > len(data):
            return None
        found.append((means, data[at - length : at]))
    return found


def forget(directory: Path, table: Table) -> None:
    """It was used."""
    with contextlib.suppress(OSError):
        _path(directory, table).unlink(missing_ok=True)


def _path(directory: Path, table: Table) -> Path:
    return directory / f"{table.seal.hex()}.names"
