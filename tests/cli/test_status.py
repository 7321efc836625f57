"""`dnsfw status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnsfw.cli.client import Client
from dnsfw.cli.status import _wrapped
from dnsfw.server.armed import mark_armed
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running

STATE: dict[str, Any] = {
    "ok": True, "version": "1.2.3", "pid": 77, "seconds": 7620, "loop": "uvloop",
    "policy": "/etc/dnsfw/policy.yaml", "policy_stale": "", "mode": "enforce", "default": "deny",
    "lockdown": "off", "enforcing": True, "not_enforcing": [], "not_as_written": [],
    "audit": [], "missing": [], "absent": [], "temporary": [], "remotes": [],
    "trial": None, "backend": "libbpf",
    "tamper": {"count": 0, "last": "", "seconds_ago": None}, "resolv_conf": "",
    "takeover": {"namespaces": 0, "given_up": 0}, "helper": "",
    "roles": [
        {"name": "host", "id": 1, "mode": "enforce", "default": "deny", "resolved_only": False,
         "takeover": False, "inbound": "all", "loopback": "all", "subjects": [],
         "hooks": ["/sys/fs/cgroup", "eth0"], "queries": 1200, "refused": 3, "audited": 0,
         "grants": 4, "flows": 2, "packets": {"allowed": 9, "denied": 5, "audited": 0}},
    ],
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
    "kernel_answers": {
        "on": True, "where": ["lo egress (tcx)"], "missing": [], "answered": 912, "refused": 3,
        "passed_on": {"miss": 9, "opt": 1}, "held": {"small": 5, "big": 1, "long": 0},
        "room": {"small": 32768, "big": 2048, "long": 2048}, "bytes": 4608,
    },
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
roles      role  mode     default  queries  refused  grants  flows  dropped
           host  enforce  deny     1200     3        4       2      5
hooks      /sys/fs/cgroup: connect4 connect6 cg_egress
           eth0: tc_egress
packets    reason          allowed  denied  audited
           granted         12       0       0
           never-resolved  0        3       0
dns        queries 9, answered from memory 4, answers kept 2
in kernel  answered 912, refused 3, answers kept 6, 5 kB
           passed on to the daemon: not known yet 9, EDNS options 1
"""
    )


def test_answers_of_the_kernel_that_are_off_or_missing_somewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off = shown(monkeypatch, kernel_answers={"on": False}).out
    lost = {**STATE["kernel_answers"], "missing": ["eth1 xdp: EBUSY"]}

    assert "in kernel  off: every question comes to the daemon" in off
    assert "not on eth1 xdp: EBUSY" in shown(monkeypatch, kernel_answers=lost).out


def test_each_process_that_answers_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(monkeypatch, workers=[
        {"pid": 78, "state": "serving", "answered": 900, "handed_on": 12, "restarts": 0},
        {"pid": 80, "state": "starting", "answered": 20, "handed_on": 3, "restarts": 2},
        {"pid": None, "state": "ended", "answered": 0, "handed_on": 0, "restarts": 1},
    ]).out  # fmt: skip

    assert (
        """\
workers    pid 78, answered 900, handed on 12
           pid 80, starting, answered 20, handed on 3, restarted 2 times
           NOT RUNNING, the daemon answers for it, answered 0, handed on 0,
           restarted 1 time
"""
        in out
    )


WEB: dict[str, Any] = {
    **STATE["roles"][0], "name": "web", "id": 77, "mode": "audit", "default": "allow",
    "takeover": True, "subjects": [
        "cgroup /system.slice/nginx.service", "uid www-data", "executable /usr/sbin/nginx",
    ],
    "refused": 0, "audited": 12, "queries": 20, "grants": 1, "flows": 1,
}  # fmt: skip
GUEST: dict[str, Any] = {
    **STATE["roles"][0], "name": "guest", "id": 78, "subjects": ["interface veth7"],
    "hooks": ["veth7"], "queries": 0, "refused": 0, "grants": 0, "flows": 0,
}  # fmt: skip


def test_each_role_has_its_row_and_its_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(
        monkeypatch, roles=[STATE["roles"][0], WEB, GUEST], enforcing=False,
        not_enforcing=["AUDIT: nothing is refused to role web"],
        absent=["cgroup /system.slice/nginx.service: no such cgroup yet"],
        takeover={"namespaces": 2, "given_up": 1},
    ).out  # fmt: skip

    assert (
        out[: out.index("hooks ")]
        == """\
dnsfw 1.2.3, NOT ENFORCING: AUDIT: nothing is refused to role web
running    2h07m, pid 77, uvloop
policy     /etc/dnsfw/policy.yaml (default deny)
listening  127.0.53.53:53
upstreams  192.0.2.1:53, [2001:db8::1]:53
takeover   port 53 leads here in 2 network namespaces, 1 given up
roles      role   mode     default  queries  refused      grants  flows  dropped
           host   enforce  deny     1200     3            4       2      5
           web    AUDIT    allow    20       12 would be  1       1      5
             cgroup /system.slice/nginx.service, uid www-data,
             executable /usr/sbin/nginx
           guest  enforce  deny     0        0            0       0      5
             interface veth7
             judged on veth7
             waiting: cgroup /system.slice/nginx.service: no such cgroup yet
"""
    )
    assert max(map(len, out.splitlines())) <= 80


def test_what_is_wrong_is_said_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(
        monkeypatch, policy_stale="p.yaml:3:1: no", lockdown="hard", trial=59.5,
        tamper={"count": 3, "last": "tc_egress was removed from eth0; it is back",
                "seconds_ago": 125},
        resolv_conf="/etc/resolv.conf no longer leads here: it names 192.0.2.1; names will not "
        "resolve until it does",
    ).out  # fmt: skip

    assert out.startswith("dnsfw 1.2.3, LOCKDOWN: nothing leaves\n")
    assert "STALE      the file was not loaded" in out
    assert "p.yaml:3:1: no" in out
    assert "TRIAL      undone in 59s unless" in out
    assert "LOCKDOWN   hard" in out
    assert (
        "TAMPER     3 times, last 2m05s ago: tc_egress was removed from eth0; it is back\n" in out
    )
    assert "RESOLV     /etc/resolv.conf no longer leads here" in out


def test_a_lost_hook_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = {**STATE["hooks"][0], "attached": False}

    assert "connect4 (LOST)" in shown(monkeypatch, hooks=[hook], enforcing=False).out


@pytest.mark.parametrize(
    "changes",
    [
        {"enforcing": False, "not_enforcing": ["AUDIT: nothing is refused to role web"]},
        {"enforcing": False, "not_enforcing": ["degraded, tc on eth0: no TCX"]},
        {"enforcing": False, "not_enforcing": ["no hook is attached"]},
        {"not_as_written": ["lockdown is on: nothing leaves, whatever the policy allows"]},
        {"not_as_written": ["the policy file was not loaded; the policy before it is in force"]},
    ],
)
def test_row_140_require_enforcing_is_exit_3(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = shown(monkeypatch, "--require-enforcing", **changes)

    assert done.code == 3
    (why,) = [*changes.get("not_enforcing", ()), *changes.get("not_as_written", ())]
    assert done.err == f"dnsfw: not enforcing: {why}\n"


def test_row_140_require_enforcing_without_a_daemon_is_exit_3(tmp_path: Path) -> None:
    assert dnsfw("status", "--require-enforcing", "--run-dir", str(tmp_path)).code == 3


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
    shown = {"running": False, "wall_stands": stands, "armed": False}
    assert json.loads(done.out) == shown


def test_row_55_a_wall_that_was_armed_is_told_from_one_that_lost_its_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "abi1").mkdir()
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))

    left = dnsfw("status", "--run-dir", str(tmp_path))
    mark_armed(tmp_path)
    armed = dnsfw("status", "--run-dir", str(tmp_path))

    assert (left.code, armed.code) == (3, 3)
    assert "the daemon does not run" in left.err
    assert "armed, no daemon" in armed.err


def test_what_is_kept_of_who_asked_and_why_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"names": "all", "directory": "/var/log/dnsfw", "hash": True, "written": 1, "lost": 2,
             "wrong": "No space left on device"}  # fmt: skip
    history = {"file": "/var/log/dnsfw/history.sqlite", "lost": 0, "wrong": ""}
    out = shown(monkeypatch, log={"names": names, "history": history, "wrong": ""}).out
    off = shown(monkeypatch, log={"names": None, "history": None, "wrong": ""}).out

    assert "log        all names in /var/log/dnsfw, hashed, 1 line, 2 lost\n" in out
    assert "history    /var/log/dnsfw/history.sqlite\n" in out
    assert "NO LOG     No space left on device\n" in out
    assert off == shown(monkeypatch).out
