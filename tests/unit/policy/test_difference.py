from __future__ import annotations

from dnsfw.policy.compile import compile_text
from dnsfw.policy.difference import diff


def lines(old: str, new: str) -> list[str]:
    return diff(compile_text("version: 1\n" + old), compile_text("version: 1\n" + new))


def test_the_same_policy_differs_in_nothing() -> None:
    text = "default: deny\nrules: [allow: x.com]"

    assert lines(text, text) == []
    assert lines(text, "default: deny\nrules: [{allow: [X.com.]}]") == []


def test_rules_come_and_go() -> None:
    found = lines("default: deny\nrules: [allow: a.com]", "default: deny\nrules: [deny: a.com]")

    assert found == ["- allow a.com", "+ deny a.com"]


def test_options_of_a_rule_change() -> None:
    found = lines(
        "default: deny\nrules: [allow: a.com]",
        "default: deny\nrules: [{allow: a.com, private: true, keep: true, ttl: {grace: 60s}}]",
    )

    assert found == ["~ allow a.com (private, keep, ttl.grace 10s -> 60s)"]


def test_settings_change() -> None:
    found = lines(
        "default: deny",
        "default: allow\nmode: audit\ndns: {refuse: zero, upstreams: [9.9.9.9]}",
    )

    assert found == [
        "~ default: deny -> allow",
        "~ mode: enforce -> audit",
        "~ deny metadata: true -> false",
        "~ qtypes: normal -> all",
        "~ guard: log -> off",
        "~ dns.upstreams: system -> 9.9.9.9:53",
        "~ dns.refuse: nxdomain -> zero",
    ]


ROLES = (
    "default: deny\nroles: {web: {rules: [allow: a.com], subjects: [uid: 1]}, db: {default: deny}}"
)


def test_roles_come_and_go_with_what_is_in_them() -> None:
    assert lines("default: deny", ROLES) == [
        "+ role web: default deny, mode enforce",
        "+ web: subject uid 1",
        "+ web: allow a.com",
        "+ role db: default deny, mode enforce",
    ]
    assert lines(ROLES, "default: deny") == ["- role web", "- role db"]


def test_what_changes_in_a_role_begins_with_its_name() -> None:
    other = """default: deny
roles:
  db: {default: deny}
  web:
    default: allow
    mode: audit
    inbound: [80]
    loopback: own
    rules: [deny: encrypted-dns, allow: b.com]
    subjects: [{via: eth0, role: db}, {source: 10.0.0.0/8, interface: lan0}]
"""

    assert lines(ROLES, other) == [
        "~ web: default: deny -> allow",
        "~ web: mode: enforce -> audit",
        "~ web: inbound: tcp -> 80/tcp+udp",
        "~ web: loopback: all -> own",
        "~ web: deny metadata: true -> false",
        "~ web: deny encrypted-dns: false -> true",
        "~ web: qtypes: normal -> all",
        "~ web: guard: log -> off",
        "- web: subject uid 1",
        "+ web: subject via eth0 of db",
        "+ web: subject source 10.0.0.0/8 on lan0",
        "- web: allow a.com",
        "+ web: allow b.com",
    ]


def test_the_order_of_roles_and_their_ids_are_no_difference() -> None:
    one = compile_text("version: 1\n" + ROLES)
    two = compile_text(
        "version: 1\ndefault: deny\n"
        "roles: {db: {default: deny}, web: {subjects: [uid: '1'], rules: [allow: a.com]}}",
        known={"web": 200, "db": 201},
    )

    assert diff(one, two) == []


def test_access_of_host_and_takeover_are_settings() -> None:
    found = lines("default: deny", "default: deny\ninbound: deny\ndns: {takeover: true}")

    assert found == ["~ inbound: all -> deny", "~ dns.takeover: false -> true"]


def test_a_setting_that_came_or_went_has_a_word_for_nothing() -> None:
    without, with_it = "default: deny", "default: deny\ndns: {nat64_prefix: ['64:ff9b::/96']}"

    assert lines(without, with_it) == ["~ dns.nat64_prefix: none -> 64:ff9b::/96"]
    assert lines(with_it, without) == ["~ dns.nat64_prefix: 64:ff9b::/96 -> none"]
