from __future__ import annotations

import pytest

from dnsfw.policy.pattern import Kind, parse_pattern
from dnsfw.policy.problems import Wrong
from dnsfw.wire.name import from_text


@pytest.mark.parametrize(
    ("written", "kind", "suffix", "text"),
    [
        ("x.com", Kind.EXACT, "x.com", "x.com"),
        ("X.CoM.", Kind.EXACT, "x.com", "x.com"),
        ("*.x.com", Kind.BELOW, "x.com", "*.x.com"),
        (".x.com", Kind.TREE, "x.com", ".x.com"),
        ("+.x.com", Kind.ONE, "x.com", "+.x.com"),
        ("API-*.X.com", Kind.GLOB, "x.com", "api-*.x.com"),
        ("*", Kind.BELOW, ".", "*"),
        ("localhost", Kind.EXACT, "localhost", "localhost"),
        ("_sip._tcp.x.com", Kind.EXACT, "_sip._tcp.x.com", "_sip._tcp.x.com"),
        ("bücher.example", Kind.EXACT, "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("*.bücher.example", Kind.BELOW, "xn--bcher-kva.example", "*.xn--bcher-kva.example"),
        ("a。example", Kind.EXACT, "a.example", "a.example"),
        ("1.example", Kind.EXACT, "1.example", "1.example"),
        ("api-*", Kind.GLOB, ".", "api-*"),
    ],
)
def test_a_pattern_is_read(written: str, kind: Kind, suffix: str, text: str) -> None:
    pattern = parse_pattern(written)

    assert pattern.kind is kind
    assert pattern.suffix == from_text(suffix)
    assert pattern.text == text
    assert parse_pattern(pattern.text) == pattern


@pytest.mark.parametrize(
    ("written", "rewrite"),
    [
        ("a.*.x.com", "'*.x.com'"),
        ("*x.com", "'.x.com'"),
        ("*x.com", "'*.x.com'"),
        ("**", "'*.example.com'"),
        ("**.x.com", "'*.x.com'"),
        ("*.*.x.com", "'*.x.com'"),
        ("a*b*.x.com", "'*.x.com'"),
        ("x.*", "leftmost label only"),
        ("x.com*", "leftmost label only"),
        ("+x.com", "'+.x.com'"),
        ("a+.x.com", "'+' cannot stand"),
        ("..x.com", "extra dot"),
        ("x..com", "extra dot"),
        ("x.com..", "extra dot"),
        ("", "names nothing"),
        (".", "names nothing"),
        ("+.", "names nothing"),
        ("*.", "names nothing"),
        ("1.2.3", "four decimal"),
        ("x.0x7f", "four decimal"),
        ("a b.com", "cannot stand"),
        ("a@b.com", "cannot stand"),
        ("a\\.b.com", "cannot stand"),
        ("a/b.com", "cannot stand"),
        ("büc*.x.com", "ASCII"),
        ("a" * 64 + ".com", "63"),
        ("a" * 63 + "*.x.com", "63"),
        (".".join(["a" * 50] * 6), "255"),
        ("\x1b[2J.com", "cannot stand"),
    ],
)
def test_a_wrong_pattern_says_what_to_write(written: str, rewrite: str) -> None:
    with pytest.raises(Wrong) as wrong:
        parse_pattern(written)

    said = f"{wrong.value.message}; {wrong.value.remedy}"
    assert rewrite in said
    assert said.isprintable()


@pytest.mark.parametrize(
    "written",
    ["*", "*.com", ".com", "+.com", "api-*.com", "*.co.uk", "*.github.io", "a*", "*.nosuch"],
)
def test_row_91_wildcards_below_public_suffixes_are_broad(written: str) -> None:
    assert parse_pattern(written).broad


@pytest.mark.parametrize(
    "written", ["com", "co.uk", "*.x.com", "+.x.co.uk", "a*.x.com", "*.internal"]
)
def test_other_patterns_are_not_broad(written: str) -> None:
    assert not parse_pattern(written).broad


def test_row_91_a_glob_needs_a_character_and_no_overlap_of_its_ends() -> None:
    glob = parse_pattern("ab*ba.x.com")

    assert glob.globs(b"abxba")
    assert not glob.globs(b"abba")
    assert not glob.globs(b"aba")
