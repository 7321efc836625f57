"""What is offered to the kernel; the whole way is in scenario/test_kernel_answers.py."""

from __future__ import annotations

from dnsfw.engine.cache import CacheKey, Front, Ready
from dnsfw.engine.effects import Withdraw
from dnsfw.engine.limits import Limits
from dnsfw.engine.lookups import Lookups
from dnsfw.engine.offers import Offers, asked_name
from dnsfw.model import HOST, Nanos
from dnsfw.wire.message import RD
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import Template
from tests.support.fakes import FixedRng

NAME = from_text("a.com")
KEY = CacheKey(HOST, NAME + b"\0\1\0\1", False, RD)
READY = Ready(Template(NAME, 0), Nanos(0), Nanos(1 << 40), (), True)


def offers(*, able: bool = True) -> tuple[Offers, Front, Front]:
    fronts = Front(9), Front(9)
    made = Offers(fronts, Lookups(1, FixedRng(), Limits()), Limits(), able=able)
    made.begin()
    return made, *fronts


def test_emptying_one_front_empties_both_for_what_stays_would_not_be_offered_again() -> None:
    made, answers, refusals = offers()
    refusals.put(KEY, READY)
    answers.clear()

    assert made.withdrawn() == [Withdraw()]
    assert not len(refusals)
    assert made.withdrawn() == []


def test_without_a_table_there_is_nothing_to_take_back() -> None:
    made, answers, refusals = offers(able=False)
    refusals.put(KEY, READY)
    answers.clear()

    assert made.withdrawn() == []
    assert len(refusals)


def test_it_is_offered_once_and_again_when_the_kernel_lost_it() -> None:
    made, answers, _ = offers()
    answers.put(KEY, READY)

    published = made.make(KEY, READY)
    first, made_again = answers.get(KEY), made.again(KEY)
    second = answers.get(KEY)

    assert published.until == READY.until and made_again is None
    assert first is not None and not first.offer
    assert second is not None and second.offer


def test_a_question_knows_its_name() -> None:
    assert asked_name(KEY) == NAME
