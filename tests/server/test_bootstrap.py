"""Where upstreams are that have only a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dnsfw.policy.upstream import parse_url
from dnsfw.server.address import plain
from dnsfw.server.bootstrap import Bootstrap, NoPlace
from dnsfw.server.upstream import Upstreams
from tests.support.nanodns import NanoDns, drop, lie_then_answer, servfail, truncate

TLS = parse_url("tls://dns.example")


class Deaf:
    def answer(self, ask: int, wire: bytes) -> None: ...

    def ask_failed(self, ask: int, why: str) -> None: ...


@asynccontextmanager
async def helped_by(*helpers: NanoDns) -> AsyncIterator[Bootstrap]:
    loop = asyncio.get_running_loop()
    written = [*(plain(helper.endpoint) for helper in helpers), TLS]
    some = Upstreams(loop, written, lambda fd: None, Deaf())
    try:
        yield some._bootstrap
    finally:
        some.close()


async def where(bootstrap: Bootstrap) -> list[str]:
    return [str(endpoint) for endpoint in await bootstrap.find(TLS)]


async def test_a_name_is_asked_of_a_plain_upstream_once_in_its_ttl() -> None:
    async with NanoDns() as dns, helped_by(dns) as bootstrap:
        dns.zone["dns.example", "A"] = ["192.0.2.7"]
        dns.zone["dns.example", "AAAA"] = ["2001:db8::7"]

        assert await where(bootstrap) == ["192.0.2.7:853", "[2001:db8::7]:853"]
        await where(bootstrap)
        assert sorted(kind for _, kind, _ in dns.heard) == ["A", "AAAA"]


async def test_questions_at_once_ask_once() -> None:
    async with NanoDns() as dns, helped_by(dns) as bootstrap:
        dns.zone["dns.example", "A"] = ["192.0.2.7"]

        await asyncio.gather(*(where(bootstrap) for _ in range(10)))
        assert len(dns.heard) == 2


async def test_forged_and_cut_answers_are_not_taken() -> None:
    async with NanoDns() as dns, helped_by(dns) as bootstrap:
        dns.zone["dns.example", "A"] = ["192.0.2.7"]
        dns.script(lie_then_answer(5), truncate)

        assert await where(bootstrap) == ["192.0.2.7:853"]


async def test_the_next_helper_is_asked_when_one_cannot() -> None:
    async with NanoDns() as bad, NanoDns() as good, helped_by(bad, good) as bootstrap:
        bad.script(servfail, servfail)
        good.zone["dns.example", "A"] = ["192.0.2.7"]

        assert await where(bootstrap) == ["192.0.2.7:853"]


async def test_nobody_knows_is_a_failure_that_names_whom_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfw.server.bootstrap._PATIENCE", 0.05)
    async with NanoDns() as dns, helped_by(dns) as bootstrap:
        dns.script(drop, drop)
        with pytest.raises(NoPlace, match=rf"{dns.endpoint} did not say where dns\.example is"):
            await bootstrap.find(TLS)


async def test_a_known_address_is_used_while_nobody_knows_a_better_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfw.server.bootstrap._SHORTEST", 0.0)
    monkeypatch.setattr("dnsfw.server.bootstrap._PATIENCE", 0.05)
    async with NanoDns() as dns, helped_by(dns) as bootstrap:
        dns.zone["dns.example", "A"] = ["192.0.2.7"]
        dns.ttl = 0
        assert await where(bootstrap) == ["192.0.2.7:853"]
        dns.script(drop, drop, drop, drop)

        for _ in range(3):
            assert await where(bootstrap) == ["192.0.2.7:853"]
            await asyncio.sleep(0.06)


async def test_a_written_address_is_never_asked_for() -> None:
    async with NanoDns() as dns, helped_by(dns) as bootstrap:
        found = await bootstrap.find(parse_url("tls://192.0.2.1#dns.example"))

        assert [str(endpoint) for endpoint in found] == ["192.0.2.1:853"]
        assert not dns.heard
