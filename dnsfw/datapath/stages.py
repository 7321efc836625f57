"""The programs that others call: what may be a question to us is answered there.

The table is an array of programs, so each process puts its own there, in one store each; an
empty place is no call, and the question goes on to the daemon. What comes from a guest goes back
to be judged where it is not answered: no way there may be open before the way back is.
"""

from __future__ import annotations

from collections.abc import Mapping

from dnsfw.datapath.abi import Stage
from dnsfw.datapath.bpf import Program
from dnsfw.datapath.swap import Table
from dnsfw.datapath.tables import number_key

__all__ = ["STAGES", "set_stages"]

STAGES: Mapping[Stage, str] = {
    Stage.GUEST: "dnsfw_answer_in",
    Stage.GUEST_L3: "dnsfw_answer_in_l3",
    Stage.LO: "dnsfw_answer_lo",
    Stage.BACK: "dnsfw_guest_in",
    Stage.BACK_L3: "dnsfw_guest_in_l3",
    Stage.BACK_EDGE: "dnsfw_edge_in",
    Stage.BACK_EDGE_L3: "dnsfw_edge_in_l3",
}


def set_stages(table: Table, programs: Mapping[str, Program], *, on: bool) -> None:
    """From now on they are called, or none is. One that was not loaded is left out."""
    stages = tuple(STAGES.items())
    for stage, name in reversed(stages) if on else stages:
        program = programs.get(name)
        if on and program is not None:
            table.update(number_key(stage), number_key(program.fd))
        else:
            table.delete(number_key(stage))
