"""Fingerprints of a million names in a fifth of a second: the kernel's compiler does it.

`kernel/suffix_build.bpf.c` is run over chunks of text, in a table that is memory of ours. It is
attached to nothing. Where it cannot be had (Linux before 5.17, no CAP_BPF) the plain builder of
`policy.listed_prints` does the same in seconds.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from struct import Struct

from dnsfw.datapath import abi
from dnsfw.datapath.arrays import mapped, new_array
from dnsfw.datapath.libbpf import load_apart
from dnsfw.datapath.syscall import Cmd, call
from dnsfw.errors import DatapathError

__all__ = ["OBJECT", "KernelBuilder"]

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


class KernelBuilder:
    """A `policy.listed_prints.Builder`. DatapathError where the kernel does not run it.

    `spill` puts what found no room in its two buckets (`Buckets.find`, `put`); `slots` is a copy.
    """

    def __init__(
        self,
        key: Key,
        buckets: int,
        spill: Callable[[memoryview, Mark, Join], None],
        path: Path = OBJECT,
    ) -> None:
        self._spill = spill
        self._open = ExitStack()
        with contextlib.ExitStack() as failed:
            failed.callback(self._open.close)
            table = new_array("dnsfw_table", _UNIT, buckets + 1)
            self._open.callback(table.close)
            loaded = load_apart(path, {"dnsfw_table": table.fd})
            self._open.callback(loaded.close)
            # Everything else is 0: a program of this kind takes no packet and no repeat.
            self._run = loaded.programs["dnsfw_fill"].fd.to_bytes(4, sys.byteorder).ljust(80, b"\0")
            self._state = self._open.enter_context(mapped(loaded.maps["dnsfw_build"]))
            self._table = self._open.enter_context(mapped(table))
            failed.pop_all()
        head = abi.SuffixHead(*key, int(abi.Suffix.VERSION), 0, buckets, 0, 0, 0, 0, 0, 0)
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
            call(Cmd.PROG_TEST_RUN, self._run, "run of the builder of refusals")
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
