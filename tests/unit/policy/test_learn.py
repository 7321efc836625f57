"""The smallest policy from what was observed; what was planted shows who asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dnsfw.errors import ConfigError
from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.learn import learn, read_rows, render
from dnsfw.policy.policy import RolePolicy
from dnsfw.wire.name import from_text

TCP, UDP, ICMP = 6, 17, 1


def row(what: str, port: int = 443, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    named = not what[0].isdigit() and ":" not in what
    made = {
        "role": "host", "verdict": "allow", "name": what if named else "",
        "addresses": ["203.0.113.5"] if named else [what], "port": port, "protocol": protocol,
        "reason": "never-resolved", "rule": "", "count": 1, "first": 100, "last": 100,
        "pid": 7, "command": "curl",
    }  # fmt: skip
    return {**made, **more}


def asked(name: str, **more: Any) -> dict[str, Any]:
    """A name that was asked for, and nothing else."""
    return row(name, 0, "", **{"reason": "name-default", "addresses": [], **more})


def text_of(*rows: dict[str, Any], siblings: int = 10) -> str:
    return render(learn(rows, siblings), lambda at: f"t{at}", "a test")


def policy_of(*rows: dict[str, Any]) -> RolePolicy:
    return compile_text(text_of(*rows)).host


def rules_of(*rows: dict[str, Any]) -> list[str]:
    return [rule.text for rule in policy_of(*rows).rules]


def test_a_name_becomes_one_exact_rule_with_the_ports_that_were_used() -> None:
    rows = [row("www.example.com"), row("www.example.com", 80), row("www.example.com", 443)]

    assert rules_of(*rows) == ["allow www.example.com:80,443/tcp"]


def test_tcp_and_udp_on_the_same_ports_are_one_rule_else_two() -> None:
    both = [row("a.example.com"), row("a.example.com", protocol="udp")]
    apart = [row("a.example.com"), row("a.example.com", 53, "udp")]

    assert rules_of(*both) == ["allow a.example.com:443"]
    assert rules_of(*apart) == ["allow a.example.com:443/tcp", "allow a.example.com:53/udp"]


def test_the_learned_policy_allows_what_was_seen_and_nothing_beside_it() -> None:
    role = policy_of(row("www.example.com"), row("203.0.113.77", 22))

    seen = role.judge(from_text("www.example.com"))
    assert role.default is Verdict.DENY
    assert seen.share(TCP, 443).verdict is Verdict.ALLOW
    assert seen.share(TCP, 80).verdict is Verdict.DENY
    assert not role.judge(from_text("example.com")).answered
    decision = role.judge_addr(addr_from("203.0.113.77"), TCP, 22)
    assert decision is not None
    assert decision.verdict is Verdict.ALLOW


def test_addresses_that_no_name_led_to_are_rules_that_say_so() -> None:
    text = text_of(row("203.0.113.77"), row("2001:db8::7", 0, "icmp"))

    assert '- allow: "[2001:db8::7]/icmp"' in text
    assert text.count("by its address: no name led to it") == 2
    assert compile_text(text).host.rules


def test_a_comment_says_when_how_often_and_by_whom() -> None:
    rows = [row("a.example.com", count=3), row("a.example.com", command="pip", last=160)]

    assert "# 4 times by curl, pip, t100 to t160" in text_of(*rows)


def test_where_no_command_is_known_a_comment_says_what_is() -> None:
    unit = asked("a.example.com", command="", asker="127.0.0.1 by udp, uid 7, /x.service")

    assert ": once by 127.0.0.1 by udp, uid 7, /x.service, t100" in text_of(unit)
    assert ": once by unknown, t100" in text_of(asked("a.example.com", command=""))
    both = [unit, asked("a.example.com", command="curl")]
    assert ": 2 times by curl, t100" in text_of(*both)


def test_a_name_refused_before_a_port_was_known_is_open_on_any_and_says_so() -> None:
    text = text_of(asked("www.example.com", verdict="deny"))

    assert "any port: it was refused before one was known" in text
    assert rules_of(asked("www.example.com", verdict="deny")) == ["allow www.example.com"]


def test_a_private_answer_needs_private_and_says_which() -> None:
    text = text_of(row("db.example.com", 5432, addresses=["10.0.0.5"]))

    assert "private: true  # it answered 10.0.0.5" in text
    assert compile_text(text).host.rules[0].private


def test_what_a_rule_refused_on_purpose_is_told_and_not_undone() -> None:
    text = text_of(
        row("evil.example.com", reason="closed"),
        row("169.254.169.254", 80, reason="builtin"),
        row("127.0.0.53", 0, "", name="local.example.com", reason="filtered"),
    )

    assert compile_text(text).host.rules == ()
    assert "#   169.254.169.254:80/tcp: builtin; once by curl" in text
    assert "#   local.example.com: filtered" in text


def test_wildcards_are_proposed_past_a_number_of_siblings_and_stay_comments() -> None:
    few = [row(f"n{number}.example.com") for number in range(9)]
    many = [*few, row("n9.example.com")]

    assert "Proposals" not in text_of(*few)
    assert '#  - allow: "+.example.com:443/tcp"  # instead of 10 names above' in text_of(*many)
    assert all(rule.startswith("allow n") for rule in rules_of(*many))
    assert "+.example.com" in text_of(*few, siblings=9)


@pytest.mark.parametrize("parent", ["co.uk", "com", "github.io", "nosuchtopname"])
def test_no_wildcard_is_proposed_at_or_above_a_public_suffix(parent: str) -> None:
    text = text_of(*(row(f"n{number}.{parent}") for number in range(50)))

    assert "Proposals" not in text
    assert len(compile_text(text).host.rules) == 50


def test_row_139_a_planted_name_shows_who_asked_and_opens_no_wildcard() -> None:
    honest = [row("pypi.org", command="pip")]
    planted = [row(f"x{n}.evil.example", command="evil", count=99) for n in range(30)]
    mere = [asked(f"y{n}.evil.example", command="evil") for n in range(30)]

    text = text_of(*honest, *planted, *mere)

    rules = compile_text(text).host.rules
    assert not any("*" in rule.text or "+" in rule.text for rule in rules)
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  - allow: x"):
            assert "by evil" in lines[number - 1]
    assert not any(rule.text.startswith("allow y") for rule in rules)
    assert "#   y0.evil.example: once by evil" in text


@pytest.mark.parametrize(
    "text",
    ["www.example.com\n  - allow: .evil.example", "x # y", '"', "a\\010b.example.com", "*", "no"],
)
def test_row_134_no_name_or_command_writes_a_line_of_the_policy(text: str) -> None:
    rows = [row("x", name=text), row("ok.example.com", command=text), row("o.example.com")]

    made = text_of(*rows)

    rules = [rule.text for rule in compile_text(made).host.rules]
    wanted = {"allow ok.example.com:443/tcp", "allow o.example.com:443/tcp", "allow no:443/tcp"}
    assert set(rules) <= wanted
    assert made.isprintable() or all(line.isprintable() for line in made.splitlines())


def test_many_ports_are_split_where_one_rule_cannot_hold_them() -> None:
    rows = [row("a.example.com", port) for port in range(1000, 1080, 2)]

    made = policy_of(*rows)
    assert len(made.rules) == 3
    seen = made.judge(from_text("a.example.com"))
    assert seen.share(TCP, 1000).rule
    assert seen.share(TCP, 1078).rule


def test_a_report_is_read_as_json_and_as_yaml() -> None:
    rows = [row("www.example.com")]

    assert read_rows(json.dumps({"observed": rows}), "r.json") == rows
    assert read_rows("observed:\n  - {name: a, port: 1}\n", "r.yaml") == [{"name": "a", "port": 1}]


@pytest.mark.parametrize("text", ["", "[]", "{}", "observed: 3", "observed: [3]", "{", "a: [1"])
def test_a_file_that_is_no_report_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^r\.json"):
        read_rows(text, "r.json")


@pytest.mark.parametrize(
    "damage",
    [{"name": 3}, {"port": "443"}, {"port": 70000}, {"addresses": ["x"]}, {"addresses": "x"},
     {"count": True}, {"count": None}],
)  # fmt: skip
def test_a_damaged_row_is_a_mistake(damage: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="damaged"):
        learn([{**row("www.example.com"), **damage}])


def test_a_udp_socket_that_was_only_connected_is_not_worth_a_rule_beside_tcp() -> None:
    tcp, udp = row("pypi.org"), row("pypi.org", protocol="udp", sent=False)
    quic = row("pypi.org", protocol="udp", sent=True)

    assert rules_of(tcp, udp) == rules_of(udp, tcp) == ["allow pypi.org:443/tcp"]
    assert rules_of(tcp, udp, quic) == ["allow pypi.org:443"]
    assert rules_of(udp) == ["allow pypi.org:443/udp"], "all that is known of it"
    assert rules_of(row("pypi.org", 80), udp) == ["allow pypi.org:80/tcp", "allow pypi.org:443/udp"]
