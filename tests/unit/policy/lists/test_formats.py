"""Each format, line by line; and the lines that would take a country off the net."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.policy.lists.columns import TREE, Means
from dnsfw.policy.lists.formats import Format, read_list


def test_hosts_lines_deny_only_where_the_address_is_nowhere() -> None:
    text = (
        "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n255.255.255.255 broadcasthost\n"
        "0.0.0.0 a.example b.example # both\n127.0.0.1\tc.example\n:: d.example\n"
        "192.0.2.7 printer.example\n0.0.0.0\n"
    )

    parsed = read_list(text, Format.HOSTS)

    assert parsed.names == ["a.example", "b.example", "c.example", "d.example"]
    assert list(parsed.lines) == [4, 4, 5, 6]
    assert set(parsed.means) == {Means.SELF}
    assert [line for line, _ in parsed.refused] == [7, 8]


def test_plain_names_are_exact_unless_the_policy_says_suffix() -> None:
    assert list(read_list("x.example", Format.PLAIN).means) == [Means.SELF]
    assert list(read_list("x.example", Format.PLAIN, suffix=True).means) == [TREE]


def test_a_star_in_a_wildcard_list_is_all_below_and_not_the_name() -> None:
    parsed = read_list("*.x.example\ny.example\n", Format.WILDCARD)

    assert list(parsed.means) == [Means.BELOW, Means.SELF]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("address=/x.example/", ["x.example"]),
        ("address=/x.example/#", ["x.example"]),
        ("address=/x.example/0.0.0.0", ["x.example"]),
        ("local=/x.example/y.example/", ["x.example", "y.example"]),
        ("server=/x.example/", ["x.example"]),
        ("nftset=/x.example/4#inet#fw#ok", ["x.example"]),
    ],
)
def test_dnsmasq_directives_are_the_name_and_all_below(line: str, names: list[str]) -> None:
    parsed = read_list(line, Format.DNSMASQ)

    assert parsed.names == names
    assert set(parsed.means) == {TREE}


@pytest.mark.parametrize(
    "line",
    ["address=/x.example/192.0.2.1", "server=/x.example/192.0.2.53", "cache-size=100", "x.example"],
)
def test_dnsmasq_lines_about_something_else_are_refused(line: str) -> None:
    parsed = read_list(line, Format.DNSMASQ)

    assert not parsed.names
    assert sum(parsed.refusals.values()) == 1


def test_an_address_list_holds_addresses_only() -> None:
    parsed = read_list("192.0.2.0/24 ; SBL1\n2001:db8::1\nexample.com\n", Format.CIDR)

    assert parsed.prefixes == [("192.0.2.0/24", 1), ("[2001:db8::1]", 2)]
    assert parsed.refused[0][0] == 3


@pytest.mark.parametrize("name", ["com", "localhost", "co.uk", "github.io"])
def test_row_129_a_poisoned_line_is_caught(name: str) -> None:
    parsed = read_list(f"||{name}^\n||ads.example^\n", Format.ADBLOCK)

    assert parsed.names == ["ads.example"]
    assert parsed.refused[0][0] == 1


def test_row_129_an_exact_public_suffix_harms_nobody_below_it() -> None:
    assert read_list("0.0.0.0 github.io", Format.HOSTS).names == ["github.io"]


def test_broad_lets_a_public_suffix_in() -> None:
    assert read_list("||co.uk^", Format.ADBLOCK, broad=True).names == ["co.uk"]


@given(st.text(max_size=200), st.sampled_from(list(Format)), st.booleans())
def test_any_text_is_read_or_refused_and_never_raises(
    text: str, kind: Format, suffix: bool
) -> None:
    parsed = read_list(text, kind, suffix=suffix)

    assert len(parsed.names) == len(parsed.means) == len(parsed.lines)
    assert all(name.isascii() and name == name.lower() and "." in name for name in parsed.names)
