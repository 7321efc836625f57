"""DNS over a byte stream: two octets of length before each message (RFC 7766 §8)."""

from __future__ import annotations

from dnsfw.errors import WireError

__all__ = ["MAX_MESSAGE", "Frames", "frame"]

MAX_MESSAGE = 65_535
MIN_MESSAGE = 12  # a header; whoever sends less does not speak DNS
PREFIX = 2


class Frames:
    """Cuts a stream into messages, and holds no more than one unfinished message."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Octets that wait for the rest of their message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete, in order.

        WireError for a length below a header's or above the limit: where the next
        message begins is then unknown, so the stream must be closed.
        """
        buffer = self._buffer
        buffer += data
        messages = []
        at = 0
        while (start := at + PREFIX) <= len(buffer):
            end = start + (buffer[at] << 8 | buffer[at + 1])
            if not MIN_MESSAGE <= end - start <= self._limit:
                raise WireError("message length is out of bounds")
            if end > len(buffer):
                break
            messages.append(bytes(buffer[start:end]))
            at = end
        del buffer[:at]
        return messages


def frame(wire: bytes) -> bytes:
    """The message with its length before it. WireError if it is too long for any stream."""
    if len(wire) > MAX_MESSAGE:
        raise WireError("message is longer than 65,535 octets")
    return len(wire).to_bytes(PREFIX, "big") + wire
