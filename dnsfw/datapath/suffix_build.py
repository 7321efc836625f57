"""Fingerprints of a million names in a fifth of a second: the kernel's compiler does it.

`kernel/suffix_build.bpf.c` is run over chunks of text, in a table that is memory of ours. It is
attached to nothing. Where it cannot be had (Linux before 5.17, no CAP_BPF) the plain builder of
`policy.listed_prints` does the same in seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from struct import Struct

from dnsfw.datapath import abi
from dnsfw.datapath.arrays import mapped, new_array
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.libbpf import load_apart
from dnsfw.datapath.syscall import Cmd, call
from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError

__all__ = ["OBJECT", "Filler", "KernelBuilder"]

OBJECT = Path(__file__).with_name("suffix_build.bpf.o")
_UNIT = abi.Bucket.SIZE
_STATE = Struct("<IIII")  # struct build: length, unknown, spills, entries
_SPILLED = Struct("<QQ")
_JOINED_AT = _STATE.size + abi.Suffix.SPILLS * _SPILLED.size
_CLASSES = 1 << abi.Suffix.CLASS_BITS
_TEXT_AT = _JOINED_AT + 2 * _CLASSES
_CHUNK = int(abi.Suffix.TEXT) - 1
_BEGIN = b"\n"[0]  # of a name

Key = tuple[int, int]
Mark = tuple[int, int]
Join = Callable[[int], int]


class Filler:
    """The program and its memory, a quarter of a MiB: loaded once, while that is allowed."""

    def __init__(self, path: Path = OBJECT) -> None:
        """DatapathError where the kernel does not take it."""
        self._loaded = load_apart(path, {})
        self._tables = self._loaded.maps["dnsfw_tables"]
        # Everything else is 0: a program of this kind takes no packet and no repeat.
        fd = self._loaded.programs["dnsfw_fill"].fd
        self._run = fd.to_bytes(4, sys.byteorder).ljust(80, b"\0")

    def take(self, table: Map | None) -> None:
        """Fill this one from now on."""
        if table is None:
            self._tables.delete(number_key(0))
        else:
            self._tables.update(number_key(0), number_key(table.fd))

    def state(self) -> AbstractContextManager[memoryview]:
        """Its memory, for a block."""
        return mapped(self._loaded.maps["dnsfw_build"])

    def run(self) -> None:
        call(Cmd.PROG_TEST_RUN, self._run, "run of the builder of refusals")

    def close(self) -> None:
        self._loaded.close()


class KernelBuilder:
    """A `policy.listed_prints.Builder`. DatapathError where there is no memory; one at a time.

    `spill` puts what found no room in its two buckets (`Buckets.find`, `put`); `slots` is a copy.
    """

    def __init__(
        self,
        key: Key,
        buckets: int,
        home: int,
        spill: Callable[[memoryview, Mark, Join], None],
        filler: Filler,
    ) -> None:
        self._spill = spill
        self._filler = filler
        self._open = ExitStack()
        with ExitStack() as failed:
            failed.callback(self._open.close)
            table = new_array("dnsfw_table", _UNIT, buckets + 1, inner=True)
            self._open.callback(table.close)
            self._state = self._open.enter_context(filler.state())
            self._table = self._open.enter_context(mapped(table))
            filler.take(table)
            self._open.callback(filler.take, None)
            failed.pop_all()
        head = abi.SuffixHead(*key, int(abi.Suffix.VERSION), 0, buckets, 0, 0, 0, 0, 0, 0, home)
        self._table[:_UNIT] = head.pack()

    @property
    def slots(self) -> memoryview:
        """A copy: the builder's memory goes with it."""
        return memoryview(bytes(self._table[_UNIT:])).cast("Q")

    def add(self, text: bytes | memoryview, join: Join) -> int:
        """See `policy.listed_prints.Builder`."""
        joined = bytearray(2 * _CLASSES)
        joined[:2] = join(0).to_bytes(2, "little")
        self._state[_JOINED_AT:_TEXT_AT] = joined
        at = new = 0
        while at < len(text):
            end = at + _CHUNK
            while end < len(text) and text[end] != _BEGIN:
                end -= 1
            new += self._chunk(text[at:end], join)
            at = end
        return new

    def close(self) -> None:
        self._open.close()

    def _chunk(self, text: bytes | memoryview, join: Join) -> int:
        self._state[_TEXT_AT : _TEXT_AT + len(text)] = text
        length, new = len(text), 0
        while length:
            _STATE.pack_into(self._state, 0, length, 0, 0, 0)
            self._filler.run()
            left, unknown, spills, entries = _STATE.unpack_from(self._state)
            for at in range(spills):
                mark = _SPILLED.unpack_from(self._state, _STATE.size + at * _SPILLED.size)
                self._spill(self._table, mark, join)
            if unknown:
                self._learn(unknown, join)
            elif left == length:
                raise DatapathError("the builder of refusals stands still")
            length, new = left, new + entries
        return new

    def _learn(self, old: int, join: Join) -> None:
        at = _JOINED_AT + 2 * old
        self._state[at : at + 2] = join(old).to_bytes(2, "little")
