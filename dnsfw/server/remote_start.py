"""A start that lacks something: what the policy takes from elsewhere is fetched before it is
read. There is no engine yet and maybe no wall. Where an earlier daemon's wall stands, it knows
our sockets by the same mark as later (and a wall that nobody can mark for stays closed to us).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dnsfw.model import Lockdown
from dnsfw.policy.copies import Copies
from dnsfw.policy.files import place_again
from dnsfw.policy.policy import Policy
from dnsfw.server.clock import Now
from dnsfw.server.fetch_command import mark_of_wall
from dnsfw.server.fetch_names import Names
from dnsfw.server.fetch_ways import OwnWay
from dnsfw.server.fetcher import Fetcher, WallClock
from dnsfw.server.loading import load_tested, recall, settings_of, sources_of
from dnsfw.server.options import Options, listen_on, wanted_upstreams
from dnsfw.server.provide import NotThere, lacks, provide
from dnsfw.server.remotes import Remotes
from dnsfw.server.removal import wall_stands
from dnsfw.server.resolvconf import find_upstreams
from dnsfw.server.upstream import Own

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["provide_at_start", "read_at_start", "remotes_of"]

LONGEST = 40.0  # seconds in which nothing comes; systemd gives a start a minute
_TOLD = 1.0  # seconds between two signs of life


async def read_at_start(
    path: Path,
    known: Mapping[str, int],
    options: Options,
    now: Now,
    wall: WallClock,
    warn: Callable[[str], None],
    longer: Callable[[float], None] = lambda seconds: None,
) -> Policy:
    """The policy: as the last start compiled it, if nothing has changed and it is whole; else
    fetched, compiled and tested. PolicyError, NotThere. `longer` hears for how many seconds
    more a download may go on.
    """
    kept = recall(path, known)
    if kept is not None and not lacks(kept.remotes, Copies()):
        return kept
    for missed in await provide_at_start(path, options, now, wall, longer):
        warn(missed)
    return load_tested(path, known, hurry=True)


async def provide_at_start(
    path: Path,
    options: Options,
    now: Now,
    wall: WallClock,
    longer: Callable[[float], None] = lambda seconds: None,
) -> list[str]:
    """Fetch what has no copy. What failed and may be missing is returned, a line each.

    NotThere: the policy cannot do without. Where nothing is missing, nothing is asked. As long
    as something comes it goes on; each download has its own `limits: time`.
    """
    copies, told = Copies(), list[str]()
    sources = await asyncio.to_thread(sources_of, path, copies)
    if all(copies.get(source) is not None for source in sources):
        return told
    loop = asyncio.get_running_loop()
    dns = settings_of(path, copies)
    upstreams = find_upstreams(wanted_upstreams(options, dns), listen_on(options, dns))
    own = _own(options)
    fetcher = Fetcher(copies, OwnWay(loop, Names(loop, upstreams, own, now), own), wall)
    try:
        async with asyncio.timeout(LONGEST) as end:
            fetcher.came = _Coming(loop, end, longer)
            await provide(path, fetcher, told=told.append)
    except TimeoutError:
        raise NotThere(
            f"of what the policy takes from elsewhere nothing came for {LONGEST:g} s, and there "
            "is no copy on disk; see `dnsfw check --fetch`"
        ) from None
    finally:
        fetcher.stop()
    return told


class _Coming:
    """Called in the thread of a download: puts the end off, and says so now and then."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: asyncio.Timeout,
        longer: Callable[[float], None],
    ) -> None:
        self._loop, self._end, self._longer = loop, end, longer
        self._next = 0.0

    def __call__(self) -> None:
        if self._loop.time() >= self._next:
            self._next = self._loop.time() + _TOLD
            self._loop.call_soon_threadsafe(self._put_off)

    def _put_off(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is over
            self._end.reschedule(self._loop.time() + LONGEST)
            self._longer(LONGEST)


def remotes_of(daemon: Daemon, wall: WallClock, warn: Callable[[str], None]) -> Remotes:
    """The daemon's, on its own sockets, over its own upstreams."""
    loop, service, kernel = asyncio.get_running_loop(), daemon.service, daemon.kernel
    names = Names(loop, service.upstreams.written, kernel.own, daemon.now)
    remotes = Remotes(
        Fetcher(Copies(), OwnWay(loop, names, kernel.own), wall),
        lambda: place_again(daemon.reloader.path),
        daemon.reloader.renew,
        daemon.reporter.said,
        warn,
        lambda: kernel.sink.locked is not Lockdown.OFF,
        daemon.now,
        wall,
        secrets.SystemRandom(),
    )
    remotes.take(daemon.reloader.policy.remotes)
    return remotes


def _own(options: Options) -> Own:
    """Marks a socket for the wall that stands, if one does."""
    found = None if options.dns_only or not wall_stands() else mark_of_wall(options)
    return _nothing if found is None else found


def _nothing(fd: int) -> None:
    """Nobody guards this host yet."""
