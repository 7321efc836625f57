"""What a first-match list keeps when the most specific rule wins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.model import HOST, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.first_match import Entry, Fate, clash, covers, overlaps, settle_order
from dnsfw.policy.importers.rule_lines import rule_lines
from dnsfw.policy.pattern import parse_pattern
from dnsfw.wire.name import from_text

NAMES = (
    "x.com", "a.x.com", "b.x.com", "ab.x.com", "a-b.x.com", "c.a.x.com", "d.c.a.x.com",
    "y.com", "a.y.com",
)  # fmt: skip
PATTERNS = (
    "x.com", "a.x.com", ".x.com", "*.x.com", "+.x.com", "a*.x.com", "*-b.x.com", ".a.x.com",
    "*.a.x.com", "+.a.x.com", "y.com", "*.y.com",
)  # fmt: skip


def entry(verb: str, text: str) -> Entry:
    found = parse_destination(text)
    return Entry(Verdict.ALLOW if verb == "allow" else Verdict.DENY, found.what, found.ports)


def fits(pattern: str, name: str) -> bool:
    """A pattern as the table of the language reads, over text."""
    text = compile_text(f'version: 1\ndefault: deny\nrules:\n  - allow: "{pattern}"\n')
    return text.roles[HOST].judge(from_text(name)).answered


FITS = {(pattern, name): fits(pattern, name) for pattern in PATTERNS for name in NAMES}


@pytest.mark.parametrize("one", PATTERNS)
@pytest.mark.parametrize("two", PATTERNS)
def test_covering_and_overlapping_are_what_the_names_say(one: str, two: str) -> None:
    both = [name for name in NAMES if FITS[one, name] and FITS[two, name]]
    left = [name for name in NAMES if FITS[two, name] and not FITS[one, name]]

    if both:
        assert overlaps(parse_pattern(one), parse_pattern(two))
    if left:
        assert not covers(parse_pattern(one), parse_pattern(two))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [(".x.com", "x.com"), ("*.x.com", "+.x.com"), ("+.x.com", "a*.x.com"), ("a*.x.com", "ab.x.com"),
     (".x.com", "*.a.x.com"), ("*", "x.com"), ("a*.x.com", "ab*c.x.com")],
)  # fmt: skip
def test_the_wider_covers_the_narrower(wide: str, narrow: str) -> None:
    assert covers(parse_pattern(wide), parse_pattern(narrow))
    assert not covers(parse_pattern(narrow), parse_pattern(wide))


@pytest.mark.parametrize(
    ("first", "second", "fate"),
    [
        ("deny *.x.com", "allow a.x.com", Fate.NEVER),
        ("deny *.x.com:22", "allow a.x.com", Fate.LOST),
        ("deny *.x.com:22", "allow a.x.com:443", Fate.KEPT),
        ("allow a.x.com", "deny *.x.com", Fate.KEPT),
        ("allow *.x.com", "deny .x.com", Fate.LOST),
        ("allow 10.0.0.0/8", "deny 10.1.0.0/16", Fate.NEVER),
        ("allow 10.1.0.0/16:443", "deny 10.1.2.0/24", Fate.LOST),
        ("allow 10.1.0.0/16", "deny 10.0.0.0/8", Fate.KEPT),
        ("allow x.com", "deny 10.0.0.0/8", Fate.STRICTER),
        ("deny x.com", "allow 10.0.0.0/8", Fate.LOST),
        ("deny 10.0.0.0/8", "allow x.com", Fate.KEPT),
        ("allow y.com", "deny x.com", Fate.KEPT),
    ],
)
def test_an_entry_after_another_is_kept_left_out_or_lost(
    first: str, second: str, fate: Fate
) -> None:
    told = settle_order([entry(*first.split()), entry(*second.split())])

    assert told[1].fate is fate
    assert told[1].because == (None if fate is Fate.KEPT else 0)


ENTRIES = st.lists(
    st.tuples(st.sampled_from(["allow", "deny"]), st.sampled_from(PATTERNS)), max_size=5
)


@settings(max_examples=150, deadline=None)
@given(ENTRIES)
def test_where_nothing_is_lost_each_name_has_the_verdict_of_the_first_that_matches(
    lines: list[tuple[str, str]],
) -> None:
    told = settle_order([entry(*line) for line in lines])
    if any(one.fate is Fate.LOST for one in told):
        return
    kept = [entry(*line) for line, one in zip(lines, told, strict=True) if one.fate is Fate.KEPT]
    text = "version: 1\ndefault: deny\n" + (f"rules:\n{rule_lines(kept)}" if kept else "")

    policy = compile_text(text)

    for name in NAMES:
        first = next((verb for verb, pattern in lines if FITS[pattern, name]), "deny")
        assert policy.host.judge(from_text(name)).answered is (first == "allow")


@settings(max_examples=150, deadline=None)
@given(ENTRIES)
def test_a_list_without_a_clash_says_what_the_policy_says(lines: list[tuple[str, str]]) -> None:
    entries = [entry(*line) for line in lines]
    same = {text for verb, text in lines if verb == "allow"} & {
        text for verb, text in lines if verb == "deny"
    }
    if same or any(at is not None for at in clash(entries)):
        return  # the same pattern twice is no policy at all
    policy = compile_text(
        "version: 1\ndefault: deny\n" + (f"rules:\n{rule_lines(entries)}" if entries else "")
    )

    for name in NAMES:
        first = next((verb for verb, pattern in lines if FITS[pattern, name]), "deny")
        assert policy.host.judge(from_text(name)).answered is (first == "allow")
