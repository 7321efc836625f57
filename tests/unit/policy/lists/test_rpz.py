"""Response policy zones: triggers and actions."""

from __future__ import annotations

import pytest

from dnsfw.policy.lists.columns import Means
from dnsfw.policy.lists.formats import Format, read_list

HEAD = """\
$TTL 60
$ORIGIN rpz.example.
@  IN SOA ns.example. host.example. (
        1 ; serial
        3600 600 86400 60 )
   IN NS  localhost.
"""


@pytest.mark.parametrize(
    ("record", "name", "means"),
    [
        ("bad.example CNAME .", "bad.example", Means.SELF),
        ("*.bad.example CNAME .", "bad.example", Means.BELOW),
        ("bad.example 300 IN CNAME *.", "bad.example", Means.SELF),
        ("bad.example IN 300 CNAME rpz-drop.", "bad.example", Means.SELF),
        ("good.bad.example CNAME rpz-passthru.", "good.bad.example", Means.NOT_SELF),
        ("*.good.example CNAME rpz-passthru.", "good.example", Means.NOT_BELOW),
        ("bad.example.rpz.example. CNAME .", "bad.example", Means.SELF),
    ],
)
def test_a_name_trigger_is_exact_or_all_below(record: str, name: str, means: int) -> None:
    parsed = read_list(HEAD + record, Format.RPZ)

    assert (parsed.names, list(parsed.means), parsed.refused) == ([name], [means], [])


@pytest.mark.parametrize(
    ("record", "prefix"),
    [
        ("24.0.2.0.192.rpz-ip CNAME .", "192.0.2.0/24"),
        ("32.1.2.0.192.rpz-ip CNAME .", "192.0.2.1"),
        ("128.1.zz.db8.2001.rpz-ip CNAME .", "[2001:db8::1]"),
        ("32.zz.db8.2001.rpz-ip CNAME .", "[2001:db8::]/32"),
    ],
)
def test_an_address_trigger_is_a_prefix(record: str, prefix: str) -> None:
    parsed = read_list(HEAD + record, Format.RPZ)

    assert [text for text, _ in parsed.prefixes] == [prefix]
    assert parsed.prefixes[0][1] == HEAD.count("\n") + 1


@pytest.mark.parametrize(
    "record",
    [
        "bad.example A 192.0.2.1",
        "bad.example CNAME walled.garden.example.",
        "32.1.2.0.192.rpz-client-ip CNAME .",
        "ns.bad.example.rpz-nsdname CNAME .",
        "bad.example CNAME rpz-tcp-only.",
        "24.1.2.0.192.rpz-ip CNAME .",
        "$INCLUDE other",
        "nonsense",
    ],
)
def test_what_a_name_rule_cannot_say_is_refused(record: str) -> None:
    parsed = read_list(HEAD + record, Format.RPZ)

    assert (parsed.names, parsed.prefixes) == ([], [])
    assert sum(parsed.refusals.values()) == 1


def test_a_record_without_owner_belongs_to_the_one_before() -> None:
    parsed = read_list(HEAD + 'bad.example CNAME .\n   TXT "why"\n', Format.RPZ)

    assert parsed.names == ["bad.example"]
    assert parsed.refused[0][1].endswith("local data: an answer of its own")


@pytest.mark.parametrize("owner", ["rpz-ip", "24.rpz-ip", "zz.rpz-ip", "300.1.2.rpz-ip"])
def test_an_address_trigger_that_is_no_prefix_is_refused(owner: str) -> None:
    parsed = read_list(HEAD + f"{owner} CNAME .", Format.RPZ)

    assert (parsed.names, parsed.prefixes, len(parsed.refused)) == ([], [], 1)


def test_a_parenthesis_without_its_end_takes_its_own_record_only() -> None:
    lines = "x.example CNAME (\n" + "; more\n \n" + "y" * 100 + "\n"
    endless = read_list(HEAD + lines * 100 + "ok.example CNAME .", Format.RPZ)
    at_the_end = read_list(HEAD + "ok.example CNAME .\nbad.example CNAME (\n.", Format.RPZ)

    assert endless.refusals["the record is too long"] > 1
    assert at_the_end.names == ["ok.example"]
    assert at_the_end.refused == [(8, "the parenthesis has no end")]
