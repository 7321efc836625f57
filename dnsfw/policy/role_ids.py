"""Which number the kernel knows a role by: the same over reloads and restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2s

from dnsfw.model import RoleId, abi

FIRST = int(abi.RoleId.FIRST)
_SPACE = int(abi.Limit.MAX_ROLES) - FIRST


def assign_ids(names: Iterable[str], known: Mapping[str, int] | None = None) -> dict[str, RoleId]:
    """An id for each name, in 16..255. A name that is `known` keeps its id; a new one takes
    the hash of its name, or the next that is free. Ids of names that are gone are handed out
    last: sockets and grants of theirs may still be about.

    At most 240 names; the order of the file changes nothing.
    """
    wanted = sorted(set(names))
    kept = _usable(known or {})
    found = {name: kept[name] for name in wanted if name in kept}
    gone = set(kept.values()) - set(found.values())
    for name in wanted:
        if name not in found:
            taken = set(found.values())
            found[name] = _free(name, taken | gone) or _free(name, taken) or RoleId(0)
    return found


def _usable(known: Mapping[str, int]) -> dict[str, RoleId]:
    """What was handed out before, without what no version hands out: a journal is a file."""
    seen: set[int] = set()
    usable: dict[str, RoleId] = {}
    for name, number in sorted(known.items()):
        if FIRST <= number < FIRST + _SPACE and number not in seen:
            seen.add(number)
            usable[name] = RoleId(number)
    return usable


def _free(name: str, taken: set[RoleId]) -> RoleId | None:
    start = int.from_bytes(blake2s(name.encode(), digest_size=8).digest(), "big")
    for step in range(_SPACE):
        number = RoleId(FIRST + (start + step) % _SPACE)
        if number not in taken:
            return number
    return None
