"""Arrays in the kernel whose size is not the object's: made here, seen as memory of ours."""

from __future__ import annotations

import mmap
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from dnsfw.datapath.bpf import BpfError, Map, map_of
from dnsfw.datapath.syscall import Cmd, MapType, call
from dnsfw.errors import DatapathError

__all__ = ["mapped", "new_array"]

MMAPABLE = 1 << 10  # BPF_F_MMAPABLE, Linux 5.5
_INNER = 1 << 12  # BPF_F_INNER_MAP, Linux 5.10: one size in a map of maps beside another


def new_array(name: str, unit: int, units: int, *, inner: bool = False) -> Map:
    """An array of zeroes; it goes with its descriptor. DatapathError: no memory."""
    flags = MMAPABLE | (_INNER if inner else 0)
    attr = struct.pack(
        "=IIIIIII16s", MapType.ARRAY, 4, unit, units, flags, 0, 0, name.encode()[:15]
    )
    try:
        return map_of(call(Cmd.MAP_CREATE, attr, f"a table of {unit * units >> 10} KiB"))
    except BpfError as error:
        raise DatapathError(f"{error}; remedy: shorter lists, or more memory") from error


@contextmanager
def mapped(table: Map) -> Iterator[memoryview]:
    """Its bytes, for the block. Whoever keeps a part of the view keeps the mapping."""
    size = table.value_size * table.max_entries
    try:
        memory = mmap.mmap(table.fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    except (OSError, ValueError) as error:
        raise DatapathError(f"cannot map {table.name}: {error}") from error
    with memory, memoryview(memory) as whole, whole[:size] as view:
        try:
            yield view
        except BaseException as error:
            # What raised may hold parts of the view, as long as somebody may look into its frames.
            traceback.clear_frames(error.__traceback__)
            raise
