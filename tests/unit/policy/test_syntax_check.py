"""What does not fit the model: each way with its place and its remedy."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text

HEAD = "version: 1\ndefault: deny\n"


def errors(text: str) -> list[str]:
    with pytest.raises(PolicyError) as raised:
        compile_text(text, "p")
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "p:1:1: the file is empty; begin with 'version: 1'"),
        ("- x", "p:1:1: a policy is keys and values; begin with 'version: 1'"),
        ("hello", "p:1:1: a policy is keys and values; begin with 'version: 1'"),
        (
            "version: 1",
            "p:1:1: key 'default' is missing; write 'default: deny' or 'default: allow'",
        ),
        ("default: deny", "p:1:1: key 'version' is missing; write 'version: 1'"),
        ("version: 2\ndefault: deny", "p:1:10: 'version' is 1, not 2"),
        ("version: true\ndefault: deny", "p:1:10: 'version' is 1, not true"),
        ("version: '1'\ndefault: deny", "p:1:10: 'version' is 1, not '1'"),
        ("version: 1\ndefault: no", "p:2:10: 'default' is 'deny' or 'allow', not 'no'"),
        (
            "version: 1\ndefault: DENY",
            "p:2:10: 'default' is 'deny' or 'allow', not 'DENY'; did you mean 'deny'?",
        ),
        ("version: 1\ndefualt: deny", "p:2:1: unknown key 'defualt'; did you mean 'default'?"),
        (HEAD + "modus: audit", "p:3:1: unknown key 'modus'; did you mean 'mode'?"),
        (HEAD + "rule: [allow: x.com]", "p:3:1: unknown key 'rule'; did you mean 'rules'?"),
        (HEAD + "xyzzy: 1", "p:3:1: unknown key 'xyzzy'; known are version, default, mode,"),
        (HEAD + "rules: []", "p:3:8: 'rules' is an empty list; take the key out, or fill it"),
        (HEAD + "rules:", "p:3:7: nothing stands for 'rules'"),
        (HEAD + "rules: {}", "p:3:8: 'rules' is an empty mapping; take the key out, or fill it"),
        (HEAD + "rules: x.com", "p:3:8: 'rules' is not a list; begin with '- allow:'"),
        (HEAD + "rules: [x.com]", "p:3:9: a rule is keys and values, not 'x.com'"),
        (HEAD + "rules: [allow: []]", "p:3:16: 'allow' is an empty list; take"),
        (HEAD + "rules: [allow: ['']]", "p:3:17: the destination is empty; write a name"),
        (HEAD + "rules: [allow: 443]", "p:3:16: 'allow' is a list, not the number 443"),
        (
            HEAD + "rules: [allow: [x.com:22,443]]",
            "p:3:26: an entry of 'allow' is text, not the number 443; a comma splits",
        ),
        (HEAD + "rules: [permit: x.com]", "p:3:9: unknown key 'permit'; did you mean 'allow'?"),
        (HEAD + "rules: [block: x.com]", "p:3:9: unknown key 'block'; did you mean 'deny'?"),
        (
            HEAD + "rules: [{note: x}]",
            "p:3:9: a rule needs allow or deny; write '- allow: example.com:443'",
        ),
        (
            HEAD + "rules: [{allow: a.com, deny: b.com}]",
            "p:3:24: a rule says allow or deny, not both; make two rules",
        ),
        (
            HEAD + "rules: [{allow: a.com, private: yes}]",
            "p:3:33: 'private' is true or false, not 'yes'",
        ),
        (HEAD + "rules: [{allow: a.com, close: all}]", "p:3:31: 'close' is 'asked', not 'all'"),
        (HEAD + "dns: {upstream: x}", "p:3:7: unknown key 'upstream'; did you mean 'upstreams'?"),
        (HEAD + "dns: {refuse: nxdomian}", "did you mean 'nxdomain'?"),
        (HEAD + "dns: [x]", "p:3:6: 'dns' is keys and values, not a list"),
        (HEAD + "subjects: [{uid: 3}]", "p:3:1: whoever is in no role is 'host'"),
        (HEAD + "rules: [deny: {list: ads.txt}]", "ads.txt: No such file"),
    ],
)
def test_an_error_has_its_place_and_its_remedy(text: str, says: str) -> None:
    (error,) = errors(text)

    assert says in error


def test_all_errors_are_told_at_once() -> None:
    found = errors(
        "version: 1\n"
        "defalt: deny\n"
        "mode: audti\n"
        "rules:\n"
        "  - allow: a.*.x.com\n"
        "  - allow: '*x.com'\n"
        "    nte: x\n"
        "  - block: y.com\n"
        "  - allow: [10.0.0.1/8, x.com/6]\n"
        "  - {allow: z.com, ttl: {min: 5, grace: 1s}}\n"
        "dns:\n"
        "  listen: [nowhere]\n"
        "  upstreams: [nobody, tls://x]\n"
        "  refuse: maybe\n"
    )

    assert [error.split(":")[1] for error in found] == [
        "2", "3", "5", "6", "7", "8", "9", "9", "10", "10", "12", "13", "13", "14",
    ]  # fmt: skip


def test_a_bad_option_does_not_hide_a_bad_pattern_beside_it() -> None:
    found = errors(HEAD + "rules:\n  - {allow: '*x.com', private: maybe, colse: asked}")

    assert len(found) == 3


def test_error_texts_are_safe_for_a_terminal() -> None:
    for text in (
        HEAD + 'rules: [allow: "\\e[2Jx.com"]',
        HEAD + '"\\e[2J": 1',
        HEAD + 'mode: "\\u202e"',
    ):
        assert all(error.isprintable() for error in errors(text))
