"""The timetable of kept names; the whole way is in scenario/test_keep.py."""

from __future__ import annotations

from dnsfw.engine.cache import Cache
from dnsfw.engine.closing import Closing
from dnsfw.engine.effects import Note
from dnsfw.engine.keeper import Keeper
from dnsfw.engine.limits import Limits
from dnsfw.engine.lookups import Lookups
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text
from tests.support.fakes import FixedRng

NOW = Nanos(1000 * SECOND)


def policy(*names: str) -> Policy:
    rules = "".join(f"  - {{allow: {name}, keep: true}}\n" for name in names)
    return compile_text("version: 1\ndefault: deny\nrules:\n" + (rules or "  []\n"))


def keeper(limits: Limits, upstreams: int = 1) -> Keeper:
    rng = FixedRng()
    return Keeper(Lookups(upstreams, rng, limits), Cache(limits), limits, rng)


def test_names_over_the_limit_are_told() -> None:
    made = keeper(Limits(keeps=1))

    (note,) = made.load(policy("a.com", "b.com", "c.com"), NOW)

    assert isinstance(note, Note) and note.text.startswith("2 names")
    assert len(made) == 2  # A and AAAA of one


def test_a_name_that_stays_keeps_its_time_over_a_reload() -> None:
    made = keeper(Limits())
    made.load(policy("a.com"), NOW)
    made.start(Nanos(NOW + SECOND))
    made.start(Nanos(NOW + 2 * SECOND))
    assert made.next_due() is None  # both are on their way

    made.load(policy("a.com", "b.com"), NOW)

    assert made.wants(Closing(HOST, from_text("b.com"), 1))
    assert made.next_due() is not None


def test_without_an_upstream_it_tries_again_later_and_later() -> None:
    made = keeper(Limits(), upstreams=0)
    made.load(policy("a.com"), NOW)
    waits = []
    now = NOW
    for _ in range(8):
        due = made.next_due()
        assert due is not None
        now = Nanos(max(due, now))
        made.start(now)
        waits.append(now)

    assert waits[-1] - waits[0] > 30 * SECOND
