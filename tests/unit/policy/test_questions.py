"""Types of records and guards, as values."""

from __future__ import annotations

import pytest

from dnsfw.model import Verdict
from dnsfw.policy.problems import Wrong
from dnsfw.policy.questions import ALL, NORMAL, STRICT, Action, Guard, Questions, parse_types
from dnsfw.wire import codes


def test_row_64_what_mail_and_directories_need_is_normal_and_what_tunnels_need_is_not() -> None:
    for needed in (codes.A, codes.AAAA, codes.HTTPS, codes.MX, codes.TXT, codes.SRV, codes.SOA):
        assert NORMAL.has(needed)
    for odd in (10, 65_280, 65_399, 300):  # NULL, private use, iodine's PRIVATE, unassigned
        assert not NORMAL.has(odd)


def test_row_64_strict_is_what_a_program_needs_to_call_a_service() -> None:
    assert all(STRICT.has(t) for t in (codes.A, codes.AAAA, codes.HTTPS, codes.SRV, codes.PTR))
    assert not any(STRICT.has(t) for t in (codes.TXT, codes.MX, codes.NS, codes.SOA, 10))


def test_all_has_every_type() -> None:
    assert ALL.has(10)
    assert ALL.has(65_280)


def test_types_are_written_by_name_or_number() -> None:
    types = parse_types(["a", "TYPE65", "TYPE65280"])

    assert [types.has(t) for t in (1, 65, 65_280, 28)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("AAAAA", "did you mean 'AAAA'?"),
        ("strickt", "did you mean 'strict'?"),
        ("TYPE0", "write A, TXT or TYPE65280"),
        ("TYPE252", "write A, TXT or TYPE65280"),  # a transfer is no question for a proxy
        ("TYPE65535", "write A, TXT or TYPE65280"),
        ("ANY", "take it out"),
        ("", "write A, TXT or TYPE65280"),
    ],
)
def test_what_is_no_type_is_told_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(Wrong) as caught:
        parse_types([text])

    assert caught.value.remedy == remedy


def test_where_every_name_is_allowed_every_question_is() -> None:
    open_, shut = (Questions.under(v, None, None) for v in (Verdict.ALLOW, Verdict.DENY))

    assert (open_.types, open_.guard.action) == (ALL, Action.OFF)
    assert (shut.types, shut.guard.action) == (NORMAL, Action.LOG)


def test_what_the_policy_says_goes_before_what_suits_the_default() -> None:
    guard = Guard(Action.THROTTLE)

    assert Questions.under(Verdict.ALLOW, STRICT, guard) == Questions(STRICT, guard)
