"""The kernel's walk over suffixes, run on one question after another; and tables for it."""

from __future__ import annotations

import itertools
import platform
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dnsfw.datapath import abi, bpf
from dnsfw.datapath.arrays import mapped, new_array
from dnsfw.datapath.libbpf import load_apart
from dnsfw.datapath.tables import number_key
from dnsfw.model import Name, RoleId
from dnsfw.policy.fingerprints import Image

_SOURCE = Path(__file__).with_name("suffix_walk.bpf.c")
_INCLUDE = Path(__file__).parents[2] / "kernel/include"
_FLOOD = 65536
_RESULT = struct.Struct("<QII")


class KernelWalk:
    """The object of suffix_walk.bpf.c, loaded."""

    def __init__(self, directory: Path) -> None:
        built = directory / "suffix_walk.bpf.o"
        subprocess.run(
            ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{_INCLUDE}",
             f"-I{_INCLUDE / 'dnsfw'}", f"-I/usr/include/{platform.machine()}-linux-gnu",
             "-c", str(_SOURCE), "-o", str(built)],
            check=True,
        )  # fmt: skip
        self.loaded = load_apart(built, {})
        self.tables = self.loaded.maps["dnsfw_suffixes"]
        self._request = self.loaded.maps["dnsfw_request"]
        self._walk = self.loaded.programs["dnsfw_walk"].fd

    def put(self, image: Image, number: int = 0, generation: int = 1) -> None:
        """The image as a table that the programs see."""
        table = new_array("dnsfw_suffix", abi.Bucket.SIZE, image.units, inner=True)
        try:
            with mapped(table) as view:
                image.write(view, generation)
            self.tables.update(number_key(number), number_key(table.fd))
        finally:
            table.close()

    def ask(self, name: Name, role: RoleId, qtype: int = 1, number: int = 1) -> tuple[int, int]:
        """Outcome and kind; (0, 0): Python decides."""
        found = self.raw(name, role, qtype, number)
        return found & 0xFFFF, found >> 16 & 0xFFFF

    def raw(self, name: Name, role: RoleId, qtype: int = 1, number: int = 1) -> int:
        key = struct.pack("<IHBB", role, qtype, 0, len(name)) + name.ljust(256, b"\0")
        self._request.update(number_key(0), key + _RESULT.pack(0, number, 0))
        bpf.prog_test_run(self._walk, bytes(64))
        value = self._request.lookup(number_key(0))
        assert value is not None
        found, _, _ = _RESULT.unpack_from(value, len(key))
        return int(found)

    def flood(self, names: Sequence[Name], role: RoleId, number: int = 1) -> tuple[float, int]:
        """Nanoseconds a name when so many different ones are asked for in a row, and how many
        of them are refused.
        """
        keys = self.loaded.maps["dnsfw_flood"]
        rows = [
            (number_key(at), struct.pack("<IHBB", role, 1, 0, len(n)) + n.ljust(256, b"\0"))
            for at, n in zip(range(_FLOOD), itertools.cycle(names))
        ]
        keys.update_many(rows)
        self.raw(Name(b"\0"), role, number=number)
        ran = bpf.prog_test_run(self.loaded.programs["dnsfw_walk_all"].fd, bytes(64))
        value = self._request.lookup(number_key(0))
        assert value is not None
        return ran.duration_ns / _FLOOD, int.from_bytes(value[264:272], "little")

    def nanoseconds(self, name: Name, role: RoleId, repeat: int = 200_000) -> float:
        """What a walk takes, beyond a program that does nothing; the table is hot."""
        self.raw(name, role)
        times = []
        for program in ("dnsfw_walk", "dnsfw_no_walk"):
            fd = self.loaded.programs[program].fd
            runs = [bpf.prog_test_run(fd, bytes(64), repeat=repeat).duration_ns for _ in range(5)]
            times.append(min(runs))
        return times[0] - times[1]

    def close(self) -> None:
        self.loaded.close()


@contextmanager
def kernel_walk(directory: Path) -> Iterator[KernelWalk]:
    made = KernelWalk(directory)
    try:
        yield made
    finally:
        made.close()
