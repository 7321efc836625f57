"""The kernel part for a wall: as it stands, or new programs over tables that stand, or all new."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from dnsfw.datapath import bpf
from dnsfw.datapath.backend import MAPS, Backend, Loaded
from dnsfw.datapath.pins import PinDir
from dnsfw.datapath.standing import Standing
from dnsfw.datapath.syscall import BpfError, Closing
from dnsfw.errors import DatapathError

__all__ = ["load", "standing_of"]


def standing_of(backend: Backend, record: Path | None) -> Standing | None:
    """The record of a wall whose programs can be told from others."""
    if record is None or not (key := backend.key()):
        return None
    return Standing(record, key, backend.without)


def load(backend: Backend, held: PinDir, standing: Standing | None = None) -> Loaded:
    """The programs and tables; those of a standing wall where they are what would be loaded.

    DatapathError: the tables that stand are of another layout, or the kernel refuses.
    """
    adoptable = held.adoptable
    if standing is not None and adoptable and (found := standing.recall(held.current)) is not None:
        return found
    with ExitStack() as stack:
        reuse = {
            name: stack.enter_context(Closing(_pinned_map(held.current / name, name)))
            for name in MAPS
            if adoptable and (held.current / name).exists()
        }
        return backend.load(reuse)


def _pinned_map(path: Path, name: str) -> int:
    """A descriptor of a table of the standing wall, if it has the layout of this version."""
    fd = bpf.obj_get(path)
    try:
        table, (key, value) = bpf.map_of(fd), MAPS[name]
        # A per-CPU table has a value for each CPU, the ring buffer has none.
        if table.key_size == key and table.value_size % (value or 1) == 0:
            return fd
    except BpfError:
        pass  # something else is pinned there
    os.close(fd)
    raise DatapathError(
        f"{path} is not the {name} of this dnsfw; remedy: `dnsfw down`, then start again"
    )
