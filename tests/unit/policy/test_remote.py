"""What may stand for a URL, and which download is refused (rows 127, 128)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.problems import Wrong
from dnsfw.policy.remote import (
    POLICY,
    Demands,
    Remote,
    Told,
    check_url,
    judge,
    looks_remote,
    place_of,
    url_of,
)

NOTHING = (0, None, "")
LIST = Remote("https://x.example/ads.txt", format="plain")


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://x.example/ads.txt", "https://x.example/ads.txt"),
        ("HTTPS://X.Example:443/Ads.txt?a=1", "https://x.example/Ads.txt?a=1"),
        ("https://x.example", "https://x.example/"),
        ("https://x.example:8443/a", "https://x.example:8443/a"),
        ("https://[2001:DB8::1]/a", "https://[2001:db8::1]/a"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
    ],
)
def test_a_url_is_asked_for_as_it_is_written_with_its_host_in_ascii(
    written: str, url: str
) -> None:
    assert looks_remote(written)
    assert check_url(written) == url


@pytest.mark.parametrize(
    "written",
    [
        "http://x.example/a",
        "ftp://x.example/a",
        "https:///a",
        "https://user:secret@x.example/a",
        "https://@x.example/a",
        "https://x.example:0/a",
        "https://x.example:99999/a",
        "https://x.example/a#b",
        "https://x.example/a#",
        "https://x.example/a b",
        "https://x.example/ä",
        "https://x.example/a\\b",
        "https://x.example/\r\nHost: y",
        "https://x_example$/a",
        "https://[::1/a",
        "https://x.example/" + "a" * 2000,
    ],
)
def test_what_is_no_url_or_not_of_https_is_refused(written: str) -> None:
    with pytest.raises(Wrong):
        check_url(written)


def test_a_path_is_no_url() -> None:
    assert not looks_remote("lists/ads.txt")
    assert not looks_remote("/etc/https/ads.txt")
    assert url_of(Path("/etc/https:/x")) is None
    assert url_of(Path("policy.yaml")) is None


@pytest.mark.parametrize(
    "url", ["https://x.example/p.yaml", "https://x.example:8443/a/p.yaml?b=1", "https://x.example/"]
)
def test_a_url_survives_as_a_place(url: str) -> None:
    assert url_of(place_of(url)) == url


@pytest.mark.parametrize("url", ["https://x.example/a//b", "https://x.example/a/./b", "http://x/"])
def test_a_url_that_would_not_survive_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        place_of(url)


def test_another_key_or_pin_is_another_copy_and_other_limits_are_not() -> None:
    same = Remote(LIST.url, format="hosts", demands=Demands(size=1), refresh=300, ca="/x")

    assert same.digest == LIST.digest
    assert Remote(LIST.url, key="RW").digest != LIST.digest
    assert Remote(LIST.url, sha256="0").digest != LIST.digest
    assert Remote(LIST.url, POLICY).digest != LIST.digest


def test_a_first_list_of_any_length_is_taken() -> None:
    assert judge(LIST, Told(1), "a", NOTHING) == ""
    assert judge(LIST, Told(4_000_000), "a", NOTHING) == ""


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (1000, 0, "nothing in it"),
        (1000, 249, "shrank"),
        (1000, 250, ""),
        (1000, 10_000, ""),
        (1000, 10_001, "grew"),
        (99, 1, ""),
        (1, 1000, ""),
        (1, 1001, "grew"),
        (100_000, 10_000_000, "grew"),
    ],
)
def test_row_128_a_list_that_empties_shrinks_or_grows_absurdly_is_refused(
    before: int, now: int, said: str
) -> None:
    found = judge(LIST, Told(now), "new", (before, None, "old"))

    assert said in found if said else not found


def test_row_128_the_refusal_names_the_key_that_allows_it() -> None:
    less, more = Demands(shrink=10), Demands(grow=20)

    assert "limits: {shrink: 10}" in judge(LIST, Told(100), "n", (1000, None, "o"))
    assert not judge(Remote(LIST.url, demands=less), Told(100), "n", (1000, None, "o"))
    assert "limits: {grow: 20}" in judge(LIST, Told(20_000), "n", (1000, None, "o"))
    assert not judge(Remote(LIST.url, demands=more), Told(20_000), "n", (1000, None, "o"))


def test_row_128_a_list_of_lines_that_are_no_rules_is_refused() -> None:
    half = Told(50, {"not a name": 50})
    more = Told(50, {"not a name": 51}, "line 3: '<p>': not a name")

    assert not judge(LIST, half, "n", NOTHING)
    assert "line 3" in judge(LIST, more, "n", NOTHING)
    assert not judge(Remote(LIST.url, demands=Demands(refused=100)), more, "n", NOTHING)


def test_filters_for_browsers_are_no_fault_of_a_filter_list() -> None:
    adblock = Remote(LIST.url, format="adblock")

    assert not judge(adblock, Told(50, {"a cosmetic filter": 10_000}), "n", NOTHING)
    assert not judge(adblock, Told(50, {"not a filter of a whole name": 900}), "n", NOTHING)
    assert judge(adblock, Told(50, {"not a filter of a whole name": 1000}), "n", NOTHING)


def test_row_127_a_revision_never_goes_back() -> None:
    before = (10, 7, "old")

    assert not judge(LIST, Told(10, revision=8), "new", before)
    assert not judge(LIST, Told(10, revision=7), "old", before)
    assert "older than 7" in judge(LIST, Told(10, revision=6), "new", before)
    assert "other content" in judge(LIST, Told(10, revision=7), "new", before)


def test_a_policy_has_no_number_of_rules() -> None:
    assert not judge(Remote("https://x.example/p.yaml", POLICY), Told(0), "n", NOTHING)
