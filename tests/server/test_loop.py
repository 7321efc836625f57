"""Which loop runs."""

from __future__ import annotations

import asyncio
import builtins
import resource
from typing import Any

import pytest

from dnsfw.server.loop import loop_name, raise_file_limit, run


async def which() -> str:
    return loop_name(asyncio.get_running_loop())


def test_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")

    assert run(which()) == "uvloop"


def test_asyncio_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "uvloop":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)

    assert run(which()) == "asyncio"


def test_the_descriptor_limit_goes_up_and_never_down() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        raise_file_limit()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise_file_limit()

        assert raised == min(16384, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
