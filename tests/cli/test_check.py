from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dnsfw.cli.main import cli
from dnsfw.model import Inbound, Verdict, addr_from
from dnsfw.policy.compile import load
from dnsfw.policy.files import shipped
from dnsfw.wire.name import from_text
from tests.support.https import Ca, Https

GOOD = "version: 1\ndefault: deny\nrules: [allow: x.com, deny: '*.y.com']\n"
BAD = "version: 1\ndefualt: deny\nrules:\n  - allow: '*x.com'\n"


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["check", *args], catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("path", sorted(shipped().glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_policy_passes_without_a_warning(path: Path) -> None:
    result = run(str(path))

    assert result.exit_code == 0
    assert "warning:" not in result.stderr  # notes are of this host, which is not the reader's


def test_the_shipped_policies_are_those_that_the_readme_names() -> None:
    told = (shipped() / "README.md").read_text().split("## Examples")[1]

    assert {path.name for path in shipped().glob("*.yaml")} == set(re.findall(r"\(([^)]+)\)", told))


def test_a_good_policy_is_told_in_one_line(file: Path) -> None:
    result = run(str(file))

    assert result.stdout == f"{file}: ok: default deny, 1 allow, 1 deny\n"
    assert result.exit_code == 0


def test_a_bad_policy_fails_with_every_error_on_stderr(file: Path) -> None:
    file.write_text(BAD)

    result = run(str(file))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{file}:2:1: unknown key 'defualt'; did you mean 'default'?",
        f"{file}:4:12: '*x.com' would match 'evilx.com' too; "
        "write '.x.com' (it and all below) or '*.x.com' (all below)",
        f"{file}: 2 errors",
    ]


def test_warnings_do_not_fail_the_check(file: Path) -> None:
    file.write_text("version: 1\ndefault: deny\nrules: [allow: x.com, allow: x.com]\n")

    result = run(str(file))

    assert result.exit_code == 0
    assert f"{file}:3:30: warning: 'allow x.com' never decides" in result.stderr


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none.yaml"))

    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_the_worst_of_several_files_counts(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "bad.yaml"
    other.write_text(BAD)
    other.chmod(0o644)

    result = run(str(file), str(other))

    assert result.exit_code == 1
    assert f"{file}: ok" in result.stdout


def test_without_a_file_the_policy_of_up_is_checked(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_POLICY", str(file))

    assert run().stdout.startswith(f"{file}: ok")


def test_json_holds_errors_and_warnings(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "bad.yaml"
    other.write_text(BAD)
    other.chmod(0o644)

    result = run("--json", str(file), str(other))

    good, bad = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (good["ok"], good["default"], good["allow_rules"]) == (True, "deny", 1)
    assert not bad["ok"]
    assert len(bad["errors"]) == 2


def test_help_fits_eighty_columns_and_names_the_exit_status() -> None:
    text = run("--help").stdout

    assert max(map(len, text.splitlines())) <= 80
    assert "Exit status" in text


def test_the_policies_shown_in_the_readme_of_the_language_pass(file: Path) -> None:
    readme = shipped() / "README.md"
    blocks = [part.split("```")[0] for part in readme.read_text().split("```yaml\n")[1:]]
    far = [block for block in blocks if "remote:" in block]  # what is there is not here
    blocks = [block for block in blocks if block not in far and block.startswith("version: 1")]

    (file.parent / "lists").mkdir()
    (file.parent / "lists" / "ads.txt").write_text("||ads.example^\n")
    (file.parent / "partners.txt").write_text("partner.example\n")

    assert (len(blocks), len(far)) == (5, 1)  # the rest are parts of one
    for block in blocks:
        file.write_text(block)
        if "tests:" in block:
            assert CliRunner().invoke(cli, ["test", str(file)]).exit_code == 0
        assert run(str(file)).exit_code == 0
        assert "warning:" not in run(str(file)).stderr
    for block in far:
        file.write_text(block)
        told = run(str(file)).stderr
        assert re.fullmatch(r"\S+: there is no copy of https://.*\n.*: 1 error\n", told)


ROLES = """version: 1
default: allow
roles:
  web:
    default: deny
    mode: audit
    subjects: [uid: no-such-user, interface: nosuch0]
    rules: [allow: a.com, deny: b.a.com]
  tools: {default: allow}
"""


def test_roles_are_told_with_counts_of_rules_and_subjects(file: Path) -> None:
    file.write_text(ROLES)

    result = run(str(file))

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{file}: ok: default allow, 0 allow, 0 deny",
        "  role web: default deny, audit, 1 allow, 1 deny, 2 subjects",
        "  role tools: default allow, 0 allow, 0 deny, 0 subjects",
    ]


def test_what_is_not_on_this_host_is_a_note_and_fails_nothing(file: Path) -> None:
    file.write_text(ROLES)

    found = run(str(file)).stderr.splitlines()

    assert [line.split(": note: ")[1].split(" here")[0] for line in found] == [
        "there is no uid no-such-user",
        "there is no interface nosuch0",
        "nobody is in the role 'tools': it has no subjects; `dnsfw enroll --role tools --pid P` "
        "puts a process into it",
    ]
    assert found[0].startswith(f"{file}:7:16: ")


def test_json_holds_the_roles(file: Path) -> None:
    file.write_text(ROLES)

    (found,) = json.loads(run("--json", str(file)).stdout)

    assert [role["name"] for role in found["roles"]] == ["host", "web", "tools"]
    assert found["roles"][1]["mode"] == "audit"
    assert [subject["value"] for subject in found["roles"][1]["subjects"]] == [
        "no-such-user", "nosuch0",
    ]  # fmt: skip
    assert len(found["notes"]) == 3


def test_the_seven_roles_are_shipped_with_their_ports() -> None:
    policy = load(shipped() / "seven-roles.yaml")
    roles = {role.name: role for role in policy.roles.values()}
    ports = {
        "restricted": [],
        "isolated": [],
        "webserver": [80, 443, 8080],
        "database": [5432, 6379],
        "web_with_db": [80, 443, 3306, 5432, 6379],
        "worker": [443, 5432, 5672, 6379],
    }
    every = sorted({port for listed in ports.values() for port in listed} | {22})
    name, addrs = from_text("db.internal"), ("192.0.2.1", "10.0.0.1", "2001:db8::1")

    assert set(roles) == {"host", "permissive", *ports}
    assert roles["permissive"].judge(name).answered
    for role, open_ports in ports.items():
        judge = roles[role].judge(name)
        assert judge.answered is bool(open_ports)
        for port in every:
            assert (judge.share(6, port).verdict is Verdict.ALLOW) is (port in open_ports)
            for addr in addrs:
                found = roles[role].judge_addr(addr_from(addr), 6, port)
                assert bool(found and found.verdict is Verdict.ALLOW) is (port in open_ports)
            inbound = roles[role].access
            listens = inbound.inbound is Inbound.PORTS and inbound.inbound_ports.covers(6, port)
            assert listens is (port in open_ports)


def test_a_fetch_that_failed_is_told_and_the_exit_is_1_though_the_copy_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    ca = Ca.make(tmp_path / "ca")
    with Https(ca) as site:
        rule = {"deny": {"list": site.put("/a", "a.example\n"), "ca": str(ca.file)}}
        path = tmp_path / "p.yaml"
        path.write_text(json.dumps({"version": 1, "default": "allow", "rules": [rule]}))
        assert run("--fetch", str(path)).exit_code == 0
        del site.pages["/a"]

        shown, row = run("--fetch", str(path)), run("--fetch", "--json", str(path))

    assert shown.exit_code == row.exit_code == 1
    assert "warning: not fetched: the server says 404" in shown.stderr
    assert f"{path}: ok" in shown.stdout
    (told,) = json.loads(row.stdout)
    assert told["ok"] and "404" in told["failed"][0]


def test_a_test_of_the_policys_own_that_fails_is_an_error_as_a_reload_has_it(file: Path) -> None:
    file.write_text(GOOD + "tests:\n  - allow: a.y.com\n  - allow: x.com\n")

    result = run(str(file))

    assert result.exit_code == 1
    assert f"{file}:5:12: test fails: allow a.y.com: denied: by deny *.y.com" in result.stderr
    assert f"{file}: 1 error" in result.stderr


def test_the_policy_and_its_file_of_tests_are_told_of_at_once(tmp_path: Path) -> None:
    path, cases = tmp_path / "p.yaml", tmp_path / "p.test.yaml"
    path.write_text(BAD)
    cases.write_text("tests:\n  - allow: a..b\n")

    result = run(str(path))

    assert result.exit_code == 1
    assert f"{path}:2:1: unknown key" in result.stderr
    assert f"{path}:4:12: '*x.com'" in result.stderr
    assert f"{cases}:2:12: " in result.stderr


def test_what_is_wrong_here_is_told_beside_what_is_not_fetched_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nremote: {policy: 'https://x.example/p'}\nruels: []\n")

    result = run(str(path))

    assert "there is no copy of https://x.example/p" in result.stderr
    assert f"{path}:3:1: unknown key 'ruels'" in result.stderr
    assert "'default'" not in result.stderr, "it may stand there"
