"""Port rules of the old JSON of roles: which of them wins, and which mean nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dnsfw.policy.importers.outcome import Finding, Section
from dnsfw.policy.importers.role_ports import DIRECTIONS, Ports, open_ports, read_rules
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.problems import Problems


def tcp(port: int, allow: bool = True, **more: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "port": port, "allow": allow, **more}


def read(flag: bool, *rules: dict[str, Any]) -> tuple[dict[str, Ports], str]:
    """The ports of each direction, and what was wrong."""
    ports, problems, _ = _read(flag, *rules)
    return ports, "\n".join(map(str, problems.errors))


def said(flag: bool, *rules: dict[str, Any]) -> list[str]:
    return [found.became for found in _read(flag, *rules)[2]]


def _read(flag: bool, *rules: dict[str, Any]) -> tuple[dict[str, Ports], Problems, list[Finding]]:
    problems, findings = Problems(), list[Finding]()
    document = read_json(json.dumps({"rules": rules}), "f", problems)
    assert document is not None
    ports = {word: Ports() for word in DIRECTIONS}
    read_rules(Section(document, (), problems, findings).sections("rules"), ports, flag)
    return ports, problems, findings


@pytest.mark.parametrize(
    ("rules", "port", "open_"),
    [
        ([tcp(0, False)], 443, False),
        ([tcp(0, False), tcp(443)], 443, True),
        ([tcp(443), tcp(0, False)], 443, True),
        ([tcp(443), tcp(0, False)], 444, False),
        ([tcp(443, False), tcp(0)], 443, False),
        ([tcp(443, direction="bind"), tcp(0, False)], 443, False),
        ([tcp(443, direction="connect"), tcp(0, False)], 443, True),
        ([{"protocol": "tcp", "port_start": 8000, "port_end": 8100, "allow": True}, tcp(0, False)],
         8100, True),
        ([{"protocol": "tcp", "allow": False}], 443, False),
        ([{"protocol": "UDP", "port": 0, "allow": False}], 443, True),
        ([], 443, True),
    ],
)  # fmt: skip
def test_a_specific_port_beats_any_and_any_beats_the_flag(
    rules: list[dict[str, Any]], port: int, open_: bool
) -> None:
    ports, _ = read(True, *rules)

    assert open_ports(ports["connect"], True).covers(6, port) is open_


def test_a_rule_says_when_it_changes_nothing_and_later_rules_count() -> None:
    alone = said(True, tcp(443))
    with_any = said(True, tcp(443), tcp(0, False))

    assert alone == ["allow 443/tcp for connect and bind; changes nothing: allow_network is true"]
    assert with_any[0] == "allow 443/tcp for connect and bind"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([tcp(443), tcp(443, False)], "443/tcp is allowed and denied; take one out"),
        ([{"protocol": "tcp", "port_start": 400, "port_end": 500, "allow": False}, tcp(443)],
         "443/tcp is allowed and denied"),
        ([tcp(0), tcp(0, False)], "port 0 of tcp is allowed and denied"),
        ([{"protocol": "tcp", "port": 443}], "a rule without 'allow'"),
        ([{"port": 443, "allow": True}], "a rule without 'protocol'"),
        ([tcp(70000)], "are no ports"),
        ([{"protocol": "tcp", "port_start": 9, "allow": True}], "stand together"),
        ([{"protocol": "tcp", "port_start": 9, "port_end": 8, "allow": True}], "no ports"),
        ([tcp(443, direction="sideways")], "no direction"),
        ([tcp(443, port_start=1, port_end=2)], "a port and a range"),
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_an_error(rules: list[dict[str, Any]], says: str) -> None:
    _, told = read(False, *rules)

    assert says in told
