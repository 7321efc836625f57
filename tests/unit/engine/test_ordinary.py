"""The short way says what the long way says, or nothing."""

from __future__ import annotations

import pytest

from dnsfw.engine import ordinary as module
from dnsfw.engine.facts import Facts
from dnsfw.engine.filter import Ruling, Site, rule_on
from dnsfw.engine.ordinary import ordinary
from dnsfw.model import SECOND, Nanos, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.wire.message import AAAA, HTTPS, A, Rcode, Record
from dnsfw.wire.name import from_text

NAME = from_text("www.example.com")
OTHER = from_text("cdn.example.com")
BORN = Nanos(1_000 * SECOND)
SITE = Site(own=frozenset({addr_from("198.51.100.1")}))

POLICIES = {
    "one rule": "default: deny\nrules: [{allow: '*.example.com:443'}]",
    "everything": "default: allow\nrules: [{allow: other.net}]",
    "ports apart": "default: deny\nrules: [{allow: '*.example.com:443'}, "
    "{allow: 'www.example.com:80', ttl: {max: 30s}}]",
    "a port closed": "default: allow\nrules: [{deny: 'www.example.com:25'}]",
    "private": "default: deny\nrules: [{allow: '*.example.com', private: true}]",
    "an address rule": "default: deny\nrules: [{allow: '*.example.com'}, {deny: '192.0.2.0/28'}]",
    "audit": "default: deny\nmode: audit\nrules: [{allow: other.net}]",
    "denied": "default: deny\nrules: [{allow: other.net}]",
}
ANSWERS = {
    "one": (A, ["192.0.2.7"]),
    "some": (A, ["192.0.2.99", "203.0.113.9", "8.8.8.8"]),
    "v6": (AAAA, ["2001:db8::7", "2600::1"]),
    "private": (A, ["10.0.0.1"]),
    "half private": (A, ["192.0.2.99", "192.168.1.1"]),
    "loopback": (A, ["127.0.0.1"]),
    "own": (A, ["198.51.100.1"]),
    "translated": (AAAA, ["64:ff9b::c000:207"]),
    "mapped": (AAAA, ["::ffff:192.0.2.7"]),
    "tunnel": (AAAA, ["2002:c000:207::1"]),
}


def policy(text: str) -> RolePolicy:
    return compile_text(f"version: 1\n{text}\n").host


def facts(qtype: int, addrs: list[str], ttl: int = 300, chain: tuple[bytes, ...] = ()) -> Facts:
    packed = [addr_from(text) for text in addrs]
    rdata = [a if qtype == AAAA else a[12:] for a in packed]
    records = tuple(Record(NAME, qtype, 1, ttl, data) for data in rdata)
    names = (NAME, *chain)
    return Facts(NAME, qtype, Rcode.NOERROR, names, (), records, (), (), ttl, BORN, False)  # type: ignore[arg-type]


def said(found: Ruling | None) -> object:
    assert found is not None
    return found.judgement, found.ttl, found.records, found.wishes, found.passing, found.removed


@pytest.mark.parametrize("text", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("ttl", [0, 300, 90_000])
def test_it_rules_as_the_long_way_or_not_at_all(
    text: str, answer: tuple[int, list[str]], ttl: int
) -> None:
    rules, asked = policy(text), facts(*answer, ttl)
    for _ in range(2):  # the second time it is remembered
        short = ordinary(asked, rules, SITE)
        if short is not None:
            assert said(short) == said(rule_on(asked, rules, SITE))  # type: ignore[arg-type]


def test_what_is_ordinary_takes_the_short_way() -> None:
    rules = policy(POLICIES["one rule"])

    assert ordinary(facts(A, ["192.0.2.7"]), rules, SITE) is not None
    assert ordinary(facts(AAAA, ["2001:db8::7"]), rules, SITE) is not None


@pytest.mark.parametrize(
    "asked",
    [
        facts(A, []),
        facts(A, ["192.0.2.7"], chain=(OTHER,)),
        facts(A, [f"192.0.2.{n}" for n in range(130)]),
        facts(AAAA, ["2001:db8::7"])._replace(qtype=HTTPS),
    ],
    ids=["nothing", "an alias", "too many", "another type"],
)
def test_what_is_not_takes_the_long_way(asked: Facts) -> None:
    assert ordinary(asked, policy(POLICIES["one rule"]), SITE) is None


def test_a_rule_that_ends_by_itself_takes_the_long_way() -> None:
    rules = policy(POLICIES["one rule"])
    (rule,) = rules.rules
    from dataclasses import replace

    ending = rules.with_temporary((replace(rule, until=Nanos(BORN + SECOND)),), None)

    assert ordinary(facts(A, ["192.0.2.7"]), ending, SITE) is None


def test_the_memory_is_bounded_and_another_policys_meaning_is_not_believed() -> None:
    asked = facts(A, ["192.0.2.7"])
    for number in range(3):
        rules = policy(f"default: deny\nrules: [{{allow: '*.example.com:{number + 1}'}}]")
        found = ordinary(asked, rules, SITE)
        assert said(found) == said(rule_on(asked, rules, SITE))  # type: ignore[arg-type]

    assert len(module._KNOWN) <= module._MOST
