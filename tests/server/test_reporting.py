"""What tells and keeps is connected to what happens."""

from __future__ import annotations

from pathlib import Path

from dnslib import DNSQuestion, DNSRecord

from tests.support.running import running


async def test_a_refusal_reaches_observations_history_and_counts(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.query("evil.example")

    assert [row["name"] for row in run.daemon.observed.rows()] == ["evil.example"]
    assert len(run.daemon.reporter.history) == 2
    assert run.daemon.service.performer.on_asked is None, "connected after its end"


async def test_what_was_observed_is_told_with_its_asker(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.query("evil.example")
        ((row,), _) = await run.control("observed")

    assert row["name"] == "evil.example" and row["command"] == ""
    assert row["asker"].startswith("127.0.0.1 by udp")


async def test_a_query_without_rd_is_told_with_why_it_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        query = DNSRecord(q=DNSQuestion("www.example.com"))
        query.header.rd = 0
        await run.exchange(bytes(query.pack()))
        _, told = await run.control("explain", destination="www.example.com")

    assert "refused www.example.com: RD=0 asks for what others have asked" in run.log.text
    assert told["refused"]["reason"] == "RD=0 asks for what others have asked"
