"""DNS over a byte stream: two octets of length before each message (RFC 7766 §8)."""

from __future__ import annotations

from dnsfw.errors import WireError

__all__ = ["Frames", "frame"]

PREFIX = 2
MAX_MESSAGE = 65_535
MIN_MESSAGE = 12  # a header; whoever sends less does not speak DNS


class Frames:
    """Cuts a stream into messages; holds no more than one unfinished message."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = b""

    @property
    def pending(self) -> int:
        """Octets of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete, in order.

        WireError where a length is below a header's or above the limit: the stream
        cannot be read any further and must be closed.
        """
        buffer = self._buffer + data
        messages = []
        at = 0
        while len(buffer) - at >= PREFIX:
            length = buffer[at] << 8 | buffer[at + 1]
            if not MIN_MESSAGE <= length <= self._limit:
                raise WireError("message length is out of bounds")
            end = at + PREFIX + length
            if end > len(buffer):
                break
            messages.append(buffer[at + PREFIX : end])
            at = end
        self._buffer = buffer[at:]
        return messages


def frame(wire: bytes) -> bytes:
    """The message with its length before it. WireError if it is too long for any stream."""
    if len(wire) > MAX_MESSAGE:
        raise WireError("message is longer than 65,535 octets")
    return len(wire).to_bytes(PREFIX, "big") + wire
