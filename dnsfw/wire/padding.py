"""Options of our own queries, added hop by hop: padding (RFC 7830) and keepalive (RFC 7828).

Both go into the OPT record that `write_query` put last. Padding hides how long the name
was; it is worth something only where the rest is encrypted, and only if everybody pads to
the same lengths: queries to multiples of 128 octets (RFC 8467, section 4.1).
"""

from __future__ import annotations

from dnsfw.errors import WireError
from dnsfw.wire.codes import OPT
from dnsfw.wire.name import skip_name
from dnsfw.wire.parts import HEADER, PAIR

__all__ = ["BLOCK", "keepalive", "padded", "with_option"]

BLOCK = 128
PADDING = 12
KEEPALIVE = 11
_OPT_HEAD = 11  # root, type, class, TTL, rdlength
_ANY_KEEPALIVE = PAIR.pack(KEEPALIVE, 2)  # what an answer that says a time must hold


def with_option(wire: bytes, code: int, value: bytes = b"") -> bytes:
    """The query with one option more; unchanged where it has no OPT record."""
    at = _opt_at(wire)
    if at is None:
        return wire
    held = int.from_bytes(wire[at + 9 : at + 11], "big")
    head = wire[: at + 9] + (held + PAIR.size + len(value)).to_bytes(2, "big")
    return head + wire[at + 11 :] + PAIR.pack(code, len(value)) + value


def padded(wire: bytes, block: int = BLOCK) -> bytes:
    """The query, a multiple of `block` octets long; padding is the last option."""
    return with_option(wire, PADDING, bytes(-(len(wire) + PAIR.size) % block))


def keepalive(wire: bytes) -> float | None:
    """For how many seconds an idle connection may stay, as an answer says; None if it does not.

    Only a glance for the option's head: an answer that says no time costs one search.
    """
    at = wire.rfind(_ANY_KEEPALIVE)
    if at < HEADER.size or len(wire) < at + 6:
        return None
    return int.from_bytes(wire[at + 4 : at + 6], "big") / 10


def _opt_at(wire: bytes) -> int | None:
    """Where the one additional record of a query begins, if that is an OPT at its end."""
    if len(wire) < HEADER.size or wire[4:12] != b"\0\1\0\0\0\0\0\1":
        return None
    try:
        at = skip_name(wire, HEADER.size) + PAIR.size
    except WireError:
        return None
    fits = len(wire) >= at + _OPT_HEAD and wire[at] == 0
    return at if fits and int.from_bytes(wire[at + 1 : at + 3], "big") == OPT else None
