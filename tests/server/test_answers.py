"""The book of what the kernel answers: bounded, renewed while it is used, gone when it is not."""

from __future__ import annotations

from operator import sub
from random import Random

import pytest

from dnsfw.datapath.answers import Size
from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Effect, Note, Publish
from dnsfw.model import HOST, SECOND, Nanos, Reason, RuleId, Verdict
from dnsfw.server.answers import Book
from dnsfw.wire.codes import IN
from dnsfw.wire.message import RD, A, Rcode, Record
from dnsfw.wire.name import from_text, to_text
from dnsfw.wire.reply import Template, write_query
from tests.support.memory_answers import MemoryAnswers, answer_maps

NOW = Nanos(1_000_000 * SECOND)
ROOM = {Size.SMALL: 4, Size.BIG: 2, Size.LONG: 2}
LONG = ".".join(["a" * 40] * 3)


class Stand:
    """A book over tables in memory, and the engine's half of the talk."""

    def __init__(self, room: dict[Size, int] | None = None, rng: Random | None = None) -> None:
        self.kernel = MemoryAnswers(answer_maps())
        self.asked: list[CacheKey] = []
        self.lost: list[CacheKey] = []
        self.willing = True
        self.room = room or ROOM
        self.now = NOW
        self.book = self.open(rng)
        self.book.table.switch(True)

    def open(self, rng: Random | None = None) -> Book:
        return Book(self.kernel.table(), self._renew, self.lost.append, rng, self.room)

    def _renew(self, key: CacheKey, until: Nanos, now: Nanos) -> list[Effect] | None:
        if not self.willing:
            return None
        self.asked.append(key)
        return []

    def publish(self, name: str, ttl: int = 60, **more: bool) -> None:
        self.book.publish(item(name, ttl, self.now, **more), self.now)

    def gives(self, name: str, *, do: bool = False) -> bool:
        wire = write_query(7, from_text(name), A, do=do)
        return self.kernel.ask(wire, HOST, self.now) is not None

    def pass_time(self, seconds: float, using: str = "") -> None:
        """The alarm rings when it should; the name is asked for four times a second."""
        end = Nanos(self.now + round(seconds * SECOND))
        while self.now < end:
            self.now = Nanos(min(self.now + SECOND // 4, end))
            if using:
                self.gives(using)
            while (due := self.book.next_due()) is not None and due <= self.now:
                self.book.on_deadline(self.now)


def item(name: str, ttl: int, now: Nanos, *, refusal: bool = False, big: bool = False) -> Publish:
    owner = from_text(name)
    count = 40 if big else 1
    records = [Record(owner, A, IN, ttl, bytes((192, 0, 2, n))) for n in range(count)]
    key = CacheKey(HOST, owner + b"\0\1\0\1", False, RD)
    if refusal:
        note = Note("refused", Verdict.DENY, Reason.NAME_DEFAULT, HOST, owner, RuleId(1))
        template = Template(owner, Rcode.NXDOMAIN, ede=(15, "no"))
        return Publish(key, template, Nanos(0), Nanos(1 << 62), note)
    template = Template(owner, Rcode.NOERROR, records)
    return Publish(key, template, now, Nanos(now + ttl * SECOND))


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_what_is_published_is_given_until_it_ends(stand: Stand) -> None:
    stand.publish("a.com", ttl=10)

    assert stand.gives("a.com")
    stand.now = Nanos(NOW + 10 * SECOND)
    assert not stand.gives("a.com")


def test_an_answer_that_nobody_uses_goes_at_its_end_unasked(stand: Stand) -> None:
    stand.publish("a.com", ttl=10)

    stand.pass_time(11)

    assert not stand.asked and not len(stand.book) and not stand.kernel.keys()


def test_an_answer_in_use_is_asked_anew_in_the_last_tenth_of_its_life(stand: Stand) -> None:
    stand.publish("a.com", ttl=100)

    stand.pass_time(89, using="a.com")
    assert not stand.asked
    stand.pass_time(2, using="a.com")
    assert stand.asked == [CacheKey(HOST, from_text("a.com") + b"\0\1\0\1", False, RD)]


@pytest.mark.parametrize("ttl", [2, 5, 100])
def test_what_was_used_only_long_ago_is_left_to_its_end(stand: Stand, ttl: int) -> None:
    """A door that is renewed for who has gone stays open past all that he was told."""
    stand.publish("a.com", ttl=ttl)
    stand.pass_time(ttl / 10, using="a.com")

    stand.pass_time(ttl)

    assert not stand.asked and not stand.gives("a.com")


def test_a_renewal_that_brought_nothing_is_tried_again_before_the_end(stand: Stand) -> None:
    stand.publish("a.com", ttl=100)

    stand.pass_time(99.9, using="a.com")

    assert len(stand.asked) >= 3


def test_a_renewal_that_must_wait_is_not_forgotten(stand: Stand) -> None:
    stand.publish("a.com", ttl=100)
    stand.willing = False
    stand.pass_time(92, using="a.com")
    stand.willing = True

    stand.pass_time(5)

    assert stand.asked


def test_answers_of_one_second_are_renewed_too(stand: Stand) -> None:
    stand.publish("a.com", ttl=1)

    stand.pass_time(0.75, using="a.com")

    assert stand.asked


def test_renewals_are_spread_over_time_and_bounded_a_second() -> None:
    stand = Stand({Size.SMALL: 4000, Size.BIG: 2, Size.LONG: 2}, Random(1))
    for n in range(2000):
        stand.publish(f"n{n}.com", ttl=100)

    counts = []
    stand.pass_time(86)
    for _ in range(24):
        for n in range(2000):
            stand.gives(f"n{n}.com")
        stand.pass_time(0.5)
        counts.append(len(stand.asked))

    assert counts[1] == 0 and max(map(sub, counts[1:], counts)) <= 380
    assert len(set(stand.asked)) == 2000


def test_a_renewed_answer_begins_anew(stand: Stand) -> None:
    stand.publish("a.com", ttl=20)
    stand.pass_time(18.5, using="a.com")
    stand.publish("a.com", ttl=20)
    stand.asked.clear()

    stand.pass_time(10, using="a.com")

    assert not stand.asked and stand.gives("a.com")


def test_a_full_class_gives_up_the_least_used_and_the_engine_may_offer_it_again() -> None:
    stand = Stand()
    for n in range(4):
        stand.publish(f"n{n}.com")
    for n in (0, 1, 3):
        stand.gives(f"n{n}.com")

    stand.publish("new.com")

    assert [key.key[1:3] for key in stand.lost] == [b"n2"]
    assert stand.gives("new.com") and not stand.gives("n2.com")
    assert len(stand.kernel.keys()) == 4


def test_each_class_has_room_of_its_own(stand: Stand) -> None:
    for n in range(3):
        stand.publish(f"big{n}.com", big=True)
        stand.publish(f"n{n}.com")
        stand.publish(f"n{n}.{LONG}")

    assert stand.book.sizes == {Size.SMALL: 3, Size.BIG: 2, Size.LONG: 2}


def test_an_answer_that_grew_changes_its_class(stand: Stand) -> None:
    stand.publish("a.com")
    stand.publish("a.com", big=True)

    assert stand.book.sizes == {Size.SMALL: 0, Size.BIG: 1, Size.LONG: 0}
    assert len(stand.kernel.keys()) == 1


def test_a_withdrawal_is_one_store_and_the_room_comes_back_by_itself(stand: Stand) -> None:
    for n in range(4):
        stand.publish(f"n{n}.com")
    writes = stand.kernel.maps[Size.SMALL.value].writes

    stand.book.withdraw()

    assert stand.kernel.maps[Size.SMALL.value].writes == writes
    assert not any(stand.gives(f"n{n}.com") for n in range(4))
    assert stand.book.stale == 4
    stand.publish("n1.com")
    stand.pass_time(1)
    assert stand.book.stale == 0 and stand.gives("n1.com")
    assert len(stand.kernel.keys()) == 1


def test_what_was_taken_back_makes_room_before_what_is_used(stand: Stand) -> None:
    for n in range(4):
        stand.publish(f"n{n}.com")
    stand.book.withdraw()
    for n in range(4):
        stand.publish(f"m{n}.com")

    assert not stand.lost and stand.book.sizes[Size.SMALL] == 4


def test_a_refusal_stays_while_it_is_asked_for_and_is_never_asked_upstream(stand: Stand) -> None:
    stand.publish("evil.net", refusal=True)

    stand.pass_time(200, using="evil.net")
    assert stand.gives("evil.net")
    stand.pass_time(200)

    assert not stand.asked and stand.lost and not stand.gives("evil.net")


def test_who_counts_refusals_hears_of_those_that_the_kernel_gave_each_once() -> None:
    stand = Stand()
    told: list[tuple[str, int]] = []
    stand.book.repeated = lambda name, times: told.append((to_text(name), times))
    stand.publish("refused.example", refusal=True)
    stand.publish("www.example")
    for name in ("refused.example", "refused.example", "www.example"):
        assert stand.gives(name)

    stand.publish("refused.example", refusal=True)  # in its own place
    stand.publish("www.example")
    assert stand.gives("refused.example")
    stand.book.tell_repeated()

    assert told == [("refused.example", 2), ("refused.example", 1)]


def test_the_next_process_takes_the_book_over_and_goes_on_renewing(stand: Stand) -> None:
    stand.publish("a.com", ttl=100)
    stand.publish("evil.net", refusal=True)
    stand.gives("a.com")

    stand.book = stand.open()
    stand.book.adopt(stand.now)

    assert stand.gives("a.com") and len(stand.book) == 2
    stand.pass_time(95, using="a.com")
    assert stand.asked


def test_the_next_process_deletes_what_was_taken_back_or_has_ended(stand: Stand) -> None:
    stand.publish("a.com", ttl=1)
    stand.now = Nanos(NOW + 2 * SECOND)
    stand.book = stand.open()

    stand.book.adopt(stand.now)
    stand.pass_time(1)

    assert not stand.kernel.keys() and not len(stand.book)


def test_an_answer_too_large_for_the_kernel_stays_with_us(stand: Stand) -> None:
    records = [Record(from_text("a.com"), A, IN, 60, bytes((10, 0, n // 250, n % 250)))
               for n in range(99)]  # fmt: skip
    big = item("a.com", 60, NOW)
    template = Template(from_text("a.com"), Rcode.NOERROR, records)
    stand.publish("a.com")

    stand.book.publish(Publish(big.key, template, big.born, big.until), NOW)

    assert stand.book.unfit == 1 and not stand.gives("a.com") and not len(stand.book)


def test_a_table_that_takes_no_more_is_no_fault() -> None:
    stand = Stand({Size.SMALL: 100, Size.BIG: 2, Size.LONG: 2})
    stand.kernel.maps[Size.SMALL.value].capacity = 1
    stand.publish("a.com")

    stand.publish("b.com")

    assert stand.book.failed == 1 and stand.gives("a.com") and len(stand.book) == 1
