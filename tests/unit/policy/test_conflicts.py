from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text


def text(*rules: str, default: str = "deny") -> str:
    lines = [f"version: 1\ndefault: {default}\nrules:"]
    for rule in rules:
        verdict, _, what = rule.partition(" ")
        lines.append(f'  - {verdict}: "{what}"')
    return "\n".join(lines)


def shadowed(*rules: str) -> list[int]:
    """The lines (1 is the first rule) that `check` calls shadowed."""
    warnings = compile_text(text(*rules), "p").warnings
    return [w.where.line - 3 for w in warnings if "never decides" in w.message]


@pytest.mark.parametrize(
    "pair",
    [
        ("allow x.com", "deny x.com"),
        ("allow x.com:443", "deny x.com"),
        ("deny .x.com", "allow .X.com."),
        ("allow x.com:80-90/tcp", "deny x.com:85"),
        ("allow 10.0.0.0/8", "deny 10.0.0.0/8:443"),
        ("allow a*.x.com", "deny a*.x.com"),
    ],
)
def test_the_same_pattern_in_allow_and_deny_is_an_error(pair: tuple[str, str]) -> None:
    with pytest.raises(PolicyError) as raised:
        compile_text(text(*pair), "p")

    (error,) = str(raised.value).splitlines()
    assert error.startswith("p:5:")
    assert "contradicts" in error
    assert "in line 4" in error


@pytest.mark.parametrize(
    "pair",
    [
        ("allow x.com:443", "deny x.com:80"),
        ("allow x.com/tcp", "deny x.com/udp"),
        ("allow x.com", "deny *.x.com"),
        ("allow .x.com", "deny *.x.com"),
        ("allow 10.0.0.0/8", "deny 10.0.0.0/9"),
        ("allow x.com", "deny x.com/sctp"),
    ],
)
def test_different_patterns_or_ports_do_not_contradict(pair: tuple[str, str]) -> None:
    compile_text(text(*pair))


@pytest.mark.parametrize(
    ("rules", "lines"),
    [
        (("allow x.com", "allow x.com"), [2]),
        (("allow x.com:443", "allow x.com"), []),
        (("allow x.com", "allow x.com:443"), [2]),
        (("allow x.com:80", "allow x.com:443", "allow x.com:80,443"), [3]),
        (("allow *.x.com", "deny .x.com"), [1]),
        (("allow .x.com", "deny *.x.com"), []),
        (("allow .x.com", "deny *.x.com", "allow x.com"), [1]),
        (("allow .x.com:443", "deny *.x.com", "allow x.com:80"), []),
        (("allow .x.com", "allow *.x.com"), [2]),
        (("allow *.x.com", "allow .x.com"), []),
        (("allow +.x.com", "allow *.x.com"), []),
        (("allow *.x.com", "allow a.x.com"), []),
        (("allow a*.x.com", "allow a*.x.com:443"), [2]),
        (("allow 10.0.0.0/8", "allow 10.0.0.0/8:443"), [2]),
        (("allow 10.0.0.0/8", "deny 10.0.0.0/9", "deny 10.128.0.0/9"), [1]),
        (("allow 10.0.0.0/8", "deny 10.0.0.0/9", "deny 10.128.0.0/10"), []),
        (("allow 10.0.0.0/8", "deny 10.0.0.0/9", "deny 10.128.0.0/9:80"), []),
        (("allow [2001:db8::]/32", "deny [2001:db8::]/33", "deny [2001:db8:8000::]/33"), [1]),
    ],
)
def test_a_rule_that_can_never_decide_is_a_warning(
    rules: tuple[str, ...], lines: list[int]
) -> None:
    assert shadowed(*rules) == lines


def test_the_warning_names_the_rule_that_wins_and_its_line() -> None:
    (warning,) = compile_text(text("allow .x.com", "allow *.x.com"), "p").warnings

    assert str(warning) == "p:5:12: 'allow *.x.com' never decides: 'allow .x.com' (line 4) wins"


@pytest.mark.parametrize("what", ["0.0.0.0/0", "[::]/0", "0.0.0.0/0:*"])
def test_a_deny_of_every_address_is_a_warning(what: str) -> None:
    (warning,) = compile_text(text(f"deny {what}", default="allow")).warnings

    assert "those of allowed names too" in str(warning)


def test_a_deny_of_one_port_everywhere_is_none() -> None:
    assert not compile_text(text("deny 0.0.0.0/0:25/tcp", default="allow")).warnings


@pytest.mark.parametrize(("default", "says"), [("deny", "not needed"), ("allow", "default: deny")])
def test_a_deny_of_every_name_is_a_warning(default: str, says: str) -> None:
    (warning,) = compile_text(text("deny *", default=default)).warnings

    assert says in str(warning)
