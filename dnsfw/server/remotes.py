"""The daemon's sources over https: looked at in time, tried by a reload, and told of.

Each has its own timetable with jitter, so that not all who read a list ask at the same second.
A failure of any kind leaves the last good content in force, is said, and is tried again
sooner. What has expired stays in force, too: an old block list closes more than none; but it
is said loudly, in the log, in `status` and by `status --require-enforcing` (row 127).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.model import SECOND, Nanos
from dnsfw.policy.copies import Copy
from dnsfw.policy.remote import LIST, POLICY, Remote
from dnsfw.server.clock import Now
from dnsfw.server.fetcher import Fetcher, WallClock
from dnsfw.server.provide import fill, provide
from dnsfw.values import dataclass

__all__ = ["Remotes", "Said"]

JITTER = 0.1  # of the time between two looks, both ways
RETRY = 60.0  # seconds after a failure; doubled up to the source's own time
LATE = 3  # times the refresh without a sign of life: then it is no longer as it was written
REMIND = 6 * 3600  # seconds between two alarms about what has expired

Said = Callable[[str, str], None]
Reload = Callable[[frozenset[str], Callable[[], Awaitable[None]]], Awaitable[object]]


class Random(Protocol):
    def random(self) -> float: ...


@dataclass(slots=True)
class _State:
    source: Remote
    due: Nanos
    fails: int = 0
    error: str = ""  # of the last look; empty where it went well
    since: float = 0.0  # seconds since 1970: the first failure in a row
    alarmed: float = 0.0  # when its expiry was said last
    copy: Copy | None = None


class Remotes:
    """What the policy in force takes from elsewhere."""

    def __init__(
        self,
        fetcher: Fetcher,
        place: Callable[[], Path],
        reload: Reload,
        said: Said,
        warn: Callable[[str], None],
        locked: Callable[[], bool],
        now: Now,
        wall: WallClock,
        rng: Random,
    ) -> None:
        self._fetcher = fetcher
        self._place = place  # of the policy in force
        self._reload = reload  # with the proposals of these digests, and how to keep them
        self._said = said
        self._warn = warn
        self._locked = locked  # in a lockdown nothing leaves, not even this
        self._now = now
        self._wall = wall
        self._rng = rng
        self._states: dict[str, _State] = {}
        self._task: asyncio.Task[None] | None = None

    def take(self, sources: Iterable[Remote]) -> None:
        """A policy with these sources is in force; those that were known keep their time."""
        old, self._states = self._states, {}
        for source in sources:
            known = old.get(source.digest)
            if known is not None:
                known.source = source
            state = self._states[source.digest] = known or _State(source, Nanos(0))
            state.copy = self._copy(source)
            if known is None:
                self._first(state)

    def look(self) -> None:
        """Called every second: begin what is due, say what has expired."""
        for state in self._states.values():
            self._alarm(state)
        idle = self._task is None or self._task.done()
        if idle and not self._locked() and any(self._due()):
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def now(self) -> tuple[list[str], list[str]]:
        """Look at every source at once: what is new, and what went wrong, a line each."""
        if self._locked():
            raise ConfigError("lockdown: nothing leaves; `dnsfw lockdown off` ends it")
        new: list[str] = []
        for state in tuple(self._states.values()):
            if await self._refresh(state):
                new.append(f"{state.source.url}: {_new(state.source, state.copy)}")
        failed = (state for state in self._states.values() if state.error)
        return new, [f"{s.source.url}: {s.error}; {_left(s)}" for s in failed]

    async def provide(self, path: Path) -> list[str]:
        """Fetch what the policy in this file needs and has no copy of; what else failed.

        NotThere: nothing is fetched for a policy that lacks something.
        """
        told: list[str] = []
        if self._locked():
            return told  # the load says what is missing
        await provide(path, self._fetcher, told=told.append)
        return told

    async def close(self) -> None:
        """End what is under way."""
        self._fetcher.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # one look

    def _due(self) -> Iterator[_State]:
        now = self._now()
        return (state for state in self._states.values() if state.due <= now)

    async def _work(self) -> None:
        for state in tuple(self._due()):
            if not self._locked():
                await self._refresh(state)

    async def _refresh(self, state: _State) -> bool:
        """Whether something newer is in force now."""
        self._plan(state, RETRY)  # whatever happens
        try:
            async with self._fetcher.alone():
                changed = await self._try(state.source)
        except DnsfwError as error:
            self._failed(state, str(error))
            return False
        state.copy = self._copy(state.source)
        self._well(state, changed)
        return changed

    async def _try(self, source: Remote) -> bool:
        """Whether there was something newer. It is in force, or the old one is, and on disk."""
        if await self._fetcher.look(source) is None:
            return False
        fresh = frozenset({source.digest})
        try:
            if source.what == POLICY:  # it may name lists that nobody had before
                await fill(self._place(), self._fetcher, fresh=fresh)
            await self._reload(fresh, lambda: self._fetcher.accept(source))
        except BaseException:
            await self._fetcher.drop(source)
            raise
        return True

    def _well(self, state: _State, changed: bool) -> None:
        source = state.source
        if state.error:
            self._said("remote", f"{source.url} is fetched again")
        state.fails, state.error, state.since = 0, "", 0.0
        self._plan(state, source.refresh)
        if changed:
            self._said("remote", f"{source.url}: {_new(source, state.copy)} is in force")

    def _failed(self, state: _State, why: str) -> None:
        state.fails += 1
        if not state.error:
            state.since = self._wall()
        if state.error != why:
            self._said("remote", f"{state.source.url}: {why}; {_left(state)}")
        state.error = why
        self._plan(state, min(RETRY * 2 ** min(state.fails - 1, 16), state.source.refresh))

    def _plan(self, state: _State, seconds: float) -> None:
        share = 1 + JITTER * (2 * self._rng.random() - 1)
        state.due = Nanos(self._now() + int(seconds * share * SECOND))

    def _first(self, state: _State) -> None:
        """The time of a source that was not known: as if we had been here when it was checked."""
        self._plan(state, state.source.refresh)
        age = state.source.refresh * 2.0
        if state.copy is not None:  # a clock that was set back is no reason to wait longer
            age = max(0.0, self._wall() - state.copy.checked)
        state.due = max(self._now(), Nanos(state.due - int(age * SECOND)))

    # what there is to tell

    def rows(self) -> list[dict[str, Any]]:
        """One a source, for `status`."""
        return [self._row(state) for state in self._states.values()]

    def wrong(self) -> Iterator[str]:
        """Why what is in force is not what the policy says."""
        for row in self.rows():
            if row["state"] in ("missing", "expired", "late"):
                yield row["told"]

    def _row(self, state: _State) -> dict[str, Any]:
        source, copy, wall = state.source, state.copy, self._wall()
        kind, told = self._judged(state)
        return {
            "url": source.url,
            "what": source.what,
            "state": kind,
            "told": told,
            "rules": copy.names if copy else 0,
            "age": int(wall - copy.fetched) if copy else None,
            "checked": int(wall - copy.checked) if copy else None,
            "revision": copy.revision if copy else None,
            "expires": int(copy.expires - wall) if copy and copy.expires is not None else None,
            "error": state.error,
            "failing": int(wall - state.since) if state.error else None,
            "next": max(0, (state.due - self._now()) // SECOND),
        }

    def _judged(self, state: _State) -> tuple[str, str]:
        source, copy, wall = state.source, state.copy, self._wall()
        if copy is None:
            return "missing", f"{source.url} was never fetched: its rule says nothing"
        if copy.expires is not None and copy.expires <= wall:
            return "expired", f"{source.url} has expired; what it said last stays in force"
        if not source.sha256 and wall - copy.checked > LATE * source.refresh:
            return "late", f"{source.url} was not refreshed for {LATE} times its refresh"
        if state.error:
            return "stale", f"{source.url} was not refreshed: {state.error}"
        return "good", ""

    def _alarm(self, state: _State) -> None:
        kind, told = self._judged(state)
        if kind not in ("expired", "late"):
            state.alarmed = 0.0
        elif self._wall() - state.alarmed >= REMIND:
            state.alarmed = self._wall()
            self._said("remote", told)  # who watches
            self._warn(f"ALARM: {told}")  # who reads the log for what is bad

    def _copy(self, source: Remote) -> Copy | None:
        try:
            return self._fetcher.copies.get(source)
        except ConfigError:
            return None


def _left(state: _State) -> str:
    """What is in force after a failure."""
    if state.copy is None:
        return "it was never fetched, so its rule says nothing"
    return "the last good one stays in force"


def _new(source: Remote, copy: Copy | None) -> str:
    words = ["a policy"]
    if copy is not None and source.what == LIST:
        words = [f"a list of {copy.names} {'rule' if copy.names == 1 else 'rules'}"]
    if copy is not None and copy.revision is not None:
        words.append(f"revision {copy.revision}")
    return ", ".join(words)
