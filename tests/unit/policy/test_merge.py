"""policy.d: several files, one policy; every position in its own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import load
from dnsfw.policy.policy import Policy

MAIN = """\
version: 1
default: deny
rules: [{allow: a.example}]
roles:
  web: {subjects: [{uid: 4241}], rules: [{allow: web.example}]}
"""


def parts(tmp_path: Path, main: str = MAIN, **files: str) -> Path:
    """`policy.yaml` with these files beside it; `_` in a name stands for `.`."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(main)
    directory = tmp_path / "policy.d"
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    return policy


def loaded(tmp_path: Path, main: str = MAIN, **files: str) -> Policy:
    return load(parts(tmp_path, main, **files))


def texts(policy: Policy, role: str = "host") -> list[str]:
    return [rule.text for rule in policy.roles[policy.role_id(role)].rules]


def wrong(tmp_path: Path, main: str = MAIN, **files: str) -> str:
    with pytest.raises(PolicyError) as error:
        loaded(tmp_path, main, **files)
    return str(error.value).replace(f"{tmp_path}/", "")


def test_rules_follow_in_the_order_of_the_names(tmp_path: Path) -> None:
    policy = loaded(
        tmp_path,
        b20_yaml="rules: [{allow: c.example}]",
        b10_yaml="version: 1\nrules:\n  - allow: b.example\n  - allow: [b1.example, b2.example]\n",
    )

    assert texts(policy) == [f"allow {name}.example" for name in ("a", "b", "b1", "b2", "c")]
    assert [Path(source).name for source in policy.sources] == [
        "policy.yaml", "b10.yaml", "b20.yaml"
    ]  # fmt: skip


def test_positions_point_into_the_right_file(tmp_path: Path) -> None:
    policy = loaded(tmp_path, x_yaml="# a part\nrules:\n  - allow: b.example\n")

    where = [str(rule.where).replace(f"{tmp_path}/", "") for rule in policy.host.rules]
    assert where == ["policy.yaml:3:17", "policy.d/x.yaml:3:12"]


def test_a_role_of_one_name_is_one_role(tmp_path: Path) -> None:
    policy = loaded(
        tmp_path,
        a_yaml="roles:\n  web: {subjects: [{uid: 4242}], rules: [{allow: more.example}]}\n",
        b_yaml="roles:\n  db: {subjects: [{uid: 4243}], rules: [{allow: db.example}]}\n",
        c_yaml="roles:\n  db: {rules: [{allow: db2.example}]}\n",
    )

    assert texts(policy, "web") == ["allow web.example", "allow more.example"]
    assert texts(policy, "db") == ["allow db.example", "allow db2.example"]
    assert [subject.value for subject in policy.subjects] == ["4241", "4242", "4243"]


def test_a_part_may_set_what_nobody_has_set(tmp_path: Path) -> None:
    policy = loaded(tmp_path, x_yaml="roles: {web: {mode: audit}}\n")

    assert policy.roles[policy.role_id("web")].mode.name == "AUDIT"


@pytest.mark.parametrize("part", ["default: allow\n", "version: 2\n", "version: 1\ndefault: deny"])
def test_what_has_one_value_is_set_once(tmp_path: Path, part: str) -> None:
    assert "is set twice; the first is policy.yaml:" in wrong(tmp_path, x_yaml=part)


def test_both_places_of_a_key_are_named(tmp_path: Path) -> None:
    told = wrong(tmp_path, a_yaml="dns: {refuse: zero}\n", b_yaml="dns: {refuse: nodata}\n")

    assert told.startswith("policy.d/b.yaml:1:7: 'dns.refuse' is set twice; the first is")
    assert told.endswith("policy.d/a.yaml:1:7")


def test_sections_are_filled_by_several(tmp_path: Path) -> None:
    policy = loaded(
        tmp_path,
        a_yaml="dns: {refuse: zero}\n",
        b_yaml="dns: {private: allow}\nhost:\n  containers: true\n",
    )

    assert (policy.dns.refuse, policy.dns.private, policy.containers) == ("zero", "allow", True)


def test_mistakes_of_every_part_are_told_at_once(tmp_path: Path) -> None:
    told = wrong(
        tmp_path,
        a_yaml="rules: [{alow: x.example}]\n",
        b_yaml="rules: [{allow: 'x..example'}]\n",
        c_yaml="- no mapping\n",
        d_yaml="rules: {allow: x.example}\n",
        e_yaml="\trules: 1\n",
    )

    for place in ("a.yaml:1:10", "b.yaml:1:17", "c.yaml:1:1", "d.yaml:1:8", "e.yaml:1:1"):
        assert f"policy.d/{place}: " in told


def test_contradictions_between_parts_are_errors(tmp_path: Path) -> None:
    told = wrong(tmp_path, x_yaml="rules: [{deny: a.example}]")

    assert "policy.d/x.yaml:1:16: 'deny a.example' contradicts 'allow a.example'" in told


def test_tests_and_case_files_of_parts_are_tests(tmp_path: Path) -> None:
    policy = loaded(
        tmp_path,
        x_yaml="tests: [{allow: 'a.example:443'}]\n",
        x_test_yaml="tests: [{deny: 'b.example:443'}]\n",
    )

    titles = [case.title for case in policy.tests]
    assert titles == ["allow a.example:443/tcp", "deny b.example:443/tcp"]
    assert policy.tests[0].where.file.endswith("policy.d/x.yaml")


def test_what_editors_leave_and_comments_alone_are_no_parts(tmp_path: Path) -> None:
    policy = loaded(
        tmp_path, _hidden_yaml="rules: [{allow: no.example}]", c_yaml="# later\n", d_yml="nonsense:"
    )  # fmt: skip

    assert texts(policy) == ["allow a.example"]


def test_only_a_policy_yaml_has_parts(tmp_path: Path) -> None:
    policy = parts(tmp_path, x_yaml="rules: [{allow: b.example}]")
    other = policy.rename(tmp_path / "other.yaml")

    assert texts(load(other)) == ["allow a.example"]


def test_an_alias_keeps_its_value_when_a_part_adds_to_the_other(tmp_path: Path) -> None:
    main = (
        "version: 1\ndefault: deny\nroles:\n"
        "  a: {subjects: [{uid: 1}], rules: &r [{allow: x.example}]}\n"
        "  b: {subjects: [{uid: 2}], rules: *r}\n"
    )
    policy = loaded(tmp_path, main, x_yaml="roles: {a: {rules: [{allow: y.example}]}}")

    assert texts(policy, "a") == ["allow x.example", "allow y.example"]
    assert texts(policy, "b") == ["allow x.example"]


def test_a_list_lies_beside_the_part_that_names_it(tmp_path: Path) -> None:
    policy = parts(tmp_path, x_yaml="rules: [{allow: {list: good.txt}}]")
    (tmp_path / "policy.d" / "good.txt").write_text("listed.example\n")

    (names,) = load(policy).host.lists
    assert names.file.endswith("policy.d/good.txt")


def test_a_directory_that_others_write_is_refused(tmp_path: Path) -> None:
    policy = parts(tmp_path, x_yaml="rules: [{allow: b.example}]")
    (tmp_path / "policy.d").chmod(0o777)

    with pytest.raises(PolicyError, match="others than root may write the directory"):
        load(policy)
