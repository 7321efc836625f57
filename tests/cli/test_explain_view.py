"""The lines of an explanation that the daemon gave."""

from __future__ import annotations

from pathlib import Path

from dnsfw.cli.explain_view import explained_lines
from tests.support.commands import dnsfw_beside
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, running


async def test_the_running_daemon_answers_and_says_so(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        done = await dnsfw_beside("explain", "--run-dir", str(run.run_dir), "192.0.2.7:443")

    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0] == f"live: the running daemon, by {run.policy}"
    assert lines[1:3] == ["192.0.2.7:443/tcp: allowed", "  by     allow *.example.com"]
    assert any(line.startswith("  now    192.0.2.7 ") for line in lines)
    assert "  learnt www.example.com -> 192.0.2.7" in lines
    assert "  role   host in all: 1 query, 0 refused; packets 0 allowed, 0 denied" in lines
    assert any("last for 127.0.0.1 by udp, uid " in line for line in lines)


async def test_a_file_that_is_named_answers_instead(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        args = ("--run-dir", str(run.run_dir), "--policy", str(run.policy), "www.example.com")
        done = await dnsfw_beside("explain", *args)

    assert done.out.startswith("www.example.com: allowed\n")


async def test_an_event_is_explained_by_its_id(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.query("evil.example")
        done = await dnsfw_beside("explain", "--run-dir", str(run.run_dir), "--event", "1")
        no = await dnsfw_beside("explain", "--run-dir", str(run.run_dir), "--event", "99")

    assert done.code == 1
    assert done.out.splitlines()[1].startswith("event 1 at ")
    assert "  asker  127.0.0.1 by udp, uid " in done.out
    assert "  told   1 time: name-default, first " in done.out
    assert "         last to 127.0.0.1 by udp, uid " in done.out
    assert (no.code, "no event 99" in no.err) == (2, True)


async def test_who_is_in_which_role_goes_by_the_file_of_the_daemon(tmp_path: Path) -> None:
    text = ALLOW_EXAMPLE + "roles: {web: {subjects: [{uid: 4242}]}}\n"
    async with running(tmp_path, policy=text) as run:
        role = await dnsfw_beside("explain", "--run-dir", str(run.run_dir), "--role", "web")
        pid = await dnsfw_beside("explain", "--run-dir", str(run.run_dir), "--pid", "1")

    whose = f"by {run.policy}, the file of the running daemon\n"
    assert (role.code, role.out.startswith(whose)) == (0, True)
    assert (pid.code, pid.out.startswith(f"{whose}pid 1 ")) == (0, True)


def test_a_file_has_no_live_lines() -> None:
    row = {
        "destination": "x.com", "verdict": "deny", "reason": "name-default", "rule": None,
        "runner_up": None, "shares": [], "notes": [],
    }  # fmt: skip

    assert list(explained_lines(row)) == [
        "x.com: denied",
        "  by     the default: no rule names it",
    ]


def test_what_an_earlier_daemon_opened_is_over_only_if_nothing_of_it_is_open() -> None:
    grant = {
        "address": "192.0.2.7", "ports": "443/tcp", "verdict": "allow", "seconds": 50,
        "names": ["x.com"],
    }  # fmt: skip
    learnt = {
        "name": "x.com", "chain": [], "address": "192.0.2.7", "rule": "", "asker": "",
        "first": 0, "last": 0, "times": 1, "seconds": None,
    }  # fmt: skip
    row = {
        "destination": "x.com", "verdict": "allow", "reason": "name-default", "rule": None,
        "runner_up": None, "shares": [], "notes": [], "live": True, "stale": False,
        "policy": "p.yaml", "grants": [grant], "learnt": [learnt], "refused": None, "flows": 0,
    }  # fmt: skip

    assert "  learnt x.com -> 192.0.2.7" in list(explained_lines(row))
    assert "  learnt x.com -> 192.0.2.7, over by now" in list(explained_lines(row | {"grants": []}))


def test_what_the_kernel_has_is_a_line_each() -> None:
    held = [
        {"type": "A", "do": False, "cd": False, "refusal": False, "seconds": 212, "hits": 35},
        {"type": "AAAA", "do": True, "cd": True, "refusal": True, "seconds": None, "hits": 1},
    ]
    row = {
        "destination": "x.com", "verdict": "allow", "reason": "name-default", "rule": None,
        "runner_up": None, "shares": [], "notes": [], "live": True, "stale": False,
        "policy": "p.yaml", "grants": [], "learnt": [], "refused": None, "flows": 0,
    }  # fmt: skip

    def said(kernel: object) -> list[str]:
        return [line for line in explained_lines(row | {"kernel": kernel}) if "kernel" in line]

    assert said({"held": held, "unasked": False, "why": ""}) == [
        "  kernel answers A: 3m32s left, 35 hits",
        "  kernel refuses AAAA, DO, CD: 1 hit",
    ]
    assert said({"held": [], "unasked": True, "why": ""}) == [
        "  kernel refuses it unasked, by its table of suffixes"
    ]
    assert said({"held": [], "unasked": False, "why": "lockdown is on"}) == [
        "  kernel not there: lockdown is on"
    ]
    assert said(None) == []
