"""What a policy takes from elsewhere and has no copy of yet: fetched before it is read.

At the first start, when a reload meets a new URL, before `run`, and for `check --fetch`. There is
nothing good to lose then, so what comes is taken at once. What is newer than a copy is taken if
the policy compiles with it and passes its own tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.policy.copies import Copies
from dnsfw.policy.remote import Remote
from dnsfw.server.fetch import FetchError
from dnsfw.server.fetcher import Fetcher, WallClock
from dnsfw.server.loading import load_tested, revision_of, sources_of

__all__ = ["NotThere", "fill", "lacks", "provide", "provide_now"]

Told = Callable[[str], None]


class NotThere(ConfigError):
    """A source that the policy cannot do without has no copy, and could not be fetched."""


async def provide(
    path: Path, fetcher: Fetcher, *, newest: bool = False, told: Told = lambda text: None
) -> None:
    """Fetch what has no copy (`newest`: and look for newer content of the rest).

    NotThere: one that the policy needs did not come; the others were tried all the same. What
    else fails is told.
    """
    if not newest:
        found = await asyncio.to_thread(sources_of, path, fetcher.copies)
        if not lacks(found, fetcher.copies):
            return
    async with fetcher.alone():
        await fill(path, fetcher, newest=newest, told=told)


def provide_now(
    path: Path, wall: WallClock, *, newest: bool = False, upstreams: Sequence[str] = ()
) -> list[str]:
    """The same for a command, which asks the policy's upstreams, or these; what failed and may."""
    copies, told = Copies(), list[str]()
    sources = sources_of(path, copies)
    if sources if newest else lacks(sources, copies):
        asyncio.run(_provide_now(path, copies, wall, newest, upstreams, told.append))
    return told


async def _provide_now(
    path: Path, copies: Copies, wall: WallClock, newest: bool, upstreams: Sequence[str], told: Told
) -> None:
    from dnsfw.server.fetch_command import command_way  # a daemon has a way of its own

    fetcher = Fetcher(copies, command_way(path, copies, upstreams), wall)
    await provide(path, fetcher, newest=newest, told=told)


def lacks(sources: Iterable[Remote], copies: Copies) -> bool:
    """Whether one of them has no copy yet."""
    return any(copies.get(source) is None for source in sources)


async def fill(
    path: Path,
    fetcher: Fetcher,
    *,
    newest: bool = False,
    told: Told = lambda text: None,
    fresh: frozenset[str] = frozenset(),
) -> None:
    """The same for whoever is in `alone`; `fresh` proposals count as copies."""
    done, newer, missing = set(fresh), list[Remote](), list[str]()
    while True:
        copies = Copies(fetcher.copies.directory, fresh | {source.digest for source in newer})
        found = await asyncio.to_thread(sources_of, path, copies)
        todo = [source for source in found if source.digest not in done]
        todo = [source for source in todo if newest or copies.get(source) is None]
        if not todo:
            break
        for source in todo:  # a policy first: what it names is found in the next round
            done.add(source.digest)
            try:
                if await _one(source, fetcher):
                    newer.append(source)
            except FetchError as error:
                if copies.get(source) is None and not source.optional:
                    missing.append(f"{source.url}: {error}")
                else:
                    told(f"{source.url}: not fetched: {error}")
    await _settle(path, fetcher, newer, copies, told)
    if missing:
        raise NotThere(_sentence(missing))


async def _one(source: Remote, fetcher: Fetcher) -> bool:
    """Whether there is a proposal in the place of something good. FetchError."""
    had = fetcher.copies.get(source) is not None
    if await fetcher.look(source) is None:
        return False
    if not had:
        await fetcher.accept(source)
    return had


async def _settle(
    path: Path, fetcher: Fetcher, newer: Iterable[Remote], copies: Copies, told: Told
) -> None:
    """Take what is newer if the policy is as good with it: the next start must not fail."""
    why = await asyncio.to_thread(_worse, path, copies, fetcher.copies) if newer else ""
    for source in newer:
        if why:
            told(f"{source.url}: not taken, for with what is newer the policy fails: {why}")
            await fetcher.drop(source)
        else:
            await fetcher.accept(source)


def _worse(path: Path, new: Copies, old: Copies) -> str:
    """Why the policy must not change to these copies; empty where it may."""
    try:
        policy = load_tested(path, {}, new)
    except DnsfwError as error:
        return str(error).partition("\n")[0]
    with suppress(DnsfwError):  # what is wrong already cannot get worse
        before = revision_of(path, old)
        if before is not None and policy.revision is not None and policy.revision < before:
            return f"its revision {policy.revision} is older than {before}"
    return ""


def _sentence(missing: Iterable[str]) -> str:
    return "\n".join((
        *missing,
        "the policy cannot do without it, and there is no copy on disk; for a list, "
        "`optional: true` starts without it",
    ))  # fmt: skip
