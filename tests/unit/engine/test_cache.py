"""Facts live by TTL, failures by back-off, rendered replies until they are pushed out."""

from __future__ import annotations

from dnsfw.engine.cache import Cache, CacheKey, Front, Ready
from dnsfw.engine.facts import Facts
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, SECOND, Nanos, RoleId
from dnsfw.wire import message, reply
from dnsfw.wire.message import Ede, Record
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import Template

NOW = Nanos(1000 * SECOND)
NAME = from_text("x.net")


def key(text: str = "x.net", role: RoleId = HOST) -> CacheKey:
    return CacheKey(role, from_text(text), False, 0)


def facts(ttl: int = 60, *, size: int = 4, negative: bool = False, born: Nanos = NOW) -> Facts:
    record = Record(NAME, 16, 1, ttl, bytes(size))
    records = () if negative else (record,)
    return Facts(NAME, 16, 0, (NAME,), (), records, (), (), ttl, born, False)


def after(seconds: float) -> Nanos:
    return Nanos(NOW + round(seconds * SECOND))


def test_facts_are_kept_for_their_ttl_and_not_a_moment_longer() -> None:
    cache = Cache(Limits())
    cache.put(key(), facts(60), NOW)

    assert cache.get(key(), after(59.9)) is not None
    assert cache.get(key(), after(60)) is None


def test_ttl_0_is_not_kept_and_takes_the_older_answer_away() -> None:
    cache = Cache(Limits())
    cache.put(key(), facts(60), NOW)
    cache.put(key(), facts(0), NOW)

    assert cache.get(key(), NOW) is None


def test_row_68_roles_do_not_see_each_others_answers() -> None:
    cache = Cache(Limits())
    cache.put(key(), facts(), NOW)

    assert cache.get(key(role=RoleId(16)), NOW) is None


def test_a_name_that_begins_to_exist_replaces_its_absence() -> None:
    cache = Cache(Limits())
    cache.put(key(), facts(negative=True), NOW)
    cache.put(key(), facts(), NOW)

    found = cache.get(key(), NOW)
    assert found is not None and not found.negative
    cache.put(key(), facts(negative=True), NOW)
    found = cache.get(key(), NOW)
    assert found is not None and found.negative


def test_row_105_and_106_bytes_are_bounded_and_absences_push_out_no_answer() -> None:
    cache = Cache(Limits(answer_bytes=50_000, negative_bytes=50_000))
    cache.put(key(), facts(), NOW)
    for n in range(2000):
        cache.put(key(f"r{n}.x.net"), facts(negative=True), NOW)

    sizes = cache.sizes()
    assert sizes["cache_negative_bytes"] <= 50_000
    assert cache.get(key(), NOW) is not None


def test_one_huge_answer_is_not_kept() -> None:
    cache = Cache(Limits(answer_bytes=100_000))
    cache.put(key(), facts(size=60_000), NOW)

    assert cache.get(key(), NOW) is None


def test_a_failure_lasts_a_second_and_doubles_until_an_answer_comes() -> None:
    """RFC 9520, section 3.2."""
    cache = Cache(Limits())
    now, steps = NOW, []
    for _ in range(7):
        cache.remember_failure(key(), Ede.NETWORK_ERROR, now)
        step = next(
            s for s in range(1, 99) if cache.failure(key(), Nanos(now + s * SECOND)) is None
        )
        steps.append(step)
        now = Nanos(now + step * SECOND)

    assert steps == [1, 2, 4, 8, 16, 30, 30]
    cache.put(key(), facts(born=now), now)
    assert cache.failure(key(), now) is None
    cache.remember_failure(key(), Ede.NETWORK_ERROR, now)
    assert cache.failure(key(), Nanos(now + SECOND)) is None


def test_the_same_failure_told_to_many_counts_once() -> None:
    cache = Cache(Limits())
    for _ in range(5):
        cache.remember_failure(key(), Ede.NETWORK_ERROR, NOW)

    assert cache.failure(key(), after(0.9)) is Ede.NETWORK_ERROR
    assert cache.failure(key(), after(1)) is None


def test_failures_are_bounded() -> None:
    cache = Cache(Limits(failures=10))
    for n in range(100):
        cache.remember_failure(key(f"r{n}.net"), Ede.NETWORK_ERROR, NOW)

    assert cache.sizes()["cache_failures"] <= 10


def test_the_front_forgets_the_oldest_first() -> None:
    front = Front(2)
    ready = Ready(Template(NAME, 0), NOW, NOW)
    for text in ("a.net", "b.net", "a.net", "c.net"):
        front.put(key(text), ready)

    assert front.get(key("b.net")) is None
    assert front.get(key("a.net")) and front.get(key("c.net")) and len(front) == 2


def test_get_still_works_after_clear() -> None:
    front = Front(2)
    get = front.get
    front.put(key(), Ready(Template(NAME, 0), NOW, NOW))
    front.clear()

    assert get(key()) is None and len(front) == 0


def test_the_key_of_a_query_is_the_key_that_the_hot_path_makes() -> None:
    wire = reply.write_query(1, from_text("X.net"), 28, cd=True, do=True)
    query, peeked = message.read_query(wire), message.peek(wire)
    assert peeked is not None

    made = CacheKey.of(HOST, query)

    assert made == (HOST, peeked.key, peeked.do, peeked.flags & 0x0110)
    assert hash(made) == hash((HOST, peeked.key, peeked.do, peeked.flags & 0x0110))


def test_row_106_junk_of_one_role_pushes_out_no_answer_of_another() -> None:
    cache, web = Cache(Limits(answer_bytes=50_000, negative_bytes=50_000, failures=8)), RoleId(16)
    cache.put(key("kept.net", web), facts(), NOW)
    cache.put(key("none.net", web), facts(negative=True), NOW)
    cache.remember_failure(key("broken.net", web), Ede.OTHER, NOW)
    for n in range(2000):
        cache.put(key(f"r{n}.x.net"), facts(), NOW)
        cache.put(key(f"n{n}.x.net"), facts(negative=True), NOW)
        cache.remember_failure(key(f"f{n}.x.net"), Ede.OTHER, NOW)

    sizes = cache.sizes()
    assert sizes["cache_answer_bytes"] <= 50_000 and sizes["cache_negative_bytes"] <= 50_000
    assert sizes["cache_failures"] <= 8
    assert cache.get(key("kept.net", web), NOW) is not None
    assert cache.get(key("none.net", web), NOW) is not None
    assert cache.failure(key("broken.net", web), NOW) is not None


def test_what_a_role_knew_goes_with_it() -> None:
    cache, web = Cache(Limits()), RoleId(16)
    cache.put(key("a.net", web), facts(), NOW)
    cache.put(key("a.net"), facts(), NOW)
    cache.keep({HOST})

    assert cache.get(key("a.net", web), NOW) is None
    assert cache.get(key("a.net"), NOW) is not None


def test_row_106_the_front_takes_room_from_the_role_with_the_most() -> None:
    front, web = Front(4), RoleId(16)
    ready = Ready(Template(NAME, 0), NOW, after(60))
    front.put(key("kept.net", web), ready)
    for n in range(50):
        front.put(key(f"r{n}.x.net"), ready)

    assert len(front) == 4
    assert front.get(key("kept.net", web)) is ready
    assert front.get(key("r49.x.net")) is ready and front.get(key("r46.x.net")) is None
