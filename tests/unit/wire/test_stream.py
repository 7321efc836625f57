from __future__ import annotations

import pytest

from dnsfw.errors import WireError
from dnsfw.wire.stream import Frames, frame

ONE = b"1" * 12
TWO = b"2" * 500


def test_a_message_fed_octet_by_octet_comes_out_whole() -> None:
    frames = Frames()

    out = [message for octet in frame(ONE) for message in frames.feed(bytes([octet]))]

    assert out == [ONE]
    assert frames.pending == 0


def test_pipelined_messages_come_out_in_order_and_the_rest_waits() -> None:
    frames = Frames()

    assert frames.feed(frame(ONE) + frame(TWO) + frame(ONE)[:5]) == [ONE, TWO]
    assert frames.pending == 5
    assert frames.feed(frame(ONE)[5:]) == [ONE]


def test_a_thousand_pipelined_queries_in_one_read_all_come_out() -> None:
    assert len(Frames().feed(frame(ONE) * 1000)) == 1000


def test_half_a_length_is_no_message() -> None:
    assert Frames().feed(b"\0") == []


@pytest.mark.parametrize("length", [0, 1, 11])
def test_a_length_below_a_header_ends_the_stream(length: int) -> None:
    with pytest.raises(WireError):
        Frames().feed(length.to_bytes(2, "big"))


def test_a_length_above_the_limit_ends_the_stream_before_its_octets_come() -> None:
    with pytest.raises(WireError):
        Frames(limit=4096).feed((4097).to_bytes(2, "big"))


def test_the_longest_message_passes() -> None:
    wire = bytes(65_535)

    assert Frames().feed(frame(wire)) == [wire]


def test_a_message_too_long_for_a_frame_is_refused() -> None:
    with pytest.raises(WireError):
        frame(bytes(65_536))
