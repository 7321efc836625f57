"""Does an upstream ask us?"""

from __future__ import annotations

import asyncio

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server.address import plain
from dnsfw.server.clock import boot_now
from dnsfw.server.loopcheck import LoopCheck
from tests.support.nanodns import NanoDns, drop
from tests.support.until import until


def mark(fd: int) -> None:
    """No kernel here."""


async def test_an_upstream_that_answers_is_fine_and_quick() -> None:
    async with NanoDns() as dns:
        check = LoopCheck((plain(dns.endpoint),))

        assert await check.run(asyncio.get_running_loop(), mark, boot_now) == []


async def test_a_query_of_ours_that_comes_back_is_found() -> None:
    async with NanoDns() as dns:
        check = LoopCheck((plain(dns.endpoint),))
        dns.script(drop)
        running = asyncio.ensure_future(check.run(asyncio.get_running_loop(), mark, boot_now))
        await until(lambda: dns.wires)

        assert check.heard(dns.wires[0].upper())  # 0x20 on the way does not hide it

        with pytest.raises(ConfigError, match="asks dnsfw itself"):
            await running


async def test_other_peoples_queries_are_not_ours() -> None:
    async with NanoDns() as dns:
        assert not LoopCheck((plain(dns.endpoint),)).heard(
            b"\0" * 12 + b"\3www\7example\3com\0\0\1\0\1"
        )


async def test_each_start_asks_for_a_name_of_its_own() -> None:
    async with NanoDns() as dns:
        for _ in range(3):
            await LoopCheck((plain(dns.endpoint),)).run(asyncio.get_running_loop(), mark, boot_now)

        assert len({name for name, _, _ in dns.heard}) == 3


async def test_a_silent_upstream_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsfw.server.loopcheck._PATIENCE", 0.05)
    async with NanoDns() as dns, NanoDns() as silent:
        silent.script(drop)
        check = LoopCheck((plain(silent.endpoint), plain(dns.endpoint)))

        assert await check.run(asyncio.get_running_loop(), mark, boot_now) == [
            plain(silent.endpoint)
        ]
