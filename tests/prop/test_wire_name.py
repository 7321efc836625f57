"""Names: nothing but WireError, text and back, and dnslib sees the same."""

from __future__ import annotations

import contextlib

import dnslib
import pytest
from dnslib.buffer import BufferError as DnslibBufferError
from dnslib.label import DNSBuffer, DNSLabelError
from hypothesis import example, given
from hypothesis import strategies as st

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.wire.name import (
    MAX_NAME,
    from_text,
    is_below,
    labels,
    ordinary,
    parent,
    read_name,
    skip_name,
    suffix_starts,
    to_text,
)

label = st.binary(min_size=1, max_size=63)
names = (
    st.lists(label, max_size=8)
    .map(lambda found: b"".join(bytes([len(part)]) + part for part in found).lower() + b"\0")
    .filter(lambda wire: len(wire) <= MAX_NAME)
    .map(Name)
)
# Octets that make names likely: short lengths, letters, roots, pointers to near the start.
octets = st.sampled_from([0, 0, 1, 2, 3, 3, 63, 64, 97, 65, 46, 128, 192, 192, 12, 13, 14, 16, 20])
likely = st.lists(octets, min_size=13, max_size=60).map(bytes)
SAFE = set("abcdefghijklmnopqrstuvwxyz0123456789-_*/\\.")


@given(likely | st.binary(max_size=80), st.integers(0, 80))
def test_any_octets_are_a_name_or_a_wire_error(wire: bytes, at: int) -> None:
    with contextlib.suppress(WireError):
        name, end = read_name(wire, at)

        assert len(name) <= MAX_NAME
        assert name == name.lower()
        assert at < end <= len(wire)
        assert skip_name(wire, at) == end
        assert read_name(name, 0) == (name, len(name))


@given(likely, st.integers(12, 60))
@example(bytes(12) + b"\3foo\0\1a\xc0\x0c", 17)
def test_dnslib_reads_the_same_name_where_both_read_one(wire: bytes, at: int) -> None:
    try:
        ours, end = read_name(wire, at)
    except WireError:
        return
    buffer = DNSBuffer(wire)
    buffer.offset = at
    try:
        theirs = buffer.decode_name()
    except (DnslibBufferError, DNSLabelError, dnslib.DNSError):
        return

    assert labels(ours) == tuple(bytes(part).lower() for part in theirs.label)
    assert buffer.offset == end


def test_dnslib_refuses_labels_outside_ascii_that_we_keep_as_octets() -> None:
    wire = bytes(12) + b"\2\xff\x01\0"
    buffer = DNSBuffer(wire)
    buffer.offset = 12

    assert read_name(wire, 12)[0] == b"\2\xff\x01\0"
    with pytest.raises(DnslibBufferError):
        buffer.decode_name()


@given(names)
def test_a_name_survives_its_text(name: Name) -> None:
    text = to_text(name)

    assert set(text) <= SAFE
    assert from_text(text) == name
    assert from_text(text + "." * (text != ".")) == name


@given(names, names)
def test_different_names_have_different_texts(one: Name, other: Name) -> None:
    assert (to_text(one) == to_text(other)) is (one == other)


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_a_wire_error(text: str) -> None:
    with contextlib.suppress(WireError):
        name = from_text(text)

        assert read_name(name, 0) == (name, len(name))


@given(names)
def test_suffixes_are_the_name_its_parents_and_the_root(name: Name) -> None:
    suffixes = [Name(name[start:]) for start in suffix_starts(name)]

    assert suffixes[0] == name
    assert suffixes[-1] == b"\0"
    assert suffixes[1:] == [parent(suffix) for suffix in suffixes[:-1]]
    assert all(is_below(name, suffix) for suffix in suffixes[1:])


@given(names, names)
def test_below_means_that_the_labels_end_alike(name: Name, apex: Name) -> None:
    ours, theirs = labels(name), labels(apex)
    tail = ours[len(ours) - len(theirs) :]

    assert is_below(name, apex) is (len(ours) > len(theirs) and tail == theirs)


@given(names)
def test_ordinary_is_judged_label_by_label(name: Name) -> None:
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789-_"

    assert ordinary(name) is all(set(part) <= set(plain) for part in labels(name))
