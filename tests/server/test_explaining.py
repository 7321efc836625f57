"""`explain` of a running daemon: now, and what is known of before."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from dnsfw.model import SECOND, Nanos
from tests.support.nanodns import NanoDns
from tests.support.running import running

POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.example.com:443"
    ttl: {min: 1s, grace: 2s}
roles:
  web:
    default: deny
"""


async def test_an_address_is_open_by_the_name_that_resolved_to_it(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], POLICY) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        _, before = await run.control("explain", destination="192.0.2.7:443")
        await run.query("www.example.com")
        _, after = await run.control("explain", destination="192.0.2.7:443")
        _, port = await run.control("explain", destination="192.0.2.7:22")
        _, other = await run.control("explain", destination="192.0.2.7:443", role="web")

    assert (before["verdict"], before["reason"]) == ("deny", "never-resolved")
    assert (after["verdict"], after["reason"]) == ("allow", "by-name")
    assert after["rule"]["line"] == 4
    assert after["grants"][0]["names"] == ["www.example.com"]
    assert after["learnt"][0]["asker"].startswith(f"127.0.0.1 by udp, uid {os.getuid()}")
    assert (port["verdict"], other["verdict"]) == ("deny", "deny")
    assert not other["learnt"]


async def test_history_outlives_the_grant(tmp_path: Path) -> None:
    async with NanoDns(ttl=1) as dns, running(tmp_path, [dns.endpoint], POLICY) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        now = Nanos(run.daemon.now() + 20 * SECOND)
        run.daemon.now = lambda: now
        run.daemon.service.performer.perform(run.daemon.service.engine.on_deadline(now))
        _, row = await run.control("explain", destination="192.0.2.7:443")
        _, name = await run.control("explain", destination="www.example.com")

    assert (row["verdict"], row["grants"]) == ("deny", [])
    assert row["learnt"][0]["name"] == "www.example.com" and row["learnt"][0]["seconds"] < 0
    assert name["learnt"][0]["address"] == "192.0.2.7"


async def test_an_event_is_explained_by_the_id_that_watch_gave_it(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        reader, writer = await asyncio.open_unix_connection(str(run.run_dir / "control.sock"))
        writer.write(b'{"do": "watch"}\n')
        await reader.readline()
        await run.query("tracker.evil.example")
        async with asyncio.timeout(5):
            told = json.loads(await reader.readline())["row"]
        writer.close()
        _, row = await run.control("explain", event=told["id"])
        _, gone = await run.control("explain", event=told["id"] + 100)
        _, junk = await run.control("explain", event=["x"])

    assert (row["destination"], row["verdict"]) == ("tracker.evil.example", "deny")
    assert row["event"]["kind"] == "refused"
    assert row["refused"]["count"] == 1
    who = f"127.0.0.1 by udp, uid {os.getuid()}"
    assert row["refused"]["asker"].startswith(who) and row["event"]["asker"].startswith(who)
    assert (gone["exit"], junk["exit"]) == (2, 2)


async def test_what_is_no_destination_is_a_mistake(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, last = await run.control("explain", destination="a..b")

    assert last["exit"] == 2


async def test_explain_asks_and_opens_nothing(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        await run.control("explain", destination="www.example.com")
        heard = list(dns.heard)

    assert not [name for name, _, _ in heard if "www" in name]


async def test_what_the_role_has_asked_in_all_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for _ in range(3):
            await run.query("evil.example")
        _, row = await run.control("explain", destination="evil.example")

    assert (row["counters"]["queries"], row["counters"]["refused"]) == (3, 3)
    assert set(row["counters"]["packets"]) == {"allowed", "denied", "audited"}


GUARDED = """\
version: 1
default: deny
qtypes: strict
guard: {action: refuse, names: 2}
rules:
  - allow: "*.example.com:443"
  - deny: bad.example
"""


async def test_what_the_guard_makes_of_a_name_now_is_told_and_counts_nothing(
    tmp_path: Path,
) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], GUARDED) as run:
        _, before = await run.control("explain", destination="c.example.com")
        for name in ("a", "b"):
            await run.query(f"{name}.example.com")
        rows = [await run.control("explain", destination="c.example.com") for _ in range(3)]
        _, known = await run.control("explain", destination="a.example.com")
        _, typed = await run.control("explain", destination="a.example.com", type="TXT")
        held = run.daemon.service.engine.guards.held

    after = rows[-1][1]["questions"]
    assert (before["questions"]["would"], before["questions"]["held"]) == ("", False)
    assert after["would"] == "more than 2 new names in 300s below example.com" and after["held"]
    assert not known["questions"]["held"] and held == 0
    assert (typed["verdict"], typed["reason"]) == ("deny", "qtype")


async def test_the_id_in_a_refused_querys_answer_leads_to_the_rules_line(tmp_path: Path) -> None:
    async with running(tmp_path, policy=GUARDED) as run:
        reply = await run.query("bad.example")
        said = bytes(reply.ar[0].rdata[0].data[2:]).decode()
        _, row = await run.control("explain", rule=said)
        _, junk = await run.control("explain", rule=["x"])

    assert said.startswith("rule ")
    assert (row["rule"]["text"], row["rule"]["line"]) == ("deny bad.example", 7)
    assert row["policy"] == str(run.policy)
    assert junk["exit"] == 2
