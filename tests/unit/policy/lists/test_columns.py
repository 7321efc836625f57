"""What counts as a name or a prefix in a list, and what its lines are."""

from __future__ import annotations

import pytest

from dnsfw.policy.lists.columns import MAX_LINE, Means, Parsed, name_of, prefix_of, said_lines


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("_dmarc.x-1.example", "_dmarc.x-1.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("0x7f000001", None),
        ("a..b", None),
        (".example.com", None),
        ("exa mple.com", None),
        ("a" * 64 + ".com", None),
        (".".join(["a" * 60] * 5), None),
        ("ex\x00ample.com", None),
        ("*.example.com", None),
        ("", None),
    ],
)
def test_a_name_is_letters_digits_and_hyphens_and_never_an_address(
    written: str, name: str | None
) -> None:
    assert name_of(written) == name


@pytest.mark.parametrize(
    ("written", "prefix"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8::/32", "[2001:db8::]/32"),
        ("192.0.2.1/24", None),
        ("example.com", None),
    ],
)
def test_a_prefix_with_host_bits_is_none(written: str, prefix: str | None) -> None:
    assert prefix_of(written) == prefix


def test_lines_lose_comments_and_keep_their_numbers() -> None:
    parsed = Parsed()

    lines = list(said_lines("# head\n\n a.example # why\nb.example\n", parsed, "#"))

    assert lines == [(3, "a.example"), (4, "b.example")]


def test_a_line_that_no_name_needs_is_refused_not_read() -> None:
    parsed = Parsed()

    assert list(said_lines("x" * (MAX_LINE + 1), parsed, "#")) == []
    assert parsed.refused == [(1, "the line is too long")]


def test_the_tally_speaks_the_words_of_the_pattern_table() -> None:
    parsed = Parsed()
    for means in (Means.SELF, Means.BELOW, Means.SELF | Means.BELOW, Means.NOT_SELF):
        parsed.add("x.example", int(means), 1)

    parsed.tally()

    assert parsed.became == {"exact": 1, "*.x": 1, ".x": 1, "exception": 1}
