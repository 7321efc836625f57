"""`dnsfw grants`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnsfw.cli.client import Client
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.nanodns import NanoDns
from tests.support.running import running

ROWS: list[dict[str, Any]] = [
    {"role": "web", "address": "192.0.2.7", "names": ["www.example.com", "b.x.org"],
     "verdict": "allow", "ports": "443/tcp", "rule": "allow *.example.com:443", "seconds": 65},
    {"role": "host", "address": "2001:db8::7", "names": ["ads.example"], "verdict": "deny",
     "ports": "icmp tcp udp", "rule": "", "seconds": 3600},
]  # fmt: skip


def test_a_row_says_address_ports_time_names_and_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "rows", lambda self, do, role: iter(ROWS))

    assert (
        dnsfw("grants").out
        == """\
ROLE  ADDRESS      OPEN              FOR    NAMES
web   192.0.2.7    443/tcp           1m05s  www.example.com b.x.org  by allow *.example.com:443
host  2001:db8::7  not icmp tcp udp  1h00m  ads.example
2 grants
"""
    )


def test_json_is_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "rows", lambda self, do, role: iter(ROWS))

    assert json.loads(dnsfw("grants", "--json").out) == ROWS


async def test_of_a_running_daemon(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        nothing = await dnsfw_beside("grants", "--run-dir", str(run.run_dir))
        dns.zone["www.example.com", "A"] = [f"192.0.2.{n}" for n in range(1, 9)]
        await run.query("www.example.com")
        done = await dnsfw_beside("grants", "--run-dir", str(run.run_dir))

        only = await dnsfw_beside("grants", "--role", "host", "--run-dir", str(run.run_dir))
        wrong = await dnsfw_beside("grants", "--role", "nobody", "--run-dir", str(run.run_dir))

    assert only.out == done.out
    assert (wrong.code, wrong.out) == (2, "")
    assert "there are: host" in wrong.err
    assert (nothing.code, nothing.out[:9]) == (0, "no grants")
    assert done.out.endswith("8 grants\n")
