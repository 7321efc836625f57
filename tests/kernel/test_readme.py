"""kernel/README.md names every table, reason and program that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath.backend import MAPS, PROGRAMS
from dnsfw.model import Reason

README = (Path(__file__).resolve().parents[2] / "kernel/README.md").read_text()
# The DNS path's reasons never come from a hook; AUDITED is a column of the counters.
HOOK_REASONS = [
    reason.name for reason in Reason
    if Reason.BY_NOTHING < reason < Reason.BY_NAME and reason is not Reason.AUDITED
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(MAPS))
def test_every_table_has_its_row(name: str) -> None:
    assert f"| `{name.removeprefix('dnsfw_')}` |" in README


@pytest.mark.parametrize("name", HOOK_REASONS)
def test_every_reason_has_its_row(name: str) -> None:
    table = README.partition("## Reasons")[2].partition("## Upkeep")[0]

    assert f"`{name}`" in table


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_on_the_path(name: str) -> None:
    hook = name.removeprefix("dnsfw_").removesuffix("_l3")
    words = {"cg_egress": "cgroup_skb egress", "cg_ingress": "cgroup_skb ingress",
             "tc_egress": "TC/TCX egress", "tc_ingress": "TC/TCX ingress"}  # fmt: skip

    assert words.get(hook, hook.rstrip("46")) in README
