"""From the answer of a closing look-up to the entries that close."""

from __future__ import annotations

from dnsfw.engine.closer import Closer
from dnsfw.engine.closing import Closing
from dnsfw.engine.effects import Ask, Close, Note
from dnsfw.engine.facts import Facts
from dnsfw.engine.filter import Site, claims_of
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.lookups import Lookups
from dnsfw.model import HOST, SECOND, Nanos, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text
from tests.support.fakes import FixedRng
from tests.support.play import rr

NOW = Nanos(1000 * SECOND)
ADS = from_text("ads.net")
ITEM = Closing(HOST, ADS, 1)


def policy(rule: str = "deny: ads.net") -> Policy:
    return compile_text(f"version: 1\ndefault: allow\nrules:\n  - {rule}\n")


def facts(*addrs: str, ttl: int = 60) -> Facts:
    records = tuple(rr("ads.net", "A", addr, ttl) for addr in addrs)
    return Facts(ADS, 1, 0, (ADS,), (), records, (), (), ttl, NOW, False)


def begun(rules: Policy) -> tuple[Closer, Ledger]:
    ledger, limits = Ledger(Limits()), Limits()
    closer = Closer(ledger, Lookups(1, FixedRng(), limits), limits)
    assert closer.load(rules, NOW) == []
    asks = closer.start(rules, NOW)
    assert [type(e) for e in asks] == [Ask] * len(asks)
    return closer, ledger


def test_the_addresses_of_a_denied_name_are_closed_for_ttl_and_grace() -> None:
    closer, ledger = begun(policy())

    effects, shut = closer.done(ITEM, facts("192.0.2.1"), policy(), Site(), NOW)

    assert [type(e) for e in effects] == [Close] and not shut
    (grant,) = ledger.written(HOST, addr_from("192.0.2.1"))
    assert grant.verdict is Verdict.DENY and grant.until == NOW + 70 * SECOND


def test_the_grace_of_one_grant_covers_the_next_look_up() -> None:
    """No moment between two grants in which the address is open."""
    closer, ledger = begun(policy())
    closer.done(ITEM, facts("192.0.2.1", ttl=0), policy(), Site(), NOW)

    due = closer.next_due()
    (grant,) = ledger.written(HOST, addr_from("192.0.2.1"))

    assert due is not None and due <= grant.until - 2 * SECOND
    assert due >= NOW + 5 * SECOND  # the rule's floor: TTL 0 must not make us a flood


def test_only_ordinary_addresses_are_closed() -> None:
    closer, ledger = begun(policy())
    own = Site(own=frozenset({addr_from("198.51.100.1")}))

    found = facts("127.0.0.1", "10.0.0.1", "198.51.100.1")
    effects, _ = closer.done(ITEM, found, policy(), own, NOW)

    assert effects == [] and len(ledger) == 0


def test_a_name_that_the_policy_allows_by_now_closes_nothing() -> None:
    closer, ledger = begun(policy())

    effects, _ = closer.done(ITEM, facts("192.0.2.1"), policy("deny: x.net"), Site(), NOW)

    assert effects == [] and len(ledger) == 0


def test_shared_deny_says_that_it_took_something_away() -> None:
    strict = policy("{deny: ads.net, shared: deny}")
    closer, ledger = begun(strict)
    good = from_text("good.net")
    claims = claims_of(strict.host.judge(good).shares, strict.host, 60, NOW)
    ledger.hold(HOST, good, [addr_from("192.0.2.1")], claims, NOW)

    effects, shut = closer.done(ITEM, facts("192.0.2.1"), strict, Site(), NOW)

    assert shut and any(isinstance(e, Note) and e.kind == "shared" for e in effects)


def test_names_over_the_limit_are_told() -> None:
    rules = compile_text("version: 1\ndefault: allow\nrules:\n  - deny: a.net\n  - deny: b.net\n")
    limits = Limits(closings=1)
    closer = Closer(Ledger(limits), Lookups(1, FixedRng(), limits), limits)

    (note,) = closer.load(rules, NOW)

    assert isinstance(note, Note) and "1 denied names" in note.text


def test_nothing_starts_where_no_upstream_is() -> None:
    limits = Limits()
    closer = Closer(Ledger(limits), Lookups(0, FixedRng(), limits), limits)
    closer.load(policy(), NOW)

    assert closer.start(policy(), NOW) == []
    assert closer.next_due() == NOW + 5 * SECOND
