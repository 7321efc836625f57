"""`dnsfw watch`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dnsfw.cli.client import Client
from tests.support.commands import dnsfw

DENIED: dict[str, Any] = {
    "at": 0, "kind": "denied", "verdict": "deny", "reason": "never-resolved", "role": "host",
    "names": [], "address": "203.0.113.9", "port": 443, "protocol": "tcp", "rule": "",
    "pid": 42, "command": "curl", "hook": "connect",
}  # fmt: skip


def rows(self: Client, do: str, *, forever: bool, role: str | None) -> Iterator[dict[str, Any]]:
    yield {"kind": "watching"}
    yield DENIED
    yield {"kind": "missed", "count": 7}
    raise KeyboardInterrupt


def test_a_line_for_each_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "rows", rows)
    done = dnsfw("watch")
    lines = done.out.splitlines()

    assert done.code == 0
    assert lines[0][9:] == "denied 203.0.113.9:443/tcp: never-resolved, by curl[42]"
    assert lines[1][9:] == "missed: 7"


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "rows", rows)

    first, _ = dnsfw("watch", "--json").out.splitlines()

    assert json.loads(first) == DENIED
