"""How upstreams do, of a daemon that runs."""

from __future__ import annotations

from pathlib import Path

from tests.support.nanodns import NanoDns, truncate
from tests.support.running import running


async def test_status_shows_how_each_upstream_does(tmp_path: Path) -> None:
    policy = "version: 1\ndefault: deny\nrules: [{allow: '*.example.com'}]\n"
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=policy) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        dns.script(truncate)
        await run.control("resolve", name="www.example.com", qtype=1, role="host")

        _, status = await run.control("status")
        (row,) = status["upstream_rows"]

        assert row["server"] == str(dns.endpoint) and row["transport"] == "UDP"
        assert row["latency_ms"] is not None and row["failures"] == 0
        assert (row["asked"], row["answered"], row["opened"]) == (2, 1, 1)  # cut, then over TCP
        assert row["trusted"]  # nobody but this host speaks on its loopback
