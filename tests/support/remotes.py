"""Sources over https in tests: a fetcher with a clock of its own, a reload that is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from dnsfw.errors import PolicyError
from dnsfw.policy.copies import Copies
from dnsfw.policy.remote import Remote
from dnsfw.server.fetch_ways import AnyWay
from dnsfw.server.fetcher import Fetcher
from tests.support.https import Https

BEGAN = 1_800_000_000.0  # seconds since 1970


@dataclass
class Wall:
    """A clock on the wall."""

    time: float = BEGAN

    def __call__(self) -> float:
        return self.time


def fetcher_in(directory: Path, wall: Wall | None = None) -> Fetcher:
    return Fetcher(Copies(directory), AnyWay(), wall or Wall())


def source_at(site: Https, path: str = "/ads.txt", **options: object) -> Remote:
    """A list there, whose CA is known."""
    given = {"format": "plain", "ca": str(site.ca.file), **options}
    return Remote(site.url(path), **given)  # type: ignore[arg-type]


def in_there(directory: Path, *patterns: str) -> list[Path]:
    """What lies in a directory."""
    return [path for pattern in patterns or ("*",) for path in directory.glob(pattern)]


async def update(fetcher: Fetcher, source: Remote) -> bool:
    """Look, and take what is new; whether there was something."""
    async with fetcher.alone():
        if await fetcher.look(source) is None:
            return False
        await fetcher.accept(source)
        return True


@dataclass
class Reloads:
    """What the daemon's reload is in its place."""

    asked: list[frozenset[str]] = field(default_factory=list)
    refuse: str = ""

    async def __call__(
        self, fresh: frozenset[str], keep: Callable[[], Awaitable[None]]
    ) -> None:
        self.asked.append(fresh)
        if self.refuse:
            raise PolicyError(self.refuse)
        await keep()
