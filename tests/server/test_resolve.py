"""`query --role`: the engine's own path for one role, and nothing for who may only look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dnslib import RCODE, DNSRecord

from dnsfw.datapath.abi import Verdict
from dnsfw.model import HOST, addr_from
from dnsfw.server import control
from dnsfw.server.clock import boot_now
from dnsfw.server.control import Peer
from tests.support.nanodns import NanoDns
from tests.support.running import Running, running

ROLES = """\
version: 1
default: deny
rules: [{allow: "*.example.com"}]
roles:
  web: {subjects: [{uid: 4241}], default: deny, rules: [{allow: "*.example.com:443"}]}
"""
ADDR = addr_from("192.0.2.7")


def web(run: Running) -> Any:
    policy = run.daemon.reloader.policy
    return next(n for n, role in policy.roles.items() if role.name == "web")


def lets(run: Running, role: Any) -> bool:
    return run.kernel.sink.judge(role, ADDR, 6, 443, boot_now())[0] is Verdict.ALLOW


async def test_a_look_up_for_a_role_opens_for_that_role_alone(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]

        _, last = await run.control("resolve", name="www.example.com", qtype=1, role="web")

        assert last["ok"] and last["role"] == "web"
        reply = DNSRecord.parse(bytes.fromhex(last["wire"]))
        assert [str(rr.rdata) for rr in reply.rr] == ["192.0.2.7"]
        assert lets(run, web(run)) and not lets(run, HOST)
        rows, _ = await run.control("grants", role="web")
        assert [row["role"] for row in rows] == ["web"]
        assert (await run.control("grants", role="host"))[0] == []


async def test_a_refused_name_is_refused_this_way_too(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        before = len(dns.heard)

        _, last = await run.control("resolve", name="evil.example", qtype=1, role="web")

        assert DNSRecord.parse(bytes.fromhex(last["wire"])).header.rcode == RCODE.NXDOMAIN
        assert len(dns.heard) == before


async def test_row_132_who_may_only_look_is_told_and_nothing_is_asked_or_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "peer_of", lambda sock, admins: Peer(1000, may_change=False))
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        before = len(dns.heard)

        _, allowed = await run.control("resolve", name="www.example.com", qtype=1, role="web")
        _, refused = await run.control("resolve", name="evil.example", qtype=1)

        assert (allowed["judged"], allowed["role"]) == ("allow", "web")
        assert "*.example.com:443" in allowed["rule"]
        assert (refused["judged"], refused["reason"]) == ("deny", "name-default")
        assert "wire" not in allowed
        assert len(dns.heard) == before
        assert not list(run.kernel.sink.entries())


@pytest.mark.parametrize(
    "request_",
    [
        {"name": "a.example", "qtype": 0},
        {"name": "a.example", "qtype": 65536},
        {"name": "a.example", "qtype": "A"},
        {"name": "a.example"},
        {"name": "a" * 300, "qtype": 1},
        {"qtype": 1, "name": "a..b"},
        {"name": "a.example", "qtype": 1, "role": "nobody"},
        {"name": "a.example", "qtype": 1, "role": None},
        {"name": "a.example", "qtype": 1, "role": ["web"]},
    ],
)
async def test_what_cannot_be_asked_is_a_mistake(tmp_path: Path, request_: dict[str, Any]) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        _, last = await run.control("resolve", **request_)

        assert (last["ok"], last["exit"]) == (False, 2)
        assert run.daemon.faults.count == 0


async def test_a_role_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        for verb in ("grants", "flows", "watch"):
            _, last = await run.control(verb, role="nobody")

            assert "there are: host, web" in last["error"]
