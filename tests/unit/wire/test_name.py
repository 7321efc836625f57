from __future__ import annotations

import json
import time

import pytest

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.wire.name import (
    ROOT,
    from_text,
    is_below,
    labels,
    ordinary,
    parent,
    read_name,
    read_name_as_sent,
    skip_name,
    suffix_starts,
    to_text,
)
from tests.support.rawdns import LONGEST

HEADER = bytes(12)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (".", b"\0"),
        ("com", b"\3com\0"),
        ("GitHub.COM.", b"\6github\3com\0"),
        (r"a\.b.c", b"\3a.b\1c\0"),
        (r"\000\255.c", b"\2\0\xff\1c\0"),
        (r"\065bc", b"\3abc\0"),
        (r"a\\b", b"\3a\\b\0"),
        (r"*.x", b"\1*\1x\0"),
    ],
)
def test_text_becomes_canonical_wire_form(text: str, wire: bytes) -> None:
    assert from_text(text) == wire


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        ".com",
        "a..b",
        "a.b..",
        "a" * 64,
        ".".join(["a" * 63] * 4),
        "a\\",
        r"a\25",
        r"a\1x",
        r"a\256",
        "b\u00fccher.example",
        "\u202egnp.exe",
    ],
)
def test_text_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        from_text(text)


def test_the_longest_name_is_a_name_and_one_octet_more_is_not() -> None:
    assert read_name(LONGEST, 0) == (LONGEST, 255)
    assert skip_name(LONGEST, 0) == 255
    assert from_text(to_text(Name(LONGEST))) == LONGEST

    with pytest.raises(WireError, match="longer than 255"):
        read_name(LONGEST.replace(b"\x3d", b"\x3ed"), 0)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\0", "."),
        (b"\7example\3com\0", "example.com"),
        (b"\7foo.bar\3com\0", r"foo\046bar.com"),
        (b"\5_srv-\1*\3a/b\0", "_srv-.*.a/b"),
        (b"\4\x1b[2J\0", r"\027\0912J"),
        (b"\4a\r\nb\0", r"a\013\010b"),
        (b"\2\"'\0", r"\034\039"),
        (b"\1\\\0", r"\092"),
        (b"\3\xe2\x80\xae\0", r"\226\128\174"),  # U+202E, right to left override
        (b"\2\0\x7f\0", r"\000\127"),
        (b"\4<b>&\0", r"\060b\062\038"),
    ],
)
def test_text_of_a_name_is_safe_to_print(wire: bytes, text: str) -> None:
    assert to_text(Name(wire)) == text
    assert json.dumps(text) == '"' + text.replace("\\", "\\\\") + '"'


def test_a_label_with_a_dot_never_equals_two_labels() -> None:
    assert from_text(r"good\.com") != from_text("good.com")
    assert to_text(from_text(r"good\.com")) != to_text(from_text("good.com"))


def test_names_fold_ascii_letters_and_nothing_else() -> None:
    wire = b"\x06AZ[\xc4\xe4@\0"

    assert read_name(wire, 0)[0] == b"\x06az[\xc4\xe4@\0"
    assert read_name_as_sent(wire, 0)[0] == wire


def test_a_length_octet_is_never_folded() -> None:
    wire = b"\x3f" + b"A" * 63 + b"\0"

    assert read_name(wire, 0)[0][0] == 63


def test_a_pointer_leads_back_and_reading_goes_on_after_it() -> None:
    wire = HEADER + b"\3www\7example\3com\0" + b"\4MAIL\xc0\x10" + b"rest"

    assert read_name(wire, 29) == (b"\4mail\7example\3com\0", 36)
    assert skip_name(wire, 29) == 36


def test_pointers_may_be_chained() -> None:
    wire = HEADER + b"\3com\0" + b"\1x\xc0\x0c" + b"\1y\xc0\x11"

    assert read_name(wire, 21) == (b"\1y\1x\3com\0", 25)


def test_a_pointer_has_fourteen_bits() -> None:
    wire = bytes(0x3456) + b"\3com\0" + b"\1x\xf4\x56"

    assert read_name(wire, 0x345B) == (b"\1x\3com\0", 0x345F)


def test_sixteen_pointers_are_followed_and_not_seventeen() -> None:
    chain = [(0xC000 | 12 + 2 * max(0, n - 1)).to_bytes(2, "big") for n in range(19)]
    wire = HEADER + b"\0\0" + b"".join(chain[1:])

    assert read_name(wire, 14 + 2 * 15) == (b"\0", 46)
    with pytest.raises(WireError, match="too many"):
        read_name(wire, 14 + 2 * 16)


# RFC 9267 §2 and §3: what crashed or looped other implementations.
@pytest.mark.parametrize(
    ("why", "wire", "at", "said"),
    [
        ("pointer to itself", HEADER + b"\xc0\x0c", 12, "backwards"),
        ("pointer forward", HEADER + b"\xc0\x0e\1a\0", 12, "backwards"),
        ("pointer into its own name", HEADER + b"\1a\xc0\x0c", 12, "backwards"),
        ("two pointers in a loop", HEADER + b"\xc0\x0e\xc0\x0c", 14, "backwards"),
        ("pointer into the header", HEADER + b"\xc0\x00", 12, "backwards"),
        ("pointer past the end", HEADER + b"\xff\xff", 12, "backwards"),
        ("pointer cut in half", HEADER + b"\1a\0" + b"\xc0", 15, "past the end"),
        ("label of type 0x40", HEADER + b"\x41a\0", 12, "label type"),
        ("label of type 0x80", HEADER + b"\x81a\0", 12, "label type"),
        ("label past the end", HEADER + b"\x05abc", 12, "past the end"),
        ("no root", HEADER + b"\3abc", 12, "past the end"),
        ("nothing at all", HEADER, 12, "past the end"),
        ("past 255 by pointer", HEADER + LONGEST + b"\1a\xc0\x0c", 12 + 255, "255 octets"),
        ("past 255 by labels", HEADER + b"\1a" * 128 + b"\0", 12, "255 octets"),
    ],
)
def test_a_malformed_name_is_an_error(why: str, wire: bytes, at: int, said: str) -> None:
    with pytest.raises(WireError, match=said):
        read_name(wire, at)


def test_ten_thousand_pointers_are_refused_at_once() -> None:
    chain = b"".join((0xC000 | 12 + 2 * n).to_bytes(2, "big") for n in range(8000))
    wire = HEADER + b"\0\0" + chain[:-2]
    began = time.perf_counter()

    with pytest.raises(WireError, match="too many"):
        read_name(wire, len(wire) - 2)

    assert time.perf_counter() - began < 0.01  # the promise is one millisecond


@pytest.mark.parametrize("wire", [b"\x41a\0", b"\x81a\0", b"\5abc", b""])
def test_skipping_meets_the_same_borders(wire: bytes) -> None:
    with pytest.raises(WireError):
        skip_name(wire, 0)


def test_suffixes_start_at_every_label_and_at_the_root() -> None:
    name = from_text("a.bc.d")

    assert list(suffix_starts(name)) == [0, 2, 5, 7]
    assert list(suffix_starts(ROOT)) == [0]


def test_labels_and_parent_take_whole_labels() -> None:
    name = from_text(r"a\.b.c")

    assert labels(name) == (b"a.b", b"c")
    assert parent(name) == from_text("c")
    assert parent(ROOT) == ROOT
    assert labels(ROOT) == ()


@pytest.mark.parametrize(
    ("name", "apex", "below"),
    [
        ("a.x.com", "x.com", True),
        ("b.a.x.com", "x.com", True),
        ("x.com", "x.com", False),
        ("evilx.com", "x.com", False),
        ("com", "x.com", False),
        ("com", ".", True),
        (".", ".", False),
    ],
)
def test_below_is_by_whole_labels(name: str, apex: str, below: bool) -> None:
    assert is_below(from_text(name), from_text(apex)) is below


def test_octets_of_a_label_that_look_like_a_suffix_are_none() -> None:
    name = Name(b"\x06evil\1x\0")  # one label, whose last octets are the wire form of "x"

    assert name.endswith(from_text("x"))
    assert not is_below(name, from_text("x"))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("_dmarc.a-1.example.com", True),
        (".", True),
        (r"good\.com.evil", False),
        (r"a\000b.com", False),
        (r"a\032b.com", False),
        (r"\195\188.com", False),
        ("*.com", False),
        (r"ab\002cd.com", False),  # the octet 2 inside a label is no length
    ],
)
def test_ordinary_names_are_letters_digits_hyphen_and_underscore(text: str, plain: bool) -> None:
    assert ordinary(from_text(text)) is plain
