from __future__ import annotations

from dnsfw.cli.role_view import role_json, role_line, role_lines
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy, RolePolicy

TEXT = """version: 1
default: allow
rules: [deny: x.com]
dns: {takeover: true}
roles:
  web:
    mode: audit
    inbound: [80/tcp]
    loopback: own
    subjects:
      - source: 10.0.0.0/8
        interface: lan0
      - via: eth0
    rules: [allow: a.com, deny: b.a.com]
  tools:
    default: deny
"""


def role(name: str) -> tuple[Policy, RolePolicy]:
    policy = compile_text(TEXT, "p")
    return policy, policy.roles[policy.role_id(name)]


def test_a_role_in_one_line() -> None:
    assert role_line(*role("host")) == "default allow, 0 allow, 1 deny"
    assert role_line(*role("web")) == "default deny, audit, 1 allow, 1 deny, 2 subjects"


def test_a_role_in_full() -> None:
    assert list(role_lines(*role("web"))) == [
        "role web: default deny, audit, 1 allow, 1 deny, 2 subjects",
        "  inbound   80/tcp",
        "  loopback  own",
        "  dns       taken over",
        "  subject   source 10.0.0.0/8 on lan0",
        "            p:11:9",
        "  subject   via eth0 of host",
        "            p:13:9",
    ]


def test_host_is_whoever_is_left_and_says_what_takeover_implies() -> None:
    found = list(role_lines(*role("host")))

    assert found[1:] == [
        "  inbound   all",
        "  loopback  all",
        "  dns       taken over",
        "  closed    encrypted-dns",
        "  subject   whoever is in no other role",
    ]


def test_a_role_without_subjects_says_how_anybody_gets_into_it() -> None:
    assert list(role_lines(*role("tools")))[-1] == (
        "  subject   none: only `dnsfw enroll` puts a process into it"
    )


def test_json_says_the_same() -> None:
    policy, web = role("web")

    assert role_json(policy, web) == {
        "name": "web",
        "id": int(web.role),
        "default": "deny",
        "mode": "audit",
        "inbound": "80/tcp",
        "loopback": "own",
        "takeover": True,
        "encrypted_dns": "rules",
        "allow_rules": 1,
        "deny_rules": 1,
        "subjects": [
            {
                "role": "web", "kind": "source", "value": "10.0.0.0/8", "interface": "lan0",
                "file": "p", "line": 11, "column": 9,
            },
            {
                "role": "web", "kind": "via", "value": "eth0", "of": "host",
                "file": "p", "line": 13, "column": 9,
            },
        ],
    }  # fmt: skip
