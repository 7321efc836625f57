"""Who waits for doors: each role in its turn, so that a storm of one delays nobody else's."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from dnsfw.model import RoleId
from dnsfw.values import dataclass

__all__ = ["Knock", "Knocks"]

MOST_OF_A_ROLE = 16  # namespaces that wait; who is left out knocks again with its next socket


@dataclass(frozen=True, slots=True)
class Knock:
    """A guarded process asks where dnsfw has no socket."""

    netns: int  # its cookie
    pid: int
    role: RoleId


class Knocks:
    """A queue for one reader; `put` never waits."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[RoleId, OrderedDict[int, Knock]] = OrderedDict()
        self._more = asyncio.Event()

    def put(self, knock: Knock) -> bool:
        """False if its role has too many waiting. A namespace waits once, by its last knock."""
        mine = self._waiting.setdefault(knock.role, OrderedDict())
        if knock.netns not in mine and len(mine) >= MOST_OF_A_ROLE:
            return False
        mine[knock.netns] = knock
        self._more.set()
        return True

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def get(self) -> Knock:
        """The next one: of the role that has waited longest for its turn."""
        while not self._waiting:
            self._more.clear()
            await self._more.wait()
        role, mine = self._waiting.popitem(last=False)
        _, knock = mine.popitem(last=False)
        if mine:
            self._waiting[role] = mine  # at the end of the row
        return knock
