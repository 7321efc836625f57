"""The kernel part for a wall, from wherever it is best had; the rest is in test_standing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dnsfw.datapath import adopt
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.bcc import BccBackend
from dnsfw.datapath.libbpf import LibbpfBackend


class Keyless:
    """A backend that cannot say what it would load."""

    name = "keyless"
    without = ()

    def key(self) -> str:
        return ""

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        raise AssertionError


def test_who_cannot_say_what_he_would_load_recalls_nothing(tmp_path: Path) -> None:
    assert adopt.standing_of(Keyless(), tmp_path / "programs") is None
    assert adopt.standing_of(BccBackend(), tmp_path / "programs") is None
    assert adopt.standing_of(LibbpfBackend(tmp_path / "none.o"), tmp_path / "programs") is None
    assert adopt.standing_of(LibbpfBackend(), None) is None


@pytest.mark.needs_bpf
def test_the_key_is_the_objects_and_of_what_is_left_out(tmp_path: Path) -> None:
    other = tmp_path / "other.o"
    other.write_bytes(b"x")

    keys = {
        LibbpfBackend().key(), LibbpfBackend(without=["dnsfw_share"]).key(),
        LibbpfBackend(other).key(),
    }  # fmt: skip

    assert len(keys) == 3 and all(keys)
    assert LibbpfBackend().key() == LibbpfBackend(sizes={"dnsfw_grants": 7}).key()
