"""The cache against a dict that never forgets by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.engine.cache import Cache, CacheKey
from dnsfw.engine.facts import Facts
from dnsfw.engine.limits import FAILURE_MIN, QUESTION_FAILURE_MAX, Limits
from dnsfw.model import HOST, SECOND, Nanos, RoleId
from dnsfw.wire.message import Ede, Record
from dnsfw.wire.name import from_text

KEYS = [
    CacheKey(role, from_text(name), do, 0)
    for role in (HOST, RoleId(16))
    for name in ("a.net", "b.net")
    for do in (False, True)
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("fail"), st.sampled_from(KEYS)),
        st.tuples(st.just("wait"), st.integers(1, 30 * 4)),
    ),
    max_size=60,
)


def facts(key: CacheKey, ttl: int, negative: bool, born: Nanos, size: int = 4) -> Facts:
    name = from_text("x.net")
    records = () if negative else (Record(name, 16, 1, ttl, bytes(size)),)
    return Facts(name, 16, 0, (name,), (), records, (), (), ttl, born, False)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_what_is_found_is_what_was_put_last_and_still_lives(
    steps: list[tuple[object, ...]],
) -> None:
    cache = Cache(Limits())
    known: dict[CacheKey, Facts] = {}
    failures: dict[CacheKey, tuple[Nanos, int]] = {}  # until, step
    now = Nanos(SECOND)
    for step in steps:
        match step:
            case ("put", CacheKey() as key, int(ttl), bool(negative)):
                made = facts(key, ttl, negative, now)
                cache.put(key, made, now)
                known[key] = made
                failures.pop(key, None)
            case ("fail", CacheKey() as key):
                cache.remember_failure(key, Ede.NETWORK_ERROR, now)
                until, size = failures.get(key, (Nanos(0), 0))
                if now >= until + size:  # long enough ago to begin again
                    failures[key] = (Nanos(now + FAILURE_MIN), FAILURE_MIN)
                elif now >= until:
                    size = min(2 * size, QUESTION_FAILURE_MAX)
                    failures[key] = (Nanos(now + size), size)
            case ("wait", int(quarters)):
                now = Nanos(now + quarters * SECOND // 4)
        for key in KEYS:
            made = known.get(key)  # type: ignore[assignment]
            alive = made is not None and now < made.expires
            assert cache.get(key, now) == (made if alive else None)
            failed = key in failures and now < failures[key][0]
            assert (cache.failure(key, now) is not None) is failed


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 9000), st.integers(1, 50), st.booleans()),
        max_size=200,
    )
)
def test_no_sequence_makes_it_grow(puts: list[tuple[int, int, int, bool]]) -> None:
    limits = Limits(answer_bytes=30_000, negative_bytes=20_000, failures=5)
    cache = Cache(limits)
    now = Nanos(SECOND)
    for who, size, ttl, negative in puts:
        key = CacheKey(HOST, from_text(f"n{who}.net"), False, 0)
        cache.put(key, facts(key, ttl, negative, now, size), now)
        cache.remember_failure(CacheKey(HOST, from_text(f"f{who}.net"), False, 0), Ede.OTHER, now)
        now = Nanos(now + SECOND // 3)

        sizes = cache.sizes()
        assert sizes["cache_answer_bytes"] <= limits.answer_bytes
        assert sizes["cache_negative_bytes"] <= limits.negative_bytes
        assert sizes["cache_failures"] <= limits.failures
