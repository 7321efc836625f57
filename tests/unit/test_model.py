"""The shared values: addresses as 16 bytes, sets of ports that stay canonical."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from dnsfw.model import PortRange, PortSet, addr_from, addr_text

TCP, UDP = 6, 17


@pytest.mark.parametrize(
    "text", ["203.0.113.7", "0.0.0.0", "2001:db8::1", "::", "::1", "64:ff9b::1"]
)
def test_an_address_reads_back_as_it_was_written(text: str) -> None:
    assert addr_text(addr_from(text)) == text


def test_an_ipv4_address_is_mapped_and_equals_its_mapped_form() -> None:
    assert addr_from("203.0.113.7") == addr_from("::ffff:203.0.113.7")
    assert addr_from(IPv4Address("203.0.113.7")) == bytes(10) + b"\xff\xff" + b"\xcb\x00\x71\x07"


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        addr_from("203.0.113")


def test_ranges_that_touch_or_overlap_become_one() -> None:
    merged = PortSet.of([PortRange(TCP, 81, 90), PortRange(TCP, 80, 80), PortRange(TCP, 85, 99)])

    assert merged.ranges == (PortRange(TCP, 80, 99),)


def test_protocols_are_never_merged() -> None:
    both = PortSet.of([PortRange(UDP, 53, 53), PortRange(TCP, 53, 53)])

    assert both.ranges == (PortRange(TCP, 53, 53), PortRange(UDP, 53, 53))
    assert both.covers(UDP, 53)
    assert not both.covers(UDP, 54)


def test_equal_sets_are_equal_however_they_were_written() -> None:
    one = PortSet.of([PortRange(TCP, 1, 5), PortRange(TCP, 6, 9)])

    assert one == PortSet.of([PortRange(TCP, 1, 9)])


def test_minus_leaves_both_sides_of_a_hole() -> None:
    left = PortSet.of([PortRange(TCP)]).minus(PortSet.of([PortRange(TCP, 80, 90)]))

    assert left.ranges == (PortRange(TCP, 0, 79), PortRange(TCP, 91, 65535))


def test_intersection_is_what_both_cover() -> None:
    one = PortSet.of([PortRange(TCP, 1, 100), PortRange(UDP, 1, 100)])
    other = PortSet.of([PortRange(TCP, 50, 200)])

    assert one.intersect(other) == PortSet.of([PortRange(TCP, 50, 100)])
    assert not one.intersect(PortSet())


def test_union_covers_what_either_covers() -> None:
    both = PortSet.of([PortRange(TCP, 1, 2)]).union(PortSet.of([PortRange(TCP, 3, 4)]))

    assert both.ranges == (PortRange(TCP, 1, 4),)
