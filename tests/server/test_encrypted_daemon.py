"""A daemon with an encrypted upstream: the name is looked up elsewhere, questions are not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dnslib import EDNS0, RCODE, DNSQuestion, DNSRecord

from tests.support.certs import NAME, Ca
from tests.support.nanodns import NanoDns
from tests.support.running import free_port, running


def addresses(reply: DNSRecord) -> list[str]:
    return [str(record.rdata) for record in reply.rr]


def policy(*upstreams: object) -> str:
    rules = [{"allow": "*.example.com"}]
    dns = {"upstreams": list(upstreams)}
    return json.dumps({"version": 1, "default": "deny", "rules": rules, "dns": dns})


@pytest.mark.usefixtures("answers")
async def test_row_81_questions_go_over_tls_and_only_its_name_in_clear(
    tmp_path: Path, ca: Ca
) -> None:
    async with NanoDns(tls=ca.good.server("dot")) as dns, NanoDns() as helper:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        helper.zone[NAME, "A"] = ["127.0.0.1"]
        server = {"server": f"tls://{NAME}:{dns.endpoint.port}", "ca": str(ca.file)}
        text = policy(server, str(helper.endpoint))
        async with running(tmp_path, (), policy=text) as run:
            assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]
            _, status = await run.control("status")

        assert {name for name, _, _ in helper.heard} == {NAME}
        (row,) = status["upstream_rows"]
        assert (row["transport"], row["encrypted"]) == ("TLS", True)
        assert row["latency_ms"] is not None and row["connections"] == 1
        assert row["resumed"] == 1  # the loop check has shaken hands before


@pytest.mark.usefixtures("answers")
async def test_row_81_when_it_cannot_be_reached_nothing_goes_out_in_clear(
    tmp_path: Path, ca: Ca
) -> None:
    async with NanoDns() as helper:
        helper.zone[NAME, "A"] = ["127.0.0.1"]
        helper.zone["www.example.com", "A"] = ["192.0.2.7"]
        server = {"server": f"tls://{NAME}:{free_port()}", "ca": str(ca.file)}
        text = policy(server, str(helper.endpoint))
        async with running(tmp_path, (), policy=text) as run:
            reply = await run.query("www.example.com")

        assert reply.header.rcode == RCODE.SERVFAIL
        assert {name for name, _, _ in helper.heard} == {NAME}


@pytest.mark.usefixtures("answers")
async def test_row_123_the_ad_bit_of_an_upstream_that_is_trusted_by_a_key_is_passed_on(
    tmp_path: Path, ca: Ca
) -> None:
    class Checking(NanoDns):
        def reply(self, query):  # type: ignore[no-untyped-def]
            reply = super().reply(query)
            reply.header.ad = 1
            return reply

    async with Checking(tls=ca.good.server("dot")) as dns:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        server = {"server": f"tls://{dns.endpoint}#{NAME}", "ca": str(ca.file)}
        for trusted in (False, True):
            text = policy({**server, "trusted": trusted})
            where = tmp_path / str(trusted)
            where.mkdir()
            async with running(where, (), policy=text) as run:
                query = DNSRecord(q=DNSQuestion("www.example.com"))
                query.add_ar(EDNS0(flags="do", udp_len=1232))
                reply = DNSRecord.parse(await run.exchange(bytes(query.pack())))
            assert bool(reply.header.ad) is trusted


@pytest.mark.usefixtures("answers")
async def test_row_107_a_server_that_never_shakes_hands_is_servfail_in_time(
    tmp_path: Path, ca: Ca
) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = policy({"server": f"tls://127.0.0.1:{port}#{NAME}", "ca": str(ca.file)})
    async with running(tmp_path, (), policy=text) as run:
        began = time.monotonic()
        reply = await run.query("www.example.com")

        assert reply.header.rcode == RCODE.SERVFAIL and time.monotonic() - began < 5
        assert "does not answer" in run.log.text  # and the start said so
    server.close()


def test_who_asks_in_no_such_way_loads_nothing_for_it() -> None:
    code = "import sys, dnsfw.server.daemon; print('h2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
