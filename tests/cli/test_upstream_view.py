"""Upstreams, as people see them."""

from __future__ import annotations

from typing import Any

from dnsfw.cli.upstream_view import upstream_checks, upstream_lines

ROW: dict[str, Any] = {
    "server": "tls://9.9.9.9#dns.quad9.net", "transport": "TLS", "encrypted": True,
    "trusted": False, "latency_ms": 12.3, "asked": 9, "answered": 8, "failures": 1,
    "rests_seconds": 0.0, "connections": 1, "opened": 2, "reused": 7, "resumed": 1, "broken": 1,
    "last_error": "Connection reset by peer", "silent_at_start": False,
}  # fmt: skip


def test_a_line_says_how_fast_it_is_and_how_often_it_failed() -> None:
    assert list(upstream_lines([ROW])) == [
        "tls://9.9.9.9#dns.quad9.net: 12.3 ms, 1 failure, 1 connection (2 opened, used again "
        "7 times, 1 resumed, 1 broken)"
    ]


def test_one_that_was_never_asked_says_so() -> None:
    idle = {**ROW, "latency_ms": None, "asked": 0, "answered": 0, "failures": 0, "opened": 0}

    assert list(upstream_lines([idle])) == ["tls://9.9.9.9#dns.quad9.net: not asked yet"]
    assert [check.ok for check in upstream_checks([idle])] == [True]


def test_the_doctor_finds_one_that_rests_and_one_that_never_answered() -> None:
    resting = {**ROW, "rests_seconds": 3.5}
    silent = {**ROW, "latency_ms": None, "answered": 0}

    unheard = {**silent, "asked": 0, "silent_at_start": True}

    for row, says in (
        (resting, "RESTS for 3s"), (silent, "no answer yet"), (unheard, "does not answer"),
    ):  # fmt: skip
        (check,) = upstream_checks([row])
        assert not check.ok and not check.vital
        assert says in check.detail and "(Connection reset by peer)" in check.detail
    assert [check.ok for check in upstream_checks([ROW])] == [True]
