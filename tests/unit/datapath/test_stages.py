"""Which programs are called by others."""

from __future__ import annotations

from dnsfw.datapath.abi import Stage
from dnsfw.datapath.bpf import Program, ProgType
from dnsfw.datapath.memory import MemoryMap
from dnsfw.datapath.stages import STAGES, set_stages
from dnsfw.datapath.tables import number_key

PROGRAMS = {
    name: Program(at + 10, name, ProgType.SCHED_CLS, None, b"")
    for at, name in enumerate(STAGES.values())
}


def test_every_stage_has_its_program_by_descriptor() -> None:
    table = MemoryMap(8)

    set_stages(table, PROGRAMS, on=True)

    found = {key: value for key, value in table.items()}
    assert found == {number_key(stage): number_key(10 + at) for at, stage in enumerate(Stage)}


def test_switched_off_nothing_is_called() -> None:
    table = MemoryMap(8)
    set_stages(table, PROGRAMS, on=True)

    set_stages(table, PROGRAMS, on=False)

    assert not table.data


def test_a_program_that_was_not_loaded_is_left_out() -> None:
    table = MemoryMap(8)

    set_stages(table, {}, on=True)

    assert not table.data
