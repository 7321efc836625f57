"""`dnsfw flows`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dnsfw.cli.client import Client
from tests.support.commands import dnsfw

BASE: dict[str, Any] = {
    "role": "host", "direction": "out", "protocol": "tcp", "local": "::", "local_port": 40000,
    "address": "192.0.2.7", "port": 443, "names": ["www.example.com"], "state": "open",
    "reason": "granted", "rule": "", "age": 61, "idle": 2,
}  # fmt: skip
ROWS = [
    BASE,
    {**BASE, "direction": "in", "address": "2001:db8::9", "local_port": 22, "names": [],
     "reason": "inbound", "role": "web"},
    {**BASE, "protocol": "icmp", "port": 0, "names": [], "reason": "default"},
]  # fmt: skip


def test_a_row_says_who_talks_to_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "rows", lambda self, do, role: iter(ROWS))

    assert (
        dnsfw("flows").out
        == """\
ROLE      PEER                  STATE  AGE    IDLE  NAMES
host  ->  192.0.2.7:443/tcp     open   1m01s  2s    www.example.com
web   <-  [2001:db8::9]:22/tcp  open   1m01s  2s    (inbound)
host  ->  192.0.2.7/icmp        open   1m01s  2s    (default)
3 flows
"""
    )


def test_loopback_does_not_drown_what_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    local = {**BASE, "address": "127.0.53.53", "names": [], "reason": "loopback"}
    monkeypatch.setattr(Client, "rows", lambda self, do, role: iter([BASE, local]))

    assert "127.0.53.53" not in dnsfw("flows").out
    assert dnsfw("flows").out.endswith("\n1 flow, and 1 within this host: see --json\n")
    assert len(json.loads(dnsfw("flows", "--json").out)) == 2


def test_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "rows", lambda self, do, role: iter(()))

    assert dnsfw("flows").out == "no flows\n"
    assert json.loads(dnsfw("flows", "--json").out) == []
