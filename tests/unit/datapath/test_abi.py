"""abi.py is what gen_abi.py makes of the types in abi.h, and carries values there and back."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dnsfw.datapath import abi

ROOT = Path(__file__).resolve().parents[3]
BTF = ROOT / "tests/data/abi.btf"
TEXT = "".join(p.read_text() for p in (ROOT / "kernel/include/dnsfw").glob("abi*.h"))
STRUCTS = [
    kind for kind in vars(abi).values()
    if isinstance(kind, type) and hasattr(kind, "LAYOUT")
]  # fmt: skip


@pytest.fixture(scope="module")
def gen_abi() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_abi", ROOT / "kernel/gen_abi.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gen_abi"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_abi_is_generated_from_the_stored_types(gen_abi: ModuleType) -> None:
    generated = gen_abi.generate(BTF.read_bytes())

    assert generated == (ROOT / "dnsfw/datapath/abi.py").read_text(), "run `make -C kernel abi`"


# Where BPF is required (CI), a missing clang must fail, not skip.
@pytest.mark.skipif(
    shutil.which("clang") is None and "bpf" not in os.environ.get("DNSFW_REQUIRE", ""),
    reason="no clang",
)
def test_the_stored_types_are_those_of_the_header(gen_abi: ModuleType, tmp_path: Path) -> None:
    built = tmp_path / "abi.o"
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout.strip()
    subprocess.run(
        ["clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{machine}-linux-gnu",
         "-c", str(ROOT / "kernel/abi.c"), "-o", str(built)],
        check=True,
    )  # fmt: skip

    btf = gen_abi.section(built.read_bytes(), ".BTF")

    assert gen_abi.generate(btf) == gen_abi.generate(BTF.read_bytes())


def test_every_type_of_the_header_is_in_abi(gen_abi: ModuleType) -> None:
    names = set(re.findall(r"^(?:enum|struct) (dnsfw_\w+) \{", TEXT, re.MULTILINE))

    assert names - {"dnsfw_addr"}  # carried as 16 bytes
    for name in names - {"dnsfw_addr"}:
        assert hasattr(abi, gen_abi.class_name(name)), f"{name}: give it a line in kernel/abi.c"


def test_every_size_is_the_one_that_the_header_asserts(gen_abi: ModuleType) -> None:
    sizes = dict(
        re.findall(r"_Static_assert\(sizeof\(struct (dnsfw_\w+)\) == (\d+)", TEXT)
    )

    assert len(sizes) == len(STRUCTS) + 1
    for kind in STRUCTS:
        named = {gen_abi.class_name(name): int(size) for name, size in sizes.items()}
        assert kind.SIZE == named[kind.__name__] == kind.LAYOUT.size


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_what_is_packed_is_unpacked_the_same(kind: Any) -> None:
    # Bytes that differ, so that two swapped fields would show.
    once = kind.unpack(bytes(range(1, 256))[: kind.SIZE].ljust(kind.SIZE, b"\x7f"))

    assert kind.unpack(once.pack()) == once
    assert len(once.pack()) == kind.SIZE


def test_padding_is_written_as_zeroes() -> None:
    assert abi.Slot(1, 2, 3, 1).pack()[-1] == 0
    assert abi.Flow.unpack(b"\xff" * abi.Flow.SIZE).pack()[-2:] == b"\0\0"


def test_numbers_are_little_endian_as_on_every_supported_machine() -> None:
    assert abi.Rule(1).pack() == b"\1\0\0\0"


def test_enums_lost_their_prefix_and_kept_their_numbers() -> None:
    enums = [kind for kind in vars(abi).values() if isinstance(kind, type)
             and issubclass(kind, IntEnum) and kind is not IntEnum]  # fmt: skip

    assert not [name for kind in enums for name in kind.__members__ if name.startswith("DNSFW")]
    assert (abi.Reason.GRANTED, abi.Verdict.ALLOW, abi.RoleId.HOST) == (13, 1, 1)


@pytest.mark.parametrize(
    ("broken", "says"),
    [(b"\0" * 24, "not BTF"), (b"", "")],
)
def test_what_is_no_btf_is_refused(gen_abi: ModuleType, broken: bytes, says: str) -> None:
    with pytest.raises(Exception, match=says):
        gen_abi.read_btf(broken)
