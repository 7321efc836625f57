"""Which program answers at which stage."""

from __future__ import annotations

from dnsfw.datapath import backend, stages
from dnsfw.datapath.abi import Stage


def test_every_stage_has_its_program() -> None:
    assert set(stages.STAGES) == set(Stage)
    assert set(stages.STAGES.values()) <= set(backend.PROGRAMS)
