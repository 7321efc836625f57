"""Logs that anybody could have written, as values that can be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.model import Verdict, addr_from, addr_text
from dnsfw.policy.seen import Seen, Unread, read_seen
from dnsfw.wire.name import from_text, to_text

NAME: dict[str, Any] = {
    "at": 1.5, "kind": "name", "role": "web", "name": "www.x.com", "qtype": "A",
    "verdict": "allow", "chain": ["e.cdn.example"], "addresses": ["192.0.2.1", "2001:db8::1"],
    "client": "127.0.0.1", "count": 7,
}  # fmt: skip
CONNECTION: dict[str, Any] = {
    "kind": "connection", "role": "host", "names": ["x.com"], "address": "2001:db8::2",
    "port": 443, "protocol": "tcp", "verdict": "deny", "command": "curl", "pid": 3,
}  # fmt: skip


def read(*rows: object) -> list[Seen | Unread]:
    return list(read_seen(f"{json.dumps(row)}\n" for row in rows))


def test_a_line_of_the_log_has_role_name_chain_and_addresses() -> None:
    (seen,) = read(NAME)

    assert isinstance(seen, Seen)
    assert (seen.role, seen.asked.text, seen.was) == ("web", "www.x.com", Verdict.ALLOW)
    assert [to_text(name) for name in seen.chain] == ["e.cdn.example"]
    assert list(map(addr_text, seen.addresses)) == ["192.0.2.1", "2001:db8::1"]
    assert (seen.count, seen.who) == (7, "127.0.0.1")


def test_a_connection_has_address_port_and_the_names_that_held_it() -> None:
    (seen,) = read(CONNECTION)

    assert isinstance(seen, Seen)
    assert (seen.asked.text, seen.asked.is_addr) == ("[2001:db8::2]:443/tcp", True)
    assert seen.asked.to == addr_from("2001:db8::2")
    assert [to_text(name) for name in seen.names] == ["x.com"]
    assert (seen.was, seen.who, seen.count) == (Verdict.DENY, "curl", 1)


def test_lines_of_watch_are_read_and_other_news_are_passed_over() -> None:
    refused = {"id": 4, "kind": "refused", "name": "bad.example", "verdict": "deny", "address": ""}
    denied = {**CONNECTION, "kind": "denied"}
    news = [{"kind": "reload", "text": "x"}, {"kind": "lost", "count": 3}, {"kind": "filtered"}]

    found = read(*news, refused, denied)

    assert [one.asked.text for one in found if isinstance(one, Seen)] == [
        "bad.example", "[2001:db8::2]:443/tcp",
    ]  # fmt: skip
    assert len(found) == 2


ROW = {
    "role": "host", "verdict": "deny", "name": "pypi.org", "addresses": ["192.0.2.9"],
    "port": 443, "protocol": "tcp", "reason": "never-resolved", "count": 2, "command": "pip",
}  # fmt: skip


@pytest.mark.parametrize("form", ["indented", "one line", "yaml"])
def test_a_report_of_run_is_read_whole(form: str) -> None:
    report = {"report": 1, "mode": "enforce", "observed": [ROW]}
    text = json.dumps(report, indent=2 if form == "indented" else None)
    if form == "yaml":
        text = f"report: 1\nmode: enforce\nobserved: {json.dumps([ROW])}\n"

    (seen,) = read_seen(iter(f"\n{text}\n".splitlines(keepends=True)))

    assert isinstance(seen, Seen)
    assert (seen.asked.text, seen.count, seen.who) == ("pypi.org:443/tcp", 2, "pip")


@pytest.mark.parametrize("reason", ["filtered", "qtype", "guarded"])
def test_an_address_that_was_taken_out_of_an_answer_is_no_refusal(reason: str) -> None:
    row = {**ROW, "port": 0, "protocol": "", "reason": reason}

    assert read({"observed": [row]}) == []


@pytest.mark.parametrize(
    "line",
    [
        '{"torn',
        "not json",
        "[1, 2]",
        "7",
        json.dumps({**NAME, "name": "a..b"}),
        json.dumps({**NAME, "name": 7}),
        json.dumps({**NAME, "verdict": "perhaps"}),
        json.dumps({**NAME, "count": 0}),
        json.dumps({**NAME, "count": True}),
        json.dumps({**NAME, "addresses": ["x"]}),
        json.dumps({**NAME, "addresses": 5}),
        json.dumps({**CONNECTION, "port": "443"}),
        json.dumps({**CONNECTION, "port": 70_000}),
        json.dumps({**CONNECTION, "address": ""}),
        json.dumps({**CONNECTION, "protocol": "quic"}),
        json.dumps({**NAME, "name": "x" * 100_000}),
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_told_by_its_number_and_the_rest_is_read(line: str) -> None:
    found = list(read_seen([json.dumps(CONNECTION), line, json.dumps(NAME)]))

    assert found[1] == Unread(2, "damaged")
    assert [type(one) for one in found] == [Seen, Unread, Seen]


def test_row_137_a_hashed_name_cannot_be_judged() -> None:
    hashed = {**NAME, "name": "h:0123456789abcdef0123", "addresses": []}

    assert read(hashed) == [Unread(1, "hashed")]


def test_names_come_back_whatever_their_octets_were() -> None:
    (seen,) = read({**NAME, "name": "a\\032\\.b.x.com", "chain": [], "addresses": []})

    assert isinstance(seen, Seen)
    assert seen.asked.to == from_text("a\\032\\.b.x.com")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*NAME, *CONNECTION, "observed", "reason"]), JSON))
def test_whatever_stands_in_a_line_nothing_is_raised(row: dict[str, Any]) -> None:
    for found in read({**NAME, **row}):
        assert isinstance(found, Seen | Unread)


@given(st.text())
def test_whatever_a_line_is_nothing_is_raised(line: str) -> None:
    list(read_seen([json.dumps(NAME) + "\n", line]))
