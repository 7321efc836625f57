"""`dnsfw import`: the policy on stdout, how it was read on stderr, nothing half done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dnsfw.policy.compile import compile_text, load
from tests.support.commands import dnsfw

DATA = Path(__file__).resolve().parents[1] / "data" / "imports"
LISTS = {"adblock.txt": "adblock", "rpz.zone": "rpz", "dnsmasq.conf": "dnsmasq", "hosts": "hosts"}
SOME_LOST = '{\n"blocked_ips": ["192.0.2.1"],\n"blocked_countries": ["xx"],\n}'


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of this machine is found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SECEXIT_POLICY", raising=False)
    monkeypatch.delenv("BPFJAILER_POLICY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("file", sorted(path.name for path in DATA.iterdir() if path.is_file()))
def test_what_comes_out_is_a_policy_and_says_how_it_was_read(file: str) -> None:
    done = dnsfw("import", str(DATA / file))

    assert done.code == 0
    compile_text(done.out)
    assert f"{DATA / file}:" in done.err
    assert "0 lost" in done.err


@pytest.mark.parametrize(
    "file", sorted(str(p.relative_to(DATA)) for p in DATA.glob("*/*") if p.parent.name != "golden")
)
def test_what_becomes_of_each_line_is_as_it_was_reviewed(file: str) -> None:
    """DNSFW_GOLDEN=write writes the files anew; read the difference before committing it."""
    form = LISTS.get(Path(file).name, Path(file).parent.name)
    golden = DATA / "golden" / (file.replace("/", "-") + ".txt")

    done = dnsfw("import", form, str(DATA / file), "--partial")
    shown = (done.err + done.out).replace(str(DATA), "DATA")
    if os.environ.get("DNSFW_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown)

    assert shown == golden.read_text()
    assert dnsfw("import", form, str(DATA / file)).code == (" LOST " in shown)


def test_an_allow_list_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("x.example\n")

    done = dnsfw("import", "plain", str(tmp_path / "l"), "--allow")

    assert done.code == 0 and "default: deny" in done.out
    assert dnsfw("import", "blocklist", str(DATA / "blocklist.json"), "--allow").code == 2


def test_a_list_of_plain_names_may_mean_what_is_below_too(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("x.example\n")

    done = dnsfw("import", "plain", str(tmp_path / "list"), "--as", "suffix")
    wrong = dnsfw("import", "adblock", str(tmp_path / "list"), "--as", "suffix")

    assert ".x.example" in done.out
    assert wrong.code == 2 and "--as suffix is for plain names" in wrong.err


def test_a_long_list_is_named_and_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("".join(f"0.0.0.0 a{n}.example.com\n" for n in range(300_000)))

    done = dnsfw("import", "hosts", str(tmp_path / "l"), "-o", str(tmp_path / "p.yaml"))

    assert done.code == 0 and "300000 exact" in done.err
    assert len(load(tmp_path / "p.yaml").host.lists) == 1


@pytest.mark.parametrize("file", ["cilium/crawler.yaml", "sandbox/settings.json"])
def test_what_can_be_imported_only_is_not_put_in_force(file: str) -> None:
    done = dnsfw("check", str(DATA / file))

    assert done.code == 1 and "dnsfw import" in done.err


def test_each_line_is_told_with_its_number() -> None:
    done = dnsfw("import", "blocklist", str(DATA / "blocklist.json"))

    assert f'{DATA}/blocklist.json:9: read blocked_ips "198.51.100.7" -> deny: ' in done.err
    assert done.err.endswith("5 lines read as blocklist, 1 noted, 0 lost\n")


def test_what_cannot_be_kept_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file, out = tmp_path / "old.json", tmp_path / "new.yaml"
    file.write_text(SOME_LOST)

    done = dnsfw("import", str(file), "-o", str(out))

    assert (done.code, done.out) == (1, "")
    assert f"{file}:3: LOST blocked_countries: 1 entry -> " in done.err
    assert "nothing written" in done.err
    assert not out.exists()


def test_partial_goes_on_and_still_says_what_is_lost(tmp_path: Path) -> None:
    file, out = tmp_path / "old.json", tmp_path / "new.yaml"
    file.write_text(SOME_LOST)

    done = dnsfw("import", str(file), "--partial", "-o", str(out))

    assert (done.code, done.out) == (0, "")
    assert "LOST blocked_countries" in done.err
    assert len(load(out).host.rules) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_revision_that_goes_back_is_refused(tmp_path: Path) -> None:
    file, out = tmp_path / "old.json", tmp_path / "new.yaml"
    codes = []
    for keys in (
        '"revision": 7, "blocked_ips": []', '"revision": 6, "blocked_ips": []',
        '"blocked_ips": []', '"revision": 7, "blocked_ips": ["192.0.2.1"]',
    ):  # fmt: skip
        file.write_text(f"{{{keys}}}")
        codes.append(dnsfw("import", str(file), "-o", str(out)).code)

    assert codes == [0, 1, 1, 0]
    assert (load(out).revision, len(load(out).host.rules)) == (7, 1)


def test_json_has_the_policy_the_numbers_of_roles_and_every_finding() -> None:
    done = dnsfw("import", str(DATA / "roles.json"), "--json")
    shown = json.loads(done.out)

    assert (shown["format"], shown["ok"]) == ("roles", True)
    assert shown["roles"] == {"3": "webserver", "5": "isolated"}
    assert compile_text(shown["policy"]).numbers
    assert {"line", "kept", "source", "became"} == set(shown["findings"][0])


def test_a_refused_import_shows_no_policy_in_json(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(SOME_LOST)

    done = dnsfw("import", str(tmp_path / "old.json"), "--json")

    assert done.code == 1
    assert (json.loads(done.out)["ok"], json.loads(done.out)["policy"]) == (False, None)


@pytest.mark.parametrize(
    ("variable", "file", "form"),
    [
        ("SECEXIT_POLICY", "blocklist.json", "blocklist"),
        ("BPFJAILER_POLICY", "roles.json", "roles"),
    ],
)
def test_the_variable_of_the_old_tool_names_the_file(
    variable: str, file: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(DATA / file))

    assert f"read as {form}" in dnsfw("import").err
    assert dnsfw("import", form).code == 0


@pytest.mark.parametrize(
    ("place", "file", "form"),
    [("home/.config/secexit/policy.json", "blocklist.json", "blocklist"),
     ("config/policy.json", "roles.json", "roles")],
)  # fmt: skip
def test_the_place_of_the_old_tool_is_looked_at(
    place: str, file: str, form: str, tmp_path: Path
) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text((DATA / file).read_text())

    assert f"read as {form}" in dnsfw("import").err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks at whose file it is")
def test_root_may_show_somebody_elses_file_but_not_enforce_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text((DATA / "blocklist.json").read_text())
    os.chown(path, 1234, 1234)

    assert dnsfw("import", str(path)).code == 0
    assert dnsfw("check", str(path)).code == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "$SECEXIT_POLICY"),
        (["endpoints"], "name the file"),
        (["nosuch.json"], "nosuch.json"),
        (["http://127.0.0.1/policy.json"], "fetch it first"),
        (["wireguard", "x"], "there are blocklist, roles, endpoints"),
        (["a", "b", "c"], "one file at a time"),
    ],
)
def test_a_wrong_command_is_exit_2_with_its_remedy(argv: list[str], says: str) -> None:
    done = dnsfw("import", *argv)

    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_file_of_nobody_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("version: 1\n")

    done = dnsfw("import", str(tmp_path / "x"))

    assert done.code == 2
    assert "no key that tells its format" in done.err


def test_check_reads_their_file_directly() -> None:
    done = dnsfw("check", str(DATA / "blocklist.json"))

    assert done.code == 0
