"""Arrays of any size, as memory."""

from __future__ import annotations

import pytest

from dnsfw.datapath.arrays import mapped, new_array
from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]


def test_what_is_written_to_the_memory_is_in_the_table() -> None:
    table = new_array("dnsfw_a_name_that_is_long", 64, 1000)
    try:
        with mapped(table) as view:
            assert len(view) == 64_000
            assert not any(view)
            view[64 * 999 :] = b"x" * 64
        assert table.lookup(number_key(999)) == b"x" * 64
        assert table.lookup(number_key(998)) == bytes(64)
        assert table.lookup(number_key(1000)) is None
    finally:
        table.close()


def test_what_goes_wrong_with_a_part_of_the_memory_in_hand_is_told_as_it_is() -> None:
    def write(view: memoryview) -> None:
        part = view[:4]
        raise ValueError(len(part))

    table = new_array("dnsfw_short", 64, 10)
    try:
        with pytest.raises(ValueError, match="4"), mapped(table) as view:
            write(view)
    finally:
        table.close()


def test_what_the_kernel_has_no_memory_for_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DatapathError, match="shorter lists"):
        new_array("dnsfw_large", 1 << 30, 1 << 30)
