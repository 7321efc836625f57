from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.support.commands import dnsfw
from tests.support.nanodns import NanoDns
from tests.support.running import running
from tests.support.until import until

POLICY = """version: 1
default: deny
rules:
  - allow: "*.x.com:443"
  - deny: bad.x.com
  - allow: new.example
"""
LINES = [
    {"kind": "name", "name": "www.x.com", "verdict": "allow", "count": 3},
    {"kind": "name", "name": "bad.x.com", "verdict": "allow", "count": 12, "client": "10.0.0.2"},
    {"kind": "name", "name": "gone.example", "verdict": "allow"},
    {"kind": "name", "name": "new.example", "verdict": "deny"},
    {"kind": "name", "role": "kids", "name": "y.com", "verdict": "deny"},
    {"kind": "denied", "names": ["www.x.com"], "address": "192.0.2.1", "port": 80,
     "protocol": "tcp", "verdict": "deny"},
]  # fmt: skip


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "names.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


def test_what_would_be_refused_now_and_what_allowed_is_grouped(policy: str, log: str) -> None:
    done = dnsfw("replay", log, "--policy", policy)

    assert done.code == 1
    assert done.out.splitlines() == [
        "allowed then, refused now:",
        "  12x  bad.x.com     deny bad.x.com",
        "   1x  gone.example  the default: no rule names it",
        "refused then, allowed now:",
        "  1x  new.example  allow new.example",
        f"{policy}: 6 lines, 5 destinations: 2 refused now, 1 allowed now, 2 the same "
        "(1 allowed, 1 refused)",
    ]
    assert "roles that the policy has not: kids (1); say --role" in done.err


@pytest.mark.parametrize(
    ("fail_on", "code"), [("refused", 1), ("allowed", 1), ("any", 1), ("never", 0)]
)
def test_the_operator_says_which_change_fails(
    policy: str, log: str, fail_on: str, code: int
) -> None:
    assert dnsfw("replay", log, "-p", policy, "--fail-on", fail_on).code == code


def test_nothing_that_matters_is_zero(tmp_path: Path, policy: str) -> None:
    same = tmp_path / "same"
    same.write_text(json.dumps(LINES[0]) + "\n" + json.dumps(LINES[3]) + "\n")

    assert dnsfw("replay", str(same), "-p", policy).code == 0
    assert dnsfw("replay", str(same), "-p", policy, "--fail-on", "any").code == 1


def test_stdin_and_json(policy: str, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(Path(log).read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    done = dnsfw("replay", "-", "-p", policy, "--json", "--role", "host")

    found = json.loads(done.out)
    assert done.code == 1
    assert found["lines"] == 6 and found["unknown_roles"] == {}
    first = found["destinations"][0]
    assert (first["destination"], first["was"], first["now"], first["change"]) == (
        "bad.x.com", "allow", "deny", "refused",
    )  # fmt: skip
    assert (first["rule"]["line"], first["who"]) == (5, "10.0.0.2")


def test_a_report_of_a_run_is_a_log_too(tmp_path: Path, policy: str) -> None:
    row = {"role": "host", "verdict": "allow", "name": "www.x.com", "addresses": [], "port": 443,
           "protocol": "tcp", "reason": "name-default", "count": 1}  # fmt: skip
    report = tmp_path / "seen.json"
    report.write_text(json.dumps({"report": 1, "observed": [row]}, indent=2))

    done = dnsfw("replay", str(report), "-p", policy, "--all")

    assert done.code == 0
    assert "  1x  www.x.com:443/tcp  allow *.x.com:443" in done.out


def test_row_134_nothing_in_a_log_steers_the_terminal(tmp_path: Path, policy: str) -> None:
    evil = tmp_path / "evil"
    rows = [{"name": "\x1b[2Jx.com", "verdict": "allow"}, {"name": "a\\027b.com", "verdict":
             "allow", "role": "\x1b[31m"}, {**LINES[5], "protocol": "\x1b"}]  # fmt: skip
    evil.write_text("".join(json.dumps(row) + "\n" for row in [*rows, LINES[0]]))

    for more in ((), ("--json",), ("--role", "host")):
        done = dnsfw("replay", str(evil), "-p", policy, "-a", *more)
        assert "\x1b" not in done.out + done.err


async def test_what_a_daemon_has_logged_is_the_same_under_its_own_policy(tmp_path: Path) -> None:
    text = POLICY + "log: {names: all}\n"
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], text) as run:
        dns.zone["www.x.com", "A"] = ["192.0.2.7"]
        dns.zone["new.example", "A"] = ["192.0.2.8"]
        for name in ("www.x.com", "bad.x.com", "new.example", "other.example"):
            await run.query(name)
        names = run.daemon.records.names
        assert names is not None
        await until(lambda: names.written >= 4)

    log = str(run.run_dir / "log")
    done = dnsfw("replay", log, "-p", str(run.policy), "--fail-on", "any", "--json")
    strict = tmp_path / "strict.yaml"
    strict.write_text("version: 1\ndefault: deny\n")

    assert (done.code, len(json.loads(done.out)["destinations"])) == (0, 4)
    assert dnsfw("replay", log, "-p", str(strict)).code == 1
