"""Who holds how many addresses, rule by rule."""

from __future__ import annotations

from dnsfw.engine.places import Group, Place
from dnsfw.engine.rule_room import RuleRoom, caps_of
from dnsfw.engine.slots import Piece
from dnsfw.model import DEFAULT_RULE, HOST, Nanos, PortRange, PortSet, RoleId, RuleId, Verdict
from dnsfw.policy.compile import compile_text

PORTS = PortSet((PortRange(6, 443, 443),))
RULE = RuleId(7)


def place(*rules: RuleId, verdict: Verdict = Verdict.ALLOW) -> Place:
    return Place({Piece(rule, PORTS, verdict): Group(Nanos(9)) for rule in rules})


def test_an_address_counts_once_for_each_rule_that_opens_it() -> None:
    room, one = RuleRoom(2), place(RULE, RuleId(8))
    for _ in range(3):
        room.recount(HOST, one)

    assert (room.of(HOST, RULE), room.of(HOST, RuleId(8)), room.full(HOST, RULE)) == (1, 1, False)
    room.recount(HOST, place(RULE))
    assert room.full(HOST, RULE)
    assert not room.full(RoleId(16), RULE)
    one.groups.clear()
    room.recount(HOST, one)
    assert (room.of(HOST, RULE), room.of(HOST, RuleId(8))) == (1, 0)


def test_closings_and_the_default_have_no_cap() -> None:
    room = RuleRoom(1)
    room.recount(HOST, place(RULE, verdict=Verdict.DENY))
    room.recount(HOST, place(DEFAULT_RULE))

    assert not room.full(HOST, RULE) and not room.full(HOST, DEFAULT_RULE)


def test_a_rule_names_its_own_cap() -> None:
    policy = compile_text(
        "version: 1\ndefault: deny\nrules: [{allow: a.com, addresses: 5}, {allow: b.com}]"
    )

    assert caps_of(policy) == {(HOST, policy.host.rules[0].id): 5}


def test_what_would_be_too_many_is_not_taken_at_all() -> None:
    room = RuleRoom(3)

    assert room.take(HOST, RULE, 2) and not room.take(HOST, RULE, 2)
    assert room.of(HOST, RULE) == 2
    assert room.take(HOST, RULE, 1) and room.full(HOST, RULE)
    assert room.take(HOST, DEFAULT_RULE, 9), "what only the default opens has no cap"
