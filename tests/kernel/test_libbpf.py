"""The shipped object as libbpf loads it: complete, adopted, and refused with a reason."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath.backend import DEVICE_PROGRAMS, MAPS, PROGRAMS, Loaded
from dnsfw.datapath.bpf import BpfError
from dnsfw.datapath.libbpf import OBJECT, LibbpfBackend
from dnsfw.errors import DatapathError

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]

# Of the 1,000,000 instructions that the verifier walks at most: room for the next feature,
# and for kernels whose verifier joins fewer paths than this one's.
BUDGET = 40_000


@pytest.fixture
def kernel() -> Iterator[Loaded]:
    made = LibbpfBackend().load({})
    yield made
    made.close()


def test_every_table_and_program_is_there(kernel: Loaded) -> None:
    assert set(MAPS) <= set(kernel.maps)
    assert set(PROGRAMS) == set(kernel.programs)


def test_names_stay_apart_in_the_fifteen_characters_that_the_kernel_keeps() -> None:
    # tc_egress and tc_egress_l3 share theirs: nothing looks a program up by its name
    assert len({name[:15] for name in MAPS}) == len(MAPS)


def test_the_verifier_has_room_left(kernel: Loaded) -> None:
    walked = {name: program.verified for name, program in kernel.programs.items()}

    assert max(walked.values()) < BUDGET, walked
    assert min(walked.values()) > 0


def test_a_pinned_table_is_adopted_with_what_it_holds(kernel: Loaded) -> None:
    kernel.maps["dnsfw_rules"].update(b"\5\0\0\0", b"\1\0\0\0")

    again = LibbpfBackend().load({"dnsfw_rules": kernel.maps["dnsfw_rules"].fd})

    assert again.maps["dnsfw_rules"].lookup(b"\5\0\0\0") == b"\1\0\0\0"
    assert again.maps["dnsfw_grants"].lookup(bytes(20)) is None
    again.close()
    # what was lent is still ours
    assert kernel.maps["dnsfw_rules"].lookup(b"\5\0\0\0") == b"\1\0\0\0"


def test_a_table_of_another_version_is_not_adopted(kernel: Loaded) -> None:
    wrong = kernel.maps["dnsfw_listeners"].fd

    with pytest.raises(DatapathError):
        LibbpfBackend().load({"dnsfw_rules": wrong})
    with pytest.raises(DatapathError, match="dnsfw_nothing"):
        LibbpfBackend().load({"dnsfw_nothing": wrong})


def test_the_same_object_has_the_same_tags(kernel: Loaded) -> None:
    """An adopting start compares tags to see whether a program must be replaced."""
    again = LibbpfBackend().load({})

    assert {name: program.tag for name, program in again.programs.items()} == {
        name: program.tag for name, program in kernel.programs.items()
    }
    same = 2  # recvmsg and getpeername do the same, once a family
    assert len({program.tag for program in again.programs.values()}) >= len(PROGRAMS) - same
    again.close()


def test_a_missing_object_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(DatapathError, match="make -C kernel"):
        LibbpfBackend(tmp_path / "dnsfw.bpf.o").load({})


def test_a_broken_object_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "dnsfw.bpf.o"
    broken.write_bytes(OBJECT.read_bytes()[:2000])

    with pytest.raises(DatapathError):
        LibbpfBackend(broken).load({})


def first_program(data: bytes) -> tuple[int, int]:
    """Where the first section with code lies, and its size: ELF-64, little-endian."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    for at in range(table, table + size * count, size):
        flags, _, offset, length = struct.unpack_from("<QQQQ", data, at + 8)
        if flags & 0x4 and length:  # SHF_EXECINSTR
            return offset, length
    raise AssertionError("no code in the object")


def test_what_the_verifier_wrote_is_in_the_error(tmp_path: Path) -> None:
    """The first `exit` of the object becomes a call of a helper that no kernel has."""
    data = OBJECT.read_bytes()
    bad_call = b"\x85\0\0\0\xff\xff\xff\x7f"
    at, size = first_program(data)
    code = data[at : at + size].replace(b"\x95\0\0\0\0\0\0\0", bad_call, 1)
    broken = tmp_path / "dnsfw.bpf.o"
    broken.write_bytes(data[:at] + code + data[at + size :])

    with pytest.raises(BpfError) as failed:
        LibbpfBackend(broken).load({})

    assert failed.value.log


def test_programs_that_nobody_will_attach_are_not_loaded() -> None:
    made = LibbpfBackend(without=DEVICE_PROGRAMS).load({})

    try:
        assert set(made.programs) == set(PROGRAMS) - set(DEVICE_PROGRAMS)
        assert set(MAPS) <= set(made.maps)
    finally:
        made.close()


def test_a_million_grants_are_held_and_found() -> None:
    kernel = LibbpfBackend(sizes={"dnsfw_grants": 1_000_000}).load({})
    grants = kernel.maps["dnsfw_grants"]
    slots = bytes(64)

    grants.update_many([
        (struct.pack(">I", 1) + number.to_bytes(16, "big"), slots) for number in range(1_000_000)
    ])

    found = [grants.lookup(struct.pack(">I", 1) + n.to_bytes(16, "big")) for n in (0, 999_999)]
    assert found == [slots, slots]
    kernel.close()


def test_a_table_that_is_not_there_cannot_be_resized() -> None:
    with pytest.raises(DatapathError, match="dnsfw_grant cannot hold 5"):
        LibbpfBackend(sizes={"dnsfw_grant": 5}).load({})
