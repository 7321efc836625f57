"""A list in a policy: ports, places, warnings, addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text

TCP, UDP = 6, 17


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))


def policy(tmp_path: Path, rule: str, text: str, default: str = "allow") -> Policy:
    (tmp_path / "list.txt").write_text(text)
    rules = f"version: 1\ndefault: {default}\nrules:\n  - {rule}\n"
    return compile_text(rules, str(tmp_path / "policy.yaml"))


def verdict(made: Policy, name: str, port: int = 443, proto: int = TCP) -> Verdict:
    return made.host.judge(from_text(name)).share(proto, port).verdict


def test_a_path_is_seen_from_the_policys_directory(tmp_path: Path) -> None:
    made = policy(tmp_path, "deny: {list: list.txt}", "ads.example\n")

    assert verdict(made, "ads.example") is Verdict.DENY
    assert verdict(made, "x.ads.example") is Verdict.ALLOW


def test_ports_of_a_list_are_those_of_each_name(tmp_path: Path) -> None:
    rule = "allow: {list: list.txt, as: suffix, ports: 443/tcp}"
    made = policy(tmp_path, rule, "good.example\n", default="deny")

    assert verdict(made, "x.good.example") is Verdict.ALLOW
    assert verdict(made, "x.good.example", port=80) is Verdict.DENY
    assert verdict(made, "x.good.example", proto=UDP) is Verdict.DENY


def test_the_addresses_of_a_list_are_address_rules(tmp_path: Path) -> None:
    made = policy(tmp_path, "deny: {list: list.txt, format: cidr}", "192.0.2.0/24\n")

    decision = made.host.judge_addr(addr_from("192.0.2.9"), TCP, 80)

    assert decision is not None and decision.rule is not None
    assert decision.verdict is Verdict.DENY
    assert str(decision.rule.where).endswith("list.txt:1:1")
    assert {rule.rule for entry in made.plan().fixed for rule in entry.rules} == {
        made.host.rules[0].id
    }


def test_one_id_stands_for_a_list_however_long(tmp_path: Path) -> None:
    made = policy(tmp_path, "deny: {list: list.txt}", "a.example\nb.example\n")

    found = made.host.judge(from_text("b.example")).rule

    assert found is not None
    assert found.id == made.host.rules[0].id
    assert made.rule(found.id) is made.host.rules[0]


def test_lines_that_are_no_rules_are_warned_of_with_the_first(tmp_path: Path) -> None:
    made = policy(
        tmp_path, "deny: {list: list.txt, format: adblock}", "||a.example^\nb.example##.x\n"
    )

    (warning,) = made.warnings

    assert "1 line is no rule (1 a cosmetic filter), the first is line 2" in str(warning)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("deny: {list: gone.txt}", "gone.txt: No such file"),
        ("deny: {list: list.txt, format: hosts}", "no line of it is a rule of the format hosts"),
        ("deny: {list: list.txt, ports: x}", "'x' is no port"),
        ("deny: {list: list.txt, format: adblock, as: suffix}", "is for plain names"),
        ("deny: {list: list.txt, format: cidr, as: suffix}", "plain, wildcard"),
        ("deny: {format: hosts}", "name its file"),
        ("{deny: {list: list.txt}, private: true}", "'private' is for allow"),
    ],
)
def test_what_cannot_be_a_list_is_an_error_at_its_place(
    tmp_path: Path, rule: str, says: str
) -> None:
    with pytest.raises(PolicyError) as error:
        policy(tmp_path, rule, "a.example\n")

    assert says in str(error.value)
