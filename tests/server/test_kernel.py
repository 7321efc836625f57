"""The seam: the real wall and the one in memory are the same to the daemon."""

from __future__ import annotations

import inspect

import pytest

from dnsfw.server.kernel import Kernel
from dnsfw.server.wall import KernelWall
from tests.support.memory_kernel import MemoryKernel

MEMBERS = [name for name in vars(Kernel) if not name.startswith("_")]


@pytest.mark.parametrize("name", [n for n in MEMBERS if inspect.isfunction(vars(Kernel)[n])])
@pytest.mark.parametrize("kind", [KernelWall, MemoryKernel])
def test_both_have_every_method_with_the_same_parameters(kind: type, name: str) -> None:
    wanted = inspect.signature(getattr(Kernel, name)).parameters

    assert list(inspect.signature(getattr(kind, name)).parameters) == list(wanted)
