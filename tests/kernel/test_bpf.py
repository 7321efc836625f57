"""The system calls on real tables: what is there, what is not, and what the kernel refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from dnsfw.datapath import abi, bpf
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.bpf import BpfError, Map, MapType, ProgType
from dnsfw.datapath.libbpf import LibbpfBackend
from tests.support.netlab import Lab

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Loaded]:
    made = LibbpfBackend().load({})
    yield made
    made.close()


def key_of(number: int) -> bytes:
    return abi.GrantKey(1, number.to_bytes(16, "big")).pack()


@pytest.fixture
def grants(kernel: Loaded) -> Map:
    table = kernel.maps["dnsfw_grants"]
    for key in list(table.keys()):
        table.delete(key)
    return table


def test_what_is_written_is_read_and_deleted_once(grants: Map) -> None:
    assert grants.lookup(key_of(1)) is None

    grants.update(key_of(1), b"v" * 64)

    assert grants.lookup(key_of(1)) == b"v" * 64
    assert [grants.delete(key_of(1)), grants.delete(key_of(1))] == [True, False]
    assert grants.lookup(key_of(1)) is None


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_scan_sees_every_element_once(grants: Map, count: int) -> None:
    wanted = {key_of(i): i.to_bytes(64, "big") for i in range(count)}
    grants.update_many(list(wanted.items()))

    seen = list(grants.items())

    assert len(seen) == count
    assert dict(seen) == wanted
    assert set(grants.keys()) == wanted.keys()


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_many_keys_are_deleted_and_those_that_are_not_there_are_passed_over(
    grants: Map, count: int
) -> None:
    keys = [key_of(i) for i in range(count + 3)]
    grants.update_many([(key, bytes(64)) for key in keys[1::2]])
    grants.update(key_of(9_999), bytes(64))

    grants.delete_many(keys)

    assert list(grants.keys()) == [key_of(9_999)]


def test_a_scan_of_an_array_sees_its_zeroes_too(kernel: Loaded) -> None:
    settings = kernel.maps["dnsfw_settings"]
    settings.update(bytes(4), abi.Settings(7, 1, 53, 0).pack())

    assert list(settings.items()) == [(bytes(4), abi.Settings(7, 1, 53, 0).pack())]


def test_a_per_cpu_table_speaks_a_value_a_cpu(kernel: Loaded) -> None:
    counters = kernel.maps["dnsfw_counters"]

    assert counters.value_size == abi.Counter.SIZE * bpf.possible_cpus()
    assert len(counters.lookup(bytes(4)) or b"") == counters.value_size


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 21])
def test_a_key_of_the_wrong_size_never_reaches_the_kernel(grants: Map, key: bytes) -> None:
    with pytest.raises(ValueError, match="dnsfw_grants"):
        grants.update(key, bytes(64))
    with pytest.raises(ValueError, match="dnsfw_grants"):
        grants.lookup(key)
    with pytest.raises(ValueError, match="dnsfw_grants"):
        grants.update_many([(key, bytes(64))])
    with pytest.raises(ValueError, match="dnsfw_grants"):
        grants.update(key_of(1), b"value")


def test_row_111_a_full_table_says_so_and_keeps_what_it_has(kernel: Loaded) -> None:
    listeners = kernel.maps["dnsfw_listeners"]
    keys = [abi.ListenerKey(i, bytes(16), 53).pack() for i in range(listeners.max_entries + 1)]
    for key in keys[:-1]:
        listeners.update(key, b"\1")

    with pytest.raises(BpfError) as failed:
        listeners.update(keys[-1], b"\1")

    assert failed.value.errno == errno.E2BIG
    assert "dnsfw_listeners" in str(failed.value)
    assert len(list(listeners.keys())) == listeners.max_entries
    for key in keys:
        listeners.delete(key)


def test_a_closed_table_is_an_error_with_its_name(kernel: Loaded) -> None:
    table = bpf.map_of(os.dup(kernel.maps["dnsfw_rules"].fd))
    table.close()
    table.close()

    with pytest.raises(BpfError, match="dnsfw_rules") as failed:
        table.lookup(bytes(4))
    assert failed.value.errno == errno.EBADF


def test_a_pin_gives_the_same_table_back(grants: Map, lab: Lab) -> None:
    path = lab.bpffs() / "grants"
    bpf.pin(grants.fd, path)
    grants.update(key_of(9), b"p" * 64)

    with closing(bpf.map_of(bpf.obj_get(path))) as again:
        assert again.lookup(key_of(9)) == b"p" * 64
        assert (again.kind, again.name) == (MapType.HASH, "dnsfw_grants")
    with pytest.raises(BpfError) as taken:
        bpf.pin(grants.fd, path)
    assert taken.value.errno == errno.EEXIST
    with pytest.raises(BpfError) as missing:
        bpf.obj_get(lab.bpffs() / "nothing")
    assert missing.value.errno == errno.ENOENT


def test_a_program_describes_itself(kernel: Loaded) -> None:
    program = kernel.programs["dnsfw_tc_egress"]

    again = bpf.program_of(os.dup(program.fd))

    assert (again.tag, again.type) == (program.tag, ProgType.SCHED_CLS)
    assert again.name == "dnsfw_tc_egress"[:15]
    assert again.verified > 0
    again.close()


def test_a_helper_that_no_program_may_call_is_missing() -> None:
    boot_time, connect_only = 125, 64  # ktime_get_boot_ns, bind

    assert bpf.has_helper(ProgType.SCHED_CLS, boot_time)
    assert not bpf.has_helper(ProgType.SCHED_CLS, connect_only)
    assert not bpf.has_helper(ProgType.SCHED_CLS, 100_000)


def test_a_test_run_of_an_address_hook_is_the_kernels_refusal(kernel: Loaded) -> None:
    with pytest.raises(BpfError, match="ENOTSUPP"):
        bpf.prog_test_run(kernel.programs["dnsfw_connect4"].fd, bytes(64))
