"""gzip, unpacked in pieces: the same as the standard library's own, however it is cut."""

from __future__ import annotations

from gzip import compress
from random import Random

import pytest

from dnsfw.server.fetch_gzip import NotGzip, Unpacked

TEXT = b"".join(b"n%d.example\n" % n for n in range(50_000))


def unpacked(data: bytes, sizes: list[int]) -> bytes:
    stream, found, at = Unpacked(), b"", 0
    for size in [*sizes, len(data)]:
        for piece in stream.feed(data[at : at + size]):
            assert 0 < len(piece) <= 1 << 16
            found += piece
        at += size
    stream.end()
    return found


@pytest.mark.parametrize("seed", range(8))
def test_however_it_is_cut_the_text_is_the_same(seed: int) -> None:
    random = Random(seed)
    data = compress(TEXT[:300_000]) + compress(TEXT[300_000:]) + bytes(random.randrange(600))
    sizes = [random.choice([1, 2, 17, 999, 20_000]) for _ in range(50)]

    assert unpacked(data, sizes) == TEXT


@pytest.mark.parametrize(
    "data", [b"", b"\x1f", b"\x1f\x8b", compress(TEXT)[:-1], b"plain text", compress(b"x") + b"x"]
)
def test_what_is_none_or_not_whole_is_an_error(data: bytes) -> None:
    with pytest.raises(NotGzip):
        unpacked(data, [])


def test_no_piece_is_larger_than_what_is_read_at_once() -> None:
    """However much a few bytes hold."""
    bomb = compress(bytes(30_000_000))

    assert max(map(len, Unpacked().feed(bomb))) <= 1 << 16
