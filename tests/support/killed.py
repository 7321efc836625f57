"""A daemon that is killed in the middle of a reload: a crash at every boundary, on purpose.

    python -c "from tests.support.killed import arm; arm(PLACE); …"

A file in PLACE names the boundary and the how manieth time it is reached, as `walk 3`. None of
this is in the daemon itself: what it runs is wrapped from outside, in its own process.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from dnsfw.datapath.swap import Generation, PolicyTables
from dnsfw.engine.engine import Engine
from dnsfw.server.answers import Book
from dnsfw.server.reload import Reloader

WISH = "kill-at"


class _Steps:
    """Counts the boundaries of one reload."""

    def __init__(self, place: Path) -> None:
        self._wish = place / WISH
        self._seen: Counter[str] | None = None  # of the reload under way
        self._at: tuple[str, int] | None = None

    def begin(self) -> None:
        self._seen, self._at = Counter(), None
        if self._wish.exists():
            name, number = self._wish.read_text().rsplit(" ", 1)
            self._at = name, int(number)

    def end(self) -> None:
        self._seen = None

    def reach(self, name: str) -> None:
        if self._seen is None:
            return
        self._seen[name] += 1
        if (name, self._seen[name]) == self._at:
            self._wish.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def arm(place: str) -> None:
    """From now on a reload of this process ends where the file says."""
    steps = _Steps(Path(place))
    put = Reloader._put_in_force

    async def _put_in_force(self: Reloader, policy: Any) -> Any:
        steps.begin()
        try:
            return await put(self, policy)
        finally:
            steps.end()

    Reloader._put_in_force = _put_in_force  # type: ignore[method-assign]
    for owner, attribute, name in (
        (PolicyTables, "aside", "aside"), (PolicyTables, "_bury", "bury"),
        (PolicyTables, "_finish", "finish"),
    ):  # fmt: skip
        _each(owner, attribute, lambda name=name: steps.reach(name))
    for owner, attribute, name in (
        (PolicyTables, "_set_role", "flip"), (Book, "withdraw", "withdrawn"),
        (Engine, "begin_swap", "begun"), (Generation, "renew", "generation"),
        (Engine, "judge_flows", "flows"), (Reloader, "_hand_over", "hand over"),
    ):  # fmt: skip
        _after(owner, attribute, lambda name=name: steps.reach(name))
    # what was judged is in the kernel when the next is
    _before(Engine, "judge_held", lambda: steps.reach("walk"))


def _each(owner: type, attribute: str, act: Callable[[], None]) -> None:
    real = getattr(owner, attribute)

    @wraps(real)
    def slices(*args: Any) -> Iterator[None]:
        for _ in real(*args):
            act()
            yield

    setattr(owner, attribute, slices)


def _after(owner: type, attribute: str, act: Callable[[], None]) -> None:
    real = getattr(owner, attribute)

    @wraps(real)
    def done(*args: Any) -> Any:
        value = real(*args)
        act()
        return value

    setattr(owner, attribute, done)


def _before(owner: type, attribute: str, act: Callable[[], None]) -> None:
    real = getattr(owner, attribute)

    @wraps(real)
    def begun(*args: Any) -> Any:
        act()
        return real(*args)

    setattr(owner, attribute, begun)
