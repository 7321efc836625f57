"""What strangers send about remote sources ends in words or in a value: URLs, signatures, what a
server says. Rows 127 and 128."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsfw.errors import ConfigError
from dnsfw.policy.inspect import answer
from dnsfw.policy.problems import Wrong
from dnsfw.policy.remote import Remote, Told, check_url, judge, place_of, url_of

PIECES = st.sampled_from(
    ["https://", "http://", "x.example", "/", ":", "@", "[", "]", "::1", "%", "?", "#", "..", "é",
     "\u3002", "\0", "\n", " ", "443", "65536", "xn--", "//", "\\"]
)  # fmt: skip
URLS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


@settings(deadline=None)
@given(URLS)
@example("https://[::1]:443/")
@example("https://\u2100.example/")
def test_a_url_is_refused_in_words_or_is_one_that_stays_itself(text: str) -> None:
    try:
        url = check_url(text)
    except Wrong:
        return

    assert url.startswith("https://") and url.isascii() and url.isprintable()
    assert "@" not in url.split("/")[2]
    assert check_url(url) == url
    try:
        place = place_of(url)
    except ConfigError:
        return
    assert url_of(place) in (url, url.removesuffix("/"))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_are_a_signature_by_accident(junk: bytes) -> None:
    pytest.importorskip("cryptography")
    from dnsfw.policy.minisign import verify
    from tests.support.signer import Signer

    signer = Signer()
    good = signer.sign(b"data", "revision:1")
    for signature in (junk, good[: len(junk)], good[:40] + junk + good[40:]):
        if signature == good:
            continue
        with pytest.raises(ConfigError):
            verify([b"data"], signature, signer.key, "x")


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=80), st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["names", "error", "refusals", "first", "x"]), inner, max_size=3),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_whatever_the_child_says_is_an_answer_or_an_error(said: bytes) -> None:
    found = answer(said)

    assert (found.told is None) == bool(found.error)


@settings(deadline=None)
@given(
    st.integers(0, 10**7), st.integers(0, 10**7), st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9), st.dictionaries(st.text(max_size=5), st.integers(0, 10**6)),
)  # fmt: skip
def test_row_128_what_is_taken_is_never_empty_and_never_older(
    names: int, before: int, revision: int | None, old: int | None, refusals: dict[str, int]
) -> None:
    source = Remote("https://x.example/a", format="plain")

    why = judge(source, Told(names, refusals, revision=revision), "new", (before, old, "old"))

    if not why:
        assert names > 0
        assert old is None or revision is None or revision > old
        assert before < 100 or names * 4 >= before
        assert names <= max(before, 100) * 10 or before == 0
