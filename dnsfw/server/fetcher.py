"""Looks whether a source has something newer, and proposes it: downloaded, pinned or signed, of
a believable size, looked at by another process. Nothing is in force by it: who calls tries it
and accepts or drops the proposal. Every failure is a FetchError, and the copy stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from dnsfw.policy.copies import Copies, Copy
from dnsfw.policy.files import MAX_BYTES
from dnsfw.policy.inspect import answer, command, question
from dnsfw.policy.minisign import ENDING, MOST_BYTES
from dnsfw.policy.remote import LIST, POLICY, Remote, Told, judge
from dnsfw.server.fetch import Download, FetchError, Request, Stop, Way, fetch

__all__ = ["Fetcher", "WallClock"]

WallClock = Callable[[], float]

_LOOKING = 600.0  # seconds for the other process
_ENDS = "dnsfw ends"


class Fetcher:
    """One download at a time; `stop` ends it."""

    def __init__(self, copies: Copies, way: Way, wall: WallClock) -> None:
        self.copies = copies
        self._way = way
        self._wall = wall
        self.came: Callable[[], None] = _nothing  # called in a thread, when some of one has come
        self._stop = Stop()  # of the download under way
        self._ended = False
        self._one = asyncio.Lock()

    def stop(self) -> None:
        """The process is about to end."""
        self._ended = True
        self._stop(_ENDS)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody else fetches meanwhile, here or in another process. ConfigError."""
        async with self._one:
            with contextlib.ExitStack() as stack:
                await asyncio.to_thread(stack.enter_context, self.copies.alone())
                yield

    async def look(self, source: Remote) -> Copy | None:
        """The proposal; None where what is there is the newest. Only inside `alone`."""
        copy = self.copies.get(source)
        if copy is not None and source.sha256:
            return None  # nothing else would be taken
        scratch = await asyncio.to_thread(self.copies.scratch)
        try:
            return await self._look(source, copy, scratch)
        except OSError as error:
            raise FetchError(f"{self.copies.directory}: {error.strerror or error}") from None
        finally:
            scratch.unlink(missing_ok=True)

    async def accept(self, source: Remote) -> None:
        await asyncio.to_thread(self.copies.accept, source)

    async def drop(self, source: Remote) -> None:
        await asyncio.to_thread(self.copies.drop, source)

    async def _look(self, source: Remote, copy: Copy | None, scratch: Path) -> Copy | None:
        got = await self._fetch(_request(source, copy), scratch)
        if got is None or (copy is not None and got.sha256 == copy.sha256):
            assert copy is not None
            await self._same(source, copy, got)
            return None
        if source.sha256 and got.sha256 != source.sha256:
            raise FetchError(f"its SHA-256 is {got.sha256}, and the policy wants {source.sha256}")
        signature = await self._signature(source)
        path = await asyncio.to_thread(self.copies.place, scratch, got.sha256)
        told = await self._inspect(source, path, signature)
        self._judge(source, told, got.sha256, copy)
        now = int(self._wall())
        new = Copy(
            source.url, got.sha256, got.size, told.names, got.etag, got.modified,
            fetched=now, checked=now, revision=told.revision, expires=told.expires,
        )  # fmt: skip
        await asyncio.to_thread(self.copies.propose, source, new)
        return new

    async def _same(self, source: Remote, copy: Copy, got: Download | None) -> None:
        """The same bytes; a new signature may give them more time, and none may give less."""
        told = Told(copy.names, revision=copy.revision, expires=copy.expires)
        if source.key:
            signature = await self._signature(source)
            told = await self._inspect(source, self.copies.path(copy), signature)
            self._judge(source, told, copy.sha256, copy)
        if got is not None:
            copy = replace(copy, etag=got.etag, modified=got.modified)
        copy = replace(
            copy, checked=int(self._wall()), revision=told.revision, expires=told.expires
        )
        await asyncio.to_thread(self.copies.renew, source, copy)

    def _judge(self, source: Remote, told: Told, sha256: str, copy: Copy | None) -> None:
        before = (copy.names, copy.revision, copy.sha256) if copy else (0, None, "")
        if why := judge(source, told, sha256, before):
            raise FetchError(why)

    async def _fetch(self, request: Request, into: Path) -> Download | None:
        self._stop = Stop(_ENDS if self._ended else "")  # a deadline is one download's alone
        return await asyncio.to_thread(fetch, request, self._way, into, self._stop, self.came)

    async def _signature(self, source: Remote) -> bytes:
        if not source.key:
            return b""
        parts = urlsplit(source.url)
        url = parts._replace(path=parts.path + ENDING).geturl()
        scratch = await asyncio.to_thread(self.copies.scratch)
        try:
            demands = replace(source.demands, size=MOST_BYTES)
            request = Request(url, MOST_BYTES, demands.lines, demands.time, source.ca)
            await self._fetch(request, scratch)
            return scratch.read_bytes()
        except FetchError as error:
            raise FetchError(f"its signature {url}: {error}") from None
        finally:
            scratch.unlink(missing_ok=True)

    async def _inspect(self, source: Remote, path: Path, signature: bytes) -> Told:
        if source.what == POLICY and not source.key:
            return Told(0)  # the reload reads it
        argv, environment = command()
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(
            *argv, env=environment, stdin=pipe, stdout=pipe, stderr=null
        )
        try:
            async with asyncio.timeout(_LOOKING):
                said, _ = await child.communicate(question(source, path, signature))
        except TimeoutError:
            raise FetchError(f"nobody could read it in {_LOOKING:g} s") from None
        finally:
            if child.returncode is None:
                child.kill()
        found = answer(said)
        if found.told is None:
            raise FetchError(found.error.removeprefix(f"{source.url}: "))
        return found.told


def _nothing() -> None:
    """Nobody looks on."""


def _request(source: Remote, copy: Copy | None) -> Request:
    """A policy is one text that is read whole, so it has less room than a list."""
    demands = source.demands
    size = demands.size if source.what == LIST else min(demands.size, MAX_BYTES)
    etag, modified = (copy.etag, copy.modified) if copy else ("", "")
    return Request(
        source.url, size, demands.lines, float(demands.time), source.ca, etag, modified
    )  # fmt: skip
