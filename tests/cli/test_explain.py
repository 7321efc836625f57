from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dnsfw.cli.main import main

POLICY = """version: 1
default: deny
rules:
  - allow: "*.x.com:443"
    note: the site
  - deny: .a.x.com
"""


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    path.chmod(0o644)
    return path


@pytest.fixture
def run(file: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*args: str) -> Result:
        with pytest.raises(SystemExit) as exited:
            main(["explain", "--policy", str(file), *args])
        out, err = capsys.readouterr()
        return Result(int(exited.value.code or 0), out, err)

    return call


def test_a_denied_name_shows_rule_and_runner_up_with_their_lines(run: Run, file: Path) -> None:
    result = run("w.a.x.com:443")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "w.a.x.com:443/tcp: denied",
        "  by     deny .a.x.com",
        f"         {file}:6:11",
        "  not    allow *.x.com:443",
        f"         {file}:4:12",
        "         the longer suffix wins: a.x.com over x.com",
    ]


def test_an_allowed_name_shows_its_ports_and_note(run: Run, file: Path) -> None:
    result = run("w.x.com")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "w.x.com: allowed",
        "  by     allow *.x.com:443",
        f"         {file}:4:12",
        "  ports  443/tcp+udp: allowed",
        "  ports  the rest: denied",
        "  types  normal, by the role: what hosts use; not NULL or private types",
        "  guard  log, by the role",
        "  note   the site",
    ]


def test_a_name_that_dnsfw_answers_itself_says_so(run: Run) -> None:
    assert "asks nobody" in run("use-application-dns.net").stdout


def test_json_says_the_same(run: Run) -> None:
    result = run("--json", "w.a.x.com:443")

    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["verdict"] == "deny"
    assert found["reason"] == "by-name"  # as `watch` writes it
    assert found["rule"]["line"] == 6
    assert len(found["rule"]["id"]) == 8
    assert found["runner_up"]["text"] == "allow *.x.com:443"
    assert found["why"].startswith("the longer suffix")


@pytest.mark.parametrize("dest", ["x..com", "10.0.0.0/8", "x.com:80-90", "x.com/6"])
def test_what_is_no_destination_is_a_mistake(run: Run, dest: str) -> None:
    result = run(dest)

    assert result.exit_code == 2
    assert result.stderr.startswith("dnsfw: ")
    assert result.stdout == ""


def test_a_wrong_policy_is_a_mistake(run: Run, file: Path) -> None:
    file.write_text("version: 1")

    result = run("x.com")

    assert result.exit_code == 2
    assert "key 'default' is missing" in result.stderr


def test_an_unknown_role_is_a_mistake(run: Run) -> None:
    result = run("--role", "web", "x.com")

    assert result.exit_code == 2
    assert "no role is called 'web'; known is host" in result.stderr


def test_help_fits_eighty_columns_and_names_the_exit_status(run: Run) -> None:
    text = run("--help").stdout

    assert max(map(len, text.splitlines())) <= 80
    assert "Exit status" in text


ROLES = """version: 1
default: deny
roles:
  web:
    subjects: [uid: %d]
    rules: [allow: a.com]
  all:
    default: allow
"""


def test_a_destination_is_judged_for_the_role_that_is_named(run: Run, file: Path) -> None:
    file.write_text(ROLES % 1)

    assert run("a.com").exit_code == 1
    assert run("--role", "web", "a.com").exit_code == 0
    assert run("--role", "all", "b.com").exit_code == 0
    assert json.loads(run("--role", "web", "--json", "a.com").stdout)["role"] == "web"


def test_a_role_alone_is_shown(run: Run, file: Path) -> None:
    file.write_text(ROLES % 1)
    result = run("--role", "web")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "role web: default deny, 1 allow, 0 deny, 1 subject",
        "  inbound   tcp",
        "  loopback  all",
        "  subject   uid 1",
        f"            {file}:5:16",
    ]
    found = json.loads(run("--role", "web", "--json").stdout)
    assert (found["name"], found["subjects"][0]["kind"]) == ("web", "uid")


def test_a_process_has_the_role_of_its_subject(run: Run, file: Path) -> None:
    file.write_text(ROLES % os.getuid())
    result = run("--pid", str(os.getpid()))

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].endswith("): role web")
    assert lines[1:3] == [f"  by     uid {os.getuid()}", f"         {file}:5:16"]
    assert lines[3].startswith("  order  enrolled > deepest cgroup > executable")


def test_a_destination_is_judged_for_the_role_of_a_process(run: Run, file: Path) -> None:
    file.write_text(ROLES % os.getuid())

    allowed = run("--pid", str(os.getpid()), "a.com")
    denied = run("--pid", str(os.getpid()), "--json", "b.com")

    assert allowed.exit_code == 0
    assert "a.com: allowed" in allowed.stdout
    assert denied.exit_code == 1
    found = json.loads(denied.stdout)
    assert (found["verdict"], found["role"], found["process"]["role"]) == ("deny", "web", "web")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "nothing to explain; name a destination, a --role, --pid, --rule or --event"),
        (("--role", "host", "--pid", "1"), "--role and --pid name a role in two ways"),
        (("--via", "eth0", "x.com"), "--via goes with --pid"),
        (("--pid", "4194305"), "there is no process 4194305"),
    ],
)
def test_what_names_no_role_is_a_mistake(run: Run, args: tuple[str, ...], says: str) -> None:
    result = run(*args)

    assert result.exit_code == 2
    assert says in result.stderr


def test_without_daemon_and_policy_the_file_is_named(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DNSFW_POLICY", str(file))

    with pytest.raises(SystemExit):
        main(["explain", "a.x.com:443", "--run-dir", str(tmp_path)])

    said = capsys.readouterr().out
    assert said.startswith(f"no daemon runs here: by {file}\na.x.com:443/tcp: ")


QUESTIONS = """version: 1
default: deny
qtypes: strict
guard: {action: throttle, names: 5}
rules:
  - allow: "*.x.com:443"
  - allow: y.com
    qtypes: [A, MX]
"""


def test_the_types_that_may_be_asked_for_and_the_guard_are_shown(run: Run, file: Path) -> None:
    file.write_text(QUESTIONS)

    shown = run("w.x.com:443").stdout.splitlines()
    exact = run("y.com").stdout
    long = run(f"{'a' * 60}.x.com:443").stdout

    assert shown[-2:] == [
        "  types  strict, by the role: A, AAAA, CNAME, HTTPS, SVCB, SRV, PTR",
        "  guard  throttle, names 5, by the role",
    ]
    assert "  types  A, MX, by the rule\n" in exact and "guard" not in exact
    assert "a label longer than 52 bytes below x.com" in long


def test_a_type_that_may_not_be_asked_for_is_denied(run: Run, file: Path) -> None:
    file.write_text(QUESTIONS)

    refused, passed = run("w.x.com", "--type", "txt"), run("y.com", "-t", "MX")
    row = json.loads(run("w.x.com", "--type", "txt", "--json").stdout)

    assert (refused.exit_code, passed.exit_code) == (1, 0)
    assert "w.x.com: denied\n  by     `qtypes`, below\n  name   allow" in refused.stdout
    assert "  type   TXT is not asked for: the answer is empty" in refused.stdout
    assert (row["verdict"], row["reason"], row["questions"]["type"]) == ("deny", "qtype", "TXT")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("x.com", "--type", "FOO"), "no type of record"),
        (("192.0.2.1", "--type", "A"), "take --type out"),
        (("--role", "host", "--type", "A"), "goes with a name"),
        (("x.com", "--rule", "1f2e3d4c"), "--rule stands alone"),
        (("--rule", "x"), "8 hex digits"),
        (("--rule", "00112233"), "no rule has the id 00112233"),
    ],
)
def test_what_is_no_type_and_no_rule_is_a_mistake(
    run: Run, args: tuple[str, ...], says: str
) -> None:
    result = run(*args)

    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize("form", ["{}", "rule {}"])
def test_a_rules_id_leads_to_its_line(run: Run, file: Path, form: str) -> None:
    number = json.loads(run("w.a.x.com", "--json").stdout)["rule"]["id"]

    result = run("--rule", form.format(number))

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"no daemon asked: by {file}",
        f"rule {number}: deny .a.x.com",
        f"  at     {file}:6:11",
        "  role   host",
    ]
