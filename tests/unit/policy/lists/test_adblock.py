"""Filter lists as DNS filters read them."""

from __future__ import annotations

import pytest

from dnsfw.policy.lists.columns import NOT_TREE, TREE, Means
from dnsfw.policy.lists.formats import Format, read_list


@pytest.mark.parametrize(
    ("line", "name", "means"),
    [
        ("||ads.example^", "ads.example", TREE),
        ("||ADS.example^", "ads.example", TREE),
        ("||ads.example", "ads.example", TREE),
        ("||*.ads.example^", "ads.example", Means.BELOW),
        ("@@||ok.ads.example^", "ok.ads.example", NOT_TREE),
        ("||ads.example^$important", "ads.example", TREE | Means.IMPORTANT),
        ("||ads.example^$third-party", "ads.example", TREE),
        ("plain.example.org", "plain.example.org", Means.SELF),
    ],
)
def test_a_filter_of_a_whole_name_is_a_rule(line: str, name: str, means: int) -> None:
    parsed = read_list(line, Format.ADBLOCK)

    assert (parsed.names, list(parsed.means)) == ([name], [means])


@pytest.mark.parametrize(
    "line",
    [
        "example.com##.banner",
        "##.banner",
        "||example.com/path^",
        "|https://example.com|",
        "/banner[0-9]+/",
        "||example.com^$client=10.0.0.1",
        "||example.com^$dnsrewrite=1.2.3.4",
        "||ex*mple.com^",
        "||192.0.2.1^",
    ],
)
def test_what_is_no_rule_about_names_is_counted_and_shown(line: str) -> None:
    parsed = read_list(line, Format.ADBLOCK)

    assert parsed.names == []
    assert sum(parsed.refusals.values()) == 1
    assert parsed.refused[0][0] == 1


def test_comments_and_headers_say_nothing() -> None:
    parsed = read_list("[Adblock Plus 2.0]\n! Title: x\n# also\n\n", Format.ADBLOCK)

    assert not parsed.names
    assert not parsed.refusals


def test_badfilter_takes_the_same_filter_out_wherever_it_stands() -> None:
    parsed = read_list("||a.example^$badfilter\n||a.example^\n||b.example^\n", Format.ADBLOCK)

    assert parsed.names == ["b.example"]
    assert parsed.became["withdrawn by $badfilter"] == 1
