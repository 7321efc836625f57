"""The words for what does not fit the model: tests/prop/test_policy_mistakes.py has every key."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text

HEAD = "version: 1\ndefault: deny\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("guard: {names: 0}", "p:3:16: 'names' is 1 to 10000, not 0"),
        ("revision: -1", "p:3:11: 'revision' is at least 0, not -1"),
        ("revision: '3'", "'revision' is a whole number, not '3'; write it without quotes"),
        ("resolved_only: yes", "'resolved_only' is true or false, not 'yes'; write true"),
        ("dns: {takeover: off}", "not 'off'; write false"),
        ("dns: {kernel_answers: false}", "'on' or 'off', not false; write off"),
        ("dns: {listen: 127.0.0.1:53}", "is a list, not '127.0.0.1:53'; write 'listen: [127.0.0"),
        ("dns: 9.9.9.9", "write 'dns: {upstreams: [system]}'"),
        ("dns: {upstreams: [5]}", "is text, or keys and values, not the number 5; write '9.9.9.9'"),
        ("roles: {web: deny}", "write 'web: {default: deny}'"),
        ("rules: [x.com]", "a rule is keys and values, not 'x.com'; begin with '- allow:'"),
        (f"rules: [{{allow: x.com, note: {'n' * 201}}}]", "at most 200 characters; shorten it"),
        ("rules: [{deny: {list: ads.txt, kind: hosts}}]", "known are refresh, sha256, key, ca,"),
        ("ruels: []", "p:3:1: unknown key 'ruels'; did you mean 'rules'?"),
        ("dns: {upstream: }", "p:3:7: unknown key 'upstream'; did you mean 'upstreams'?"),
        ("ttl: {max: -5}", "-5 is no duration; write 30s, 5m or 1h"),
        ("dns: {upstreams: [{server: }]}", "p:3:28: nothing stands for 'server'; take the key out"),
    ],
)
def test_the_words_name_the_value_and_what_it_may_be(text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        compile_text(f"{HEAD}{text}\n", "p")

    assert says in str(caught.value)


def test_a_key_is_known_as_it_is_written() -> None:
    """`as`, whose field has another name."""
    with pytest.raises(PolicyError, match="format, as, ports"):
        compile_text(HEAD + "rules: [{deny: {list: a.txt, wxyz: 1}}]\n", "p")
