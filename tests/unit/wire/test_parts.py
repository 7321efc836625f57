from __future__ import annotations

import pytest

from dnsfw.errors import WireError
from dnsfw.wire.parts import Edns, read_additional, read_question, write_opt
from tests.support.rawdns import WWW, message, opt, question, record

COOKIE = b"\0\x0a\0\x08" + b"12345678"


def test_a_question_is_read_in_canonical_form() -> None:
    wire = message(question(b"\3WWW\7Example\3COM\0", 28, 1) + b"rest")

    assert read_question(wire) == (WWW, 28, 1, 33)


def test_a_question_without_its_class_is_an_error() -> None:
    with pytest.raises(WireError):
        read_question(message(WWW + b"\0\1\0"))


def test_opt_says_size_do_version_and_options() -> None:
    wire = opt(COOKIE, size=4096, ttl=0x01_02_80_00)

    assert read_additional(wire, 0, 1) == (Edns(4096, True, 2, ((10, b"12345678"),)), 1, len(wire))


def test_other_additional_records_are_passed_over_wherever_opt_stands() -> None:
    other = record(bytes(4), owner=WWW)
    wire = other + opt() + other

    assert read_additional(wire, 0, 3) == (Edns(1232), 0, len(wire))


def test_no_additional_record_is_no_edns() -> None:
    assert read_additional(b"", 0, 0) == (None, 0, 0)


@pytest.mark.parametrize(
    ("why", "wire", "count"),
    [
        ("two OPT", opt() + opt(), 2),
        ("owner not the root", opt(owner=b"\1a\0"), 1),
        ("owner a pointer", opt(owner=b"\xc0\x0c"), 1),
        ("option length past rdata", opt(b"\0\x0a\0\x09" + b"12345678"), 1),
        ("option header cut", opt(b"\0\x0a\0"), 1),
        ("rdata past the end", opt(COOKIE)[:-1], 1),
        ("fixed part cut", opt()[:-1], 1),
        ("owner alone", b"\0", 1),
        ("another record past the end", record(bytes(4), owner=WWW, length=5), 1),
        ("fewer records than counted", opt(), 2),
        ("65,535 records counted", opt(), 65_535),
        ("thousands of options", opt(b"\0\1\0\0" * 4000), 1),
    ],
)
def test_a_broken_opt_is_an_error(why: str, wire: bytes, count: int) -> None:
    with pytest.raises(WireError):
        read_additional(wire, 0, count)


def test_thirty_two_options_are_read_and_not_one_more() -> None:
    edns, _, _ = read_additional(opt(b"\0\1\0\0" * 32), 0, 1)

    assert edns is not None
    assert len(edns.options) == 32
    with pytest.raises(WireError, match="too many"):
        read_additional(opt(b"\0\1\0\0" * 33), 0, 1)


def test_one_option_of_four_thousand_octets_is_read() -> None:
    edns, _, _ = read_additional(opt(b"\0\x0c\x0f\xa0" + bytes(4000)), 0, 1)

    assert edns is not None
    assert edns.options == ((12, bytes(4000)),)


def test_opt_is_written_with_no_bit_that_was_not_asked_for() -> None:
    assert write_opt(0, False, 1232).hex() == "00002904d0000000000000"
    assert write_opt(16, True, 512).hex() == "0000290200010080000000"


def test_what_is_written_is_what_is_read() -> None:
    wire = write_opt(16, True, 1400, COOKIE)

    assert read_additional(wire, 0, 1) == (Edns(1400, True, 0, ((10, b"12345678"),)), 1, len(wire))
