"""What names below one domain say, counted (rows 63 and 105)."""

from __future__ import annotations

from hashlib import sha256

import pytest

from dnsfw.engine import guard as guard_module
from dnsfw.engine.guard import Guards, Sign, Told, domain_of
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, SECOND, Nanos, RoleId
from dnsfw.policy.questions import Action, Guard
from dnsfw.wire.codes import NXNAME, TXT, A, Rcode
from dnsfw.wire.name import from_text

START = Nanos(1_000 * SECOND)
REFUSE = Guard(Action.REFUSE, names=10, window=60, rate=1000)


def at(seconds: float) -> Nanos:
    return Nanos(START + round(seconds * SECOND))


class Bench:
    """One table of guards, asked in turn."""

    def __init__(self, guard: Guard, limits: Limits | None = None) -> None:
        self.guard = guard
        self.guards = Guards(limits or Limits())

    def ask(
        self, name: str, seconds: float = 0, qtype: int = A, role: RoleId = HOST
    ) -> Told | None:
        return self.guards.asks(role, self.guard, from_text(name), qtype, at(seconds))

    def passes(self, name: str, seconds: float = 0, qtype: int = A) -> bool:
        told = self.ask(name, seconds, qtype)
        return told is None or not told.held


def test_row_63_new_names_beyond_the_number_are_held_and_known_ones_are_not() -> None:
    bench = Bench(REFUSE)

    assert all(bench.passes(f"n{i}.x.com") for i in range(10))
    told = bench.ask("n10.x.com")

    assert told is not None
    assert (told.sign, told.held, told.first) == (Sign.NAMES, True, True)
    assert told.text == "more than 10 new names in 60s below x.com"
    assert bench.passes("n3.x.com", qtype=28)  # in use: it goes on
    assert bench.passes("n0.y.com")  # somebody else's


def test_row_63_a_window_later_new_names_pass_again() -> None:
    bench = Bench(REFUSE)
    for i in range(20):
        bench.ask(f"n{i}.x.com")

    assert not bench.passes("late.x.com", 59)
    assert bench.passes("late.x.com", 61)


def test_row_63_throttled_one_in_a_while_passes() -> None:
    bench = Bench(Guard(Action.THROTTLE, names=10, window=60, rate=1000))
    for i in range(10):
        assert bench.passes(f"n{i}.x.com")

    passed = [s for s in range(1, 50) if bench.passes(f"late{s}.x.com", s)]

    assert len(passed) == 9  # one every six seconds, the first at once
    assert passed[:2] == [1, 7]


def test_row_63_logged_all_pass_and_it_is_told_once_a_window() -> None:
    bench = Bench(Guard(Action.LOG, names=10, window=60, rate=1000))

    told = [bench.ask(f"n{i}.x.com", i / 10) for i in range(200)]

    assert not any(one.held for one in told if one)
    assert sum(one.first for one in told if one) == 1
    assert bench.guards.held == 0
    assert bench.guards.signs == 190


def test_row_63_a_long_label_is_a_sign_at_once() -> None:
    bench = Bench(REFUSE)
    data = sha256(b"secret").hexdigest()[:60]

    told = bench.ask(f"{data}.x.com")

    assert told is not None
    assert (told.sign, told.held) == (Sign.LABEL, True)
    assert bench.passes(f"{data[:52]}.x.com")
    assert bench.passes(f"{'a' * 60}.com")  # the domain's own label says nothing


def test_row_63_names_that_do_not_exist_are_a_sign_when_there_are_many() -> None:
    bench = Bench(Guard(Action.REFUSE, names=1000, window=60, rate=1000))
    for i in range(29):
        assert bench.passes(f"n{i}.x.com")
        bench.guards.answered(HOST, bench.guard, from_text(f"n{i}.x.com"), Rcode.NXDOMAIN)
    assert bench.passes("few.x.com")
    bench.guards.answered(HOST, bench.guard, from_text("few.x.com"), Rcode.NXDOMAIN)

    told = bench.ask("one.more.x.com")

    assert told is not None
    assert told.sign is Sign.NXDOMAIN


def test_row_63_names_that_exist_are_none() -> None:
    bench = Bench(Guard(Action.REFUSE, names=1000, window=60, rate=1000))
    for i in range(100):
        assert bench.passes(f"n{i}.x.com")
        rcode = Rcode.NXDOMAIN if i % 3 == 0 else Rcode.NOERROR
        bench.guards.answered(HOST, bench.guard, from_text(f"n{i}.x.com"), rcode)


def test_row_63_text_and_odd_types_are_a_sign_when_most_are() -> None:
    bench = Bench(Guard(Action.REFUSE, names=1000, window=60, rate=1000))
    for i in range(30):
        assert bench.passes(f"n{i}.x.com", qtype=(TXT, 10, 65_280)[i % 3])

    told = bench.ask("n30.x.com", qtype=TXT)

    assert told is not None
    assert told.sign is Sign.TYPES
    assert bench.passes("n31.x.com", qtype=A)


def test_row_105_more_than_the_rate_does_not_go_upstream_known_names_or_not() -> None:
    bench = Bench(Guard(Action.REFUSE, names=10_000, rate=50))

    passed = sum(bench.passes(f"n{i % 7}.x.com", i / 1000) for i in range(1000))

    assert passed == pytest.approx(150, abs=2)  # two seconds' worth at once, then the rate


def test_row_63_roles_and_guards_count_apart() -> None:
    bench = Bench(REFUSE)
    for i in range(11):
        bench.ask(f"n{i}.x.com")

    assert bench.ask("n0.x.com", role=RoleId(17)) is None
    assert not bench.passes("n11.x.com")


def test_row_63_a_million_names_keep_memory_flat() -> None:
    limits = Limits(guarded_domains=64, guarded_names=4096)
    bench = Bench(Guard(Action.LOG, names=100, window=300, rate=100_000), limits)

    for i in range(100_000):
        bench.ask(f"n{i}.x{i % 200}.com", i / 10_000)

    assert len(bench.guards) <= 64
    assert bench.guards.names <= 4096 + 200


def test_row_63_other_domains_do_not_wash_away_what_one_has_said() -> None:
    """Under `default: allow` a program can ask for as many domains as it likes."""
    bench = Bench(REFUSE, Limits(guarded_domains=64))

    passed = 0
    for turn in range(10):
        passed += sum(bench.passes(f"t{turn}-{i}.x.com") for i in range(10))
        for i in range(200):
            bench.ask(f"www.turn{turn}-{i}.net")

    assert passed == 10
    assert len(bench.guards) <= 64


def test_what_was_forgotten_is_counted_right() -> None:
    bench = Bench(REFUSE, Limits(guarded_domains=2))
    for i in range(6):
        bench.ask(f"a.x{i}.com")
    bench.ask("b.x5.com", 61)

    assert (len(bench.guards), bench.guards.names) == (2, 3)
    bench.ask("c.x5.com", 122)
    assert bench.guards.names == 3  # `a` was not asked in the window before: forgotten
    bench.guards.clear()
    assert (len(bench.guards), bench.guards.names) == (0, 0)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("a.b.x.com", "x.com"),
        ("x.com", "x.com"),
        ("a.x.co.uk", "x.co.uk"),
        ("d111111abcdef8.cloudfront.net", "d111111abcdef8.cloudfront.net"),
        ("a.b.corp", "b.corp"),
        ("a.b.c.test", "c.test"),
        ("corp", "corp"),
        ("co.uk", "co.uk"),
        (".", "."),
        ("7.2.0.192.in-addr.arpa", "192.in-addr.arpa"),
    ],
)
def test_the_domain_is_what_somebody_registered(name: str, domain: str) -> None:
    assert domain_of(from_text(name)) == from_text(domain)


def test_the_number_of_a_type_nobody_asks_for_is_odd() -> None:
    assert not Bench(REFUSE).ask("a.x.com", qtype=NXNAME)


def test_what_would_be_said_of_a_question_counts_nothing() -> None:
    bench, name = Bench(REFUSE), from_text("late.x.com")
    for i in range(10):
        bench.ask(f"n{i}.x.com")
    before = (bench.guards.signs, bench.guards.held, bench.guards.names, len(bench.guards))

    told = bench.guards.would(HOST, REFUSE, name, A, at(1))
    over = bench.guards.would(HOST, REFUSE, name, A, at(61))
    other = bench.guards.would(HOST, REFUSE, from_text("n.y.com"), A, at(1))

    assert told is not None and told.held and told.sign is Sign.NAMES
    assert over is None and other is None
    assert (bench.guards.signs, bench.guards.held, bench.guards.names, len(bench.guards)) == before
    assert not bench.passes("late.x.com", 1), "asking what would be changed nothing"


def test_the_list_is_read_before_anybody_asks() -> None:
    guard_module._public.cache_clear()
    guard_module._domain_of.cache_clear()

    guard_module.read_suffixes()

    assert guard_module._domain_of.cache_info().currsize == 1
