from __future__ import annotations

import json
import re

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Mode, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.syntax import json_schema

HEAD = "version: 1\ndefault: allow\n"


def errors(text: str) -> list[str]:
    with pytest.raises(PolicyError) as raised:
        compile_text(HEAD + text, "p")
    return str(raised.value).splitlines()


def web(text: str) -> RolePolicy:
    policy = compile_text(f"{HEAD}roles: {{web: {{{text}}}}}")
    return policy.roles[policy.role_id("web")]


def test_a_role_that_says_nothing_else_denies_and_enforces() -> None:
    role = web("note: a role")

    assert (role.default, role.mode, role.resolved_only) == (Verdict.DENY, Mode.ENFORCE, False)


def test_a_role_has_its_own_default_and_mode() -> None:
    role = web("default: allow, mode: audit, resolved_only: true")

    assert (role.default, role.mode, role.resolved_only) == (Verdict.ALLOW, Mode.AUDIT, True)


def test_row_140_a_role_does_not_take_the_mode_of_host_and_is_told_so() -> None:
    policy = compile_text(f"{HEAD}mode: audit\nroles:\n  web: {{default: deny}}", "p")

    assert policy.roles[policy.role_id("web")].mode is Mode.ENFORCE
    assert [str(w) for w in policy.warnings] == [
        "p:5:3: 'mode: audit' at the top is the role host's: 'web' enforces; write its own mode"
    ]
    quiet = f"{HEAD}mode: audit\nroles: {{web: {{mode: enforce}}, db: {{mode: audit}}}}"
    assert not compile_text(quiet).warnings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("roles: []", "p:3:8: 'roles' is an empty list"),
        ("roles: {}", "p:3:8: 'roles' is an empty mapping"),
        ("roles: [web]", "p:3:8: 'roles' is keys and values; write 'web: {default: deny}' below"),
        ("roles: {web: }", "nothing stands for 'web'"),
        ("roles: {web: deny}", "p:3:14: 'web' is keys and values, not 'deny'"),
        ("roles: {host: {default: deny}}", "p:3:9: the role 'host' is the file itself; write its"),
        ("roles: {probe: {default: deny}}", "'probe' is dnsfw's own word; give the role another"),
        ("roles: {none: {default: deny}}", "'none' is dnsfw's own word"),
        ("roles: {Web: {default: deny}}", "p:3:9: 'Web' is no name of a role: a-z, 0-9, - and _,"),
        ("roles: {Web App: {default: deny}}", "write 'web-app'"),
        ("roles: {'': {default: deny}}", "'' is no name of a role"),
        ("roles: {ж: {default: deny}}", "write 'web'"),
        (f"roles: {{{'a' * 33}: {{default: deny}}}}", f"at most 32; write '{'a' * 32}'"),
        ("roles: {web: {defualt: deny}}", "p:3:15: unknown key 'defualt'; did you mean 'default'?"),
        ("roles: {web: {policy: deny}}", "unknown key 'policy'; did you mean 'default'?"),
        ("roles: {web: {default: drop}}", "p:3:24: 'default' is 'deny' or 'allow', not 'drop'"),
        ("roles: {web: {mode: adit}}", "did you mean 'audit'?"),
        ("roles: {web: {rules: x}}", "p:3:22: 'rules' is not a list; begin with '- allow:'"),
        ("roles: {web: {subjects: x}}", "p:3:25: 'subjects' is not a list; begin with '- cgroup:'"),
        ("roles: {web: {rules: [permit: x.com]}}", "unknown key 'permit'; did you mean 'allow'?"),
        ("roles: {web: {rules: [allow: '*x.com']}}", "p:3:30: '*x.com' would match 'evilx.com'"),
        ("roles: {web: {ttl: {min: 5}}}", "p:3:26: 5 is no duration; write 5s"),
        ("roles: {web: {ttl: {mim: 5s}}}", "p:3:21: unknown key 'mim'; did you mean 'min'?"),
        ("roles: {web: {note: 'a\\tb'}, web: {note: b}}", "key 'web' stands twice"),
        ("roles: {web: {dns: {takeover: true}}}", "unknown key 'dns'; known are default, mode"),
    ],
)
def test_what_is_no_role_is_an_error_with_its_place_and_remedy(text: str, says: str) -> None:
    assert any(says in error for error in errors(text)), errors(text)


def test_all_errors_of_all_roles_are_told_at_once() -> None:
    found = errors("""roles:
  host: {default: deny}
  web:
    inbound: [99999]
    subjects: [{uid: -1}, {cgrop: /x}]
    rules: [{alow: x.com}, {allow: '**'}]
  db:
    loopback: none
    subjects: [{via: lo}]
""")

    assert [line.split(":")[1] for line in found] == ["4", "6", "7", "7", "8", "8", "10", "11"]


def test_the_schema_describes_roles_and_subjects() -> None:
    schema = json.loads(json.dumps(json_schema()))
    role = schema["$defs"]["RoleSection"]["properties"]
    subject = schema["$defs"]["SubjectSection"]
    named = schema["properties"]["roles"]

    assert {"default", "mode", "rules", "subjects", "inbound", "loopback", "ttl", "note"} < set(
        role
    )
    assert set(subject["properties"]) == {
        "cgroup", "executable", "uid", "gid", "source", "interface", "via", "role",
    }  # fmt: skip
    assert subject["additionalProperties"] is False
    (pattern,) = named["patternProperties"]
    assert re.fullmatch(pattern, "web_with-db2")
    assert not re.fullmatch(pattern, "Web")
    assert named["maxProperties"] == 240
    words, port, *_, ports = role["inbound"]["anyOf"]
    assert words["enum"] == ["deny", "tcp", "all"]
    assert (port["type"], port["maximum"]) == ("integer", 65535)
    assert ports["type"] == "array"


def test_a_wrong_name_of_a_role_does_not_hide_what_is_wrong_inside() -> None:
    inside = "{default: dney, inbund: tcp, rules: [{alow: x.com}, {allow: 'a..b'}]}"
    for name in ("Web", "host", "none"):
        told = "\n".join(errors(f"roles: {{{name}: {inside}}}"))

        assert "role" in told or "dnsfw's own word" in told
        for what in ("'dney'", "'inbund'", "'alow'", "'a..b'"):
            assert what in told
