"""`dnsfw status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnsfw.cli.client import Client
from dnsfw.cli.status import _wrapped
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running

STATE: dict[str, Any] = {
    "ok": True, "version": "1.2.3", "pid": 77, "seconds": 7620, "loop": "uvloop",
    "policy": "/etc/dnsfw/policy.yaml", "policy_stale": "", "mode": "enforce", "default": "deny",
    "lockdown": "off", "enforcing": True, "missing": [], "trial": None, "backend": "libbpf",
    "hooks": [
        {"name": name, "where": where, "how": how, "attached": True, "note": ""}
        for name, where, how in [
            ("connect4", "/sys/fs/cgroup", "cgroup"), ("connect6", "/sys/fs/cgroup", "cgroup"),
            ("cg_egress", "/sys/fs/cgroup", "cgroup"), ("tc_egress", "eth0", "tcx"),
        ]
    ],
    "listen": ["127.0.53.53:53"], "upstreams": ["192.0.2.1:53", "[2001:db8::1]:53"],
    "packets": {"granted": {"allowed": 12, "denied": 0, "audited": 0, "sampled_out": 0},
                "never-resolved": {"allowed": 0, "denied": 3, "audited": 0, "sampled_out": 1}},
    "dns": {"queries": 9, "hits": 4, "failed": 0, "cache_answers": 2, "cache_answer_bytes": 90},
    "server": {"udp_unsent": 0, "faults": 0, "last_fault": ""},
}  # fmt: skip


def shown(monkeypatch: pytest.MonkeyPatch, *argv: str, **changes: Any) -> Any:
    monkeypatch.setattr(Client, "ask", lambda self, do: {**STATE, **changes})
    return dnsfw("status", *argv)


def test_everything_is_on_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        shown(monkeypatch).out
        == """\
dnsfw 1.2.3, enforcing
running    2h07m, pid 77, uvloop
policy     /etc/dnsfw/policy.yaml (default deny)
listening  127.0.53.53:53
upstreams  192.0.2.1:53, [2001:db8::1]:53
hooks      /sys/fs/cgroup: connect4 connect6 cg_egress
           eth0: tc_egress
packets    reason          allowed  denied  audited
           granted         12       0       0
           never-resolved  0        3       0
dns        queries 9, hits 4, cache answers 2
"""
    )


def test_what_is_wrong_is_said_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(
        monkeypatch, policy_stale="p.yaml:3:1: no", lockdown="hard", trial=59.5, mode="audit",
        enforcing=False,
    ).out  # fmt: skip

    assert "NOT ENFORCING: mode is audit" in out
    assert "STALE      the file was not loaded" in out
    assert "p.yaml:3:1: no" in out
    assert "TRIAL      undone in 59s unless" in out
    assert "LOCKDOWN   hard" in out


def test_a_lost_hook_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = {**STATE["hooks"][0], "attached": False}

    assert "connect4 (LOST)" in shown(monkeypatch, hooks=[hook]).out


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mode": "audit"}, "mode is audit"),
        ({"missing": ["tc on eth0: no TCX"]}, "degraded, tc on eth0: no TCX"),
        ({"hooks": []}, "no hook is attached"),
    ],
)
def test_row_140_require_enforcing_is_exit_3(
    changes: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = shown(monkeypatch, "--require-enforcing", enforcing=False, **changes)

    assert done.code == 3
    assert why in done.err


def test_require_enforcing_is_content_with_enforcing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, "--require-enforcing").code == 0


def test_many_words_wrap_below_each_other() -> None:
    lines = list(_wrapped("dns", [f"counter{n} {n}" for n in range(30)], ", "))

    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("dns        counter0 0, ")
    assert lines[1].startswith(" " * 11)


async def test_of_a_running_daemon(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        text = await dnsfw_beside("status", "--run-dir", str(run.run_dir))
        done = await dnsfw_beside("status", "--json", "--run-dir", str(run.run_dir))

    assert text.out.startswith("dnsfw ") and ", enforcing\n" in text.out
    assert json.loads(done.out)["enforcing"] is True
    assert json.loads(done.out)["running"] is True
    assert "ok" not in json.loads(done.out)


def test_a_wall_without_a_daemon_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "abi1").mkdir()
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))

    done = dnsfw("status", "--run-dir", str(tmp_path))

    assert done.code == 3
    assert "the wall it left stands" in done.err
    assert "`sudo dnsfw down` removes it" in done.err


@pytest.mark.parametrize("stands", [True, False])
def test_without_a_daemon_json_says_whether_a_wall_stands(
    stands: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("abi1" if stands else "new")).mkdir()
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))

    done = dnsfw("status", "--json", "--run-dir", str(tmp_path))

    assert done.code == 3
    assert json.loads(done.out) == {"running": False, "wall_stands": stands}
