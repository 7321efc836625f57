from __future__ import annotations

from dnsfw.wire.codes import AAAA, HTTPS, Rcode, type_text


def test_types_print_by_name_and_unknown_ones_by_number() -> None:
    assert type_text(AAAA) == "AAAA"
    assert type_text(HTTPS) == "HTTPS"
    assert type_text(65_280) == "TYPE65280"


def test_header_bits_are_not_taken_for_types() -> None:
    assert type_text(0x10) == "TXT"
    assert type_text(0x20) == "TYPE32"


def test_extended_rcodes_do_not_fit_the_header() -> None:
    assert Rcode.BADVERS > 0xF
