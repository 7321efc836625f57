from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in compile_text(text, "p").warnings]


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        compile_text(text, "p")
    return str(raised.value)


def rules(default: str, *lines: str) -> str:
    return "\n".join(
        [f"version: 1\ndefault: {default}\nrules:", *(f"  - {line}" for line in lines)]
    )


@pytest.mark.parametrize(
    ("ttl", "says"),
    [
        ("{grace: 1s}", "p:3:14: grace is at least 2s; write 10s"),
        ("{min: 2h}", "p:3:12: min (7200s) is above max (3600s); set both"),
        ("{max: 1s}", "p:3:12: min (5s) is above max (1s); set both"),
        ("{min: 0s, max: 0s}", "max is at least 1s"),
        ("{max: 8d}", "p:3:12: max is longer than a week; write 7d at most"),
    ],
)
def test_a_ttl_that_cannot_be_is_an_error(ttl: str, says: str) -> None:
    assert says in error(f"version: 1\ndefault: deny\nttl: {ttl}")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{allow: 10.0.0.1, private: true}", "'private' says nothing about an address"),
        ("{allow: 10.0.0.1, ttl: {min: 1s}}", "'ttl' says nothing about an address"),
        ("{deny: 10.0.0.1, shared: deny}", "'shared' says nothing about an address"),
        ("{deny: x.com, private: true}", "'private' is for allow"),
        ("{deny: '*', broad: true}", "'broad' is for allow"),
        ("{allow: x.com, shared: deny}", "'shared' is for deny"),
        ("{allow: x.com, close: asked}", "'close' is for deny"),
        ("{deny: metadata, shared: deny}", "'shared' says nothing about metadata"),
        ("allow: metadata", "name the address: 'allow: 169.254.169.254'"),
    ],
)
def test_an_option_that_says_nothing_is_an_error(line: str, says: str) -> None:
    assert says in error(rules("allow", line))


@pytest.mark.parametrize(
    ("default", "line", "says"),
    [
        ("deny", "{deny: '*.x.com', close: asked}", "'close' changes nothing under default: deny"),
        ("deny", "{deny: x.com, shared: deny}", "'shared' changes nothing under default: deny"),
        ("allow", "{deny: x.com, close: asked}", "'close' changes nothing for an exact name"),
        ("deny", "deny: metadata", "'deny: metadata' changes nothing under default: deny"),
    ],
)
def test_an_option_that_changes_nothing_is_a_warning(default: str, line: str, says: str) -> None:
    (warning,) = warnings(rules(default, line))

    assert says in warning


@pytest.mark.parametrize(
    "pattern", ["*", "*.com", "*.co.uk", ".com", "+.com", "a*.com", "*.github.io"]
)
def test_row_91_a_broad_allow_must_say_so(pattern: str) -> None:
    assert "add 'broad: true'" in error(rules("deny", f'allow: "{pattern}"'))
    assert not warnings(rules("deny", f'{{allow: "{pattern}", broad: true}}'))
    compile_text(rules("allow", f'deny: "{pattern}"'))


def test_row_88_an_idn_is_shown_in_ascii() -> None:
    (warning,) = warnings(rules("deny", 'allow: "g\u0456thub.com"'))

    assert "is xn--gthub-n2e.com on the wire" in warning
    policy = compile_text(rules("deny", 'allow: "g\u0456thub.com"'))
    assert policy.host.rules[0].text == "allow xn--gthub-n2e.com"


def test_rules_of_a_role_have_ids_places_and_errors_of_their_own() -> None:
    text = """version: 1
default: allow
ttl: {grace: 20s}
rules: [allow: x.com]
roles:
  web:
    ttl: {min: 60s}
    rules:
      - allow: x.com
      - {deny: y.com, close: asked}
"""
    policy = compile_text(text, "p")
    (host,) = policy.host.rules
    first, second = policy.roles[policy.role_id("web")].rules

    assert (host.text, first.text) == ("allow x.com", "allow x.com")
    assert host.id != first.id, "an id is a hash of role and text"
    assert (first.where.line, first.role) == (9, policy.role_id("web"))
    assert (first.ttl.min, first.ttl.grace, host.ttl.min) == (60, 20, 5)
    assert second.verdict.name == "DENY"
    assert [str(w).split(": ", 1)[1] for w in policy.warnings] == [
        "'close' changes nothing for an exact name: it is closed",
        "'close' changes nothing under default: deny",
    ]


def test_a_word_for_a_list_is_for_deny_alone() -> None:
    assert "'encrypted-dns' is a word for deny only; name the resolver" in error(
        rules("allow", "allow: encrypted-dns")
    )
    assert "'ttl' says nothing about encrypted-dns" in error(
        rules("allow", "{deny: encrypted-dns, ttl: {min: 5s}}")
    )


def test_the_same_pattern_allowed_in_one_role_and_denied_in_another_is_no_conflict() -> None:
    compile_text(
        "version: 1\ndefault: deny\nrules: [allow: x.com]\nroles: {web: {rules: [deny: x.com]}}"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{allow: '*.x.com', keep: true}", "'keep' is for exact names"),
        ("{deny: x.com, keep: true}", "'keep' is for allow"),
        ("{allow: 192.0.2.1, addresses: 5}", "'addresses' says nothing about an address"),
        ("{allow: x.com, addresses: 0}", "addresses"),
    ],
)
def test_keep_and_addresses_where_they_mean_nothing_are_mistakes(line: str, says: str) -> None:
    assert says in error(rules("deny", line))
