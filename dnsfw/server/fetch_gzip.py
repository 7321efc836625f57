"""What a server or a publisher has compressed with gzip (RFC 1952), unpacked piece by piece.

Nothing here says how much may come of it: a small file may hold very much. Who takes the pieces
counts them and stops; no piece is larger than what is read from a socket at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

__all__ = ["MAGIC", "NotGzip", "Unpacked"]

MAGIC = b"\x1f\x8b"
_PIECE = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS  # zlib's own way to say: a gzip header, and its checksum


class NotGzip(ValueError):
    """It is none, or damaged, or ends too early."""


class Unpacked:
    """One stream: several members in a row are one text."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes give. NotGzip."""
        while True:
            if self._member.eof:
                data = data.lstrip(b"\0")  # gzip pads to blocks of a tape
                if not data:
                    return
                self._member = zlib.decompressobj(_GZIP)
            try:
                piece = self._member.decompress(data, _PIECE)
            except zlib.error:
                raise NotGzip("what came is no gzip, or damaged") from None
            if piece:
                yield piece
            if self._member.eof:
                data = self._member.unused_data
            else:
                data = self._member.unconsumed_tail
                if not data and len(piece) < _PIECE:
                    return

    def end(self) -> None:
        """No more will come. NotGzip where more was promised."""
        if not self._member.eof:
            raise NotGzip("what is compressed broke off before its end")
