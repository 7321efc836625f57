"""SipHash-1-3 over the labels of a name, from the right: kernel/include/dnsfw/siphash.h's twin.

Keyed, so that nobody who does not know the key makes two names look alike. Each label goes in
with its length octet in words of eight octets, little-endian; the state after a label is that
of the suffix, and goes on to the next one.
"""

from __future__ import annotations

from dnsfw.model import Name
from dnsfw.wire.name import suffix_starts

__all__ = ["Key", "State", "begin", "end", "hash_name", "more"]

Key = tuple[int, int]
State = tuple[int, int, int, int]

_ALL = 0xFFFF_FFFF_FFFF_FFFF
_WORD = 8  # octets
_WHOLE = 128  # labels: more than a name has


def begin(key: Key) -> State:
    """The state of the root."""
    low, high = key
    return (
        low ^ 0x736F6D6570736575,
        high ^ 0x646F72616E646F6D,
        low ^ 0x6C7967656E657261,
        high ^ 0x7465646279746573,
    )


def more(state: State, label: bytes) -> State:
    """One label further to the left; `label` has its length octet."""
    v0, v1, v2, v3 = state
    for at in range(0, len(label), _WORD):
        word = int.from_bytes(label[at : at + _WORD], "little")
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    return v0, v1, v2, v3


def end(state: State) -> tuple[int, int]:
    """The fingerprint's 64 bits, and the 64 that say where it lies."""
    v0, v1, v2, v3 = state
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    place = v1 ^ v2
    return place ^ v0 ^ v3, place


def hash_name(key: Key, name: Name, home: int = _WHOLE) -> tuple[int, int]:
    """A whole name in wire form: its fingerprint, and the place of its last `home` labels."""
    state = begin(key)
    starts = list(suffix_starts(name))[:-1]  # the last is the root's
    place = end(state)[1]
    for labels, at in enumerate(reversed(starts)):
        state = more(state, name[at : at + name[at] + 1])
        if labels < home:
            place = end(state)[1]
    return end(state)[0], place


def _round(v0: int, v1: int, v2: int, v3: int) -> State:
    v0 = v0 + v1 & _ALL
    v1 = ((v1 << 13 | v1 >> 51) & _ALL) ^ v0
    v0 = (v0 << 32 | v0 >> 32) & _ALL
    v2 = v2 + v3 & _ALL
    v3 = ((v3 << 16 | v3 >> 48) & _ALL) ^ v2
    v0 = v0 + v3 & _ALL
    v3 = ((v3 << 21 | v3 >> 43) & _ALL) ^ v0
    v2 = v2 + v1 & _ALL
    v1 = ((v1 << 17 | v1 >> 47) & _ALL) ^ v2
    v2 = (v2 << 32 | v2 >> 32) & _ALL
    return v0, v1, v2, v3
