"""`dnsfw allow`, `deny` and `pause`: what holds for a time, by the daemon's clock and over
restarts.

Each is written beside the journal with its deadline in CLOCK_BOOTTIME, so that a daemon that
was away in between neither forgets nor prolongs one. It comes in force and goes by the same
swap as a reload; a grant that it opened ends with it, with or without a daemon.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.model import SECOND, Nanos
from dnsfw.policy.policy import HOST_NAME, Policy
from dnsfw.policy.problems import printable
from dnsfw.policy.temporary import WORDS, Temporary, canonical, decides, on_top
from dnsfw.server.clock import Now
from dnsfw.server.loading import make_rules

if TYPE_CHECKING:
    from dnsfw.server.reload import Reloader

__all__ = ["Temporaries", "TemporaryRules"]

LONGEST = 7 * 86400  # seconds; what is meant for longer belongs into the policy
_MOST = 256
_MOST_AT_ONCE = 32
_LONGEST_TEXT = 200
_LONGEST_FILE = 1 << 20
_SCRATCH = ".new"

Row = Mapping[str, Any]


class Temporaries:
    """The list on disk, and what it makes of a policy. A disk that fails is counted."""

    def __init__(self, run_dir: Path, now: Now, boot_id: str = "") -> None:
        self.failed = 0
        self._path = run_dir / "temporary.json"
        self._now = now
        self._boot_id = boot_id or _boot_id()
        self.items: tuple[Temporary, ...] = tuple(self._read())

    def alive(self) -> tuple[Temporary, ...]:
        now = self._now()
        return tuple(item for item in self.items if item.until > now)

    def on_top(self, policy: Policy) -> tuple[Policy, dict[Temporary, str]]:
        """The policy with what is alive, and what it does not take, with the reason."""
        return on_top(policy, self.alive(), make_rules)

    def keep(self, items: Iterable[Temporary]) -> None:
        """From now on these; all of them or the old ones on disk."""
        self.items = tuple(items)
        scratch = self._path.with_suffix(_SCRATCH)
        told = {"boot": self._boot_id, "items": [asdict(item) for item in self.items]}
        try:
            with scratch.open("w") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(told, file)
            scratch.rename(self._path)
        except OSError:
            self.failed += 1

    def remove(self) -> None:
        """The wall is gone, and they with it."""
        for path in (self._path, self._path.with_suffix(_SCRATCH)):
            path.unlink(missing_ok=True)

    def _read(self) -> list[Temporary]:
        """Nothing of another boot, whose clock means nothing now, and nothing that is over."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_LONGEST_FILE))
            if found["boot"] != self._boot_id:
                return []
            items = [Temporary(**item) for item in found["items"]]
            return [item for item in items if item.until > self._now()]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return []


class TemporaryRules:
    """What the commands ask for, and the end of each."""

    def __init__(
        self,
        kept: Temporaries,
        reloader: Reloader,
        now: Now,
        said: Callable[[str, str], None],
    ) -> None:
        self._kept = kept
        self._reloader = reloader
        self._now = now
        self._said = said
        self._ending: asyncio.Task[None] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Each with the time it has left, the first to end first."""
        now = self._now()
        return [
            {
                "word": item.word,
                "to": item.to,
                "role": item.role,
                "seconds": (item.until - now) // SECOND,
                "reason": item.reason,
                "by": item.by,
            }
            for item in sorted(self._kept.alive(), key=lambda item: item.until)
        ]

    async def ask(self, request: Row, uid: int) -> Row:
        """One request of the control socket: begin some, or end them."""
        began = self._now()
        wanted = _wanted(request, began, uid)
        if request.get("end"):
            return {"temporary": await self._end(wanted, request, uid)}
        written = self._reloader.written
        asked = await asyncio.to_thread(lambda: [canonical(written, i, make_rules) for i in wanted])
        late = self._now() - began  # another process reads it: seconds, on a busy host
        new = {item.key: replace(item, until=Nanos(item.until + late)) for item in asked}
        items = [item for item in self._kept.alive() if item.key not in new] + [*new.values()]
        if len(items) > _MOST:
            raise ConfigError(f"more than {_MOST} temporary rules; write them into the policy")
        await self._reloader.put_on_top(items)
        warnings = []
        for item in new.values():
            why = f": {item.reason}" if item.reason else ""
            self._said("temporary", f"{item.text}, {_left(item, self._now())}, by uid {uid}{why}")
            warnings += self._warnings(item)
        if self._kept.failed:
            warnings.append("the run directory is not writable: a restart forgets this")
        return {"temporary": [item.text for item in new.values()], "warnings": warnings}

    def _warnings(self, item: Temporary) -> list[str]:
        if item.word == "pause":
            return []
        policy = self._reloader.policy
        told = []
        if winner := decides(policy, item):
            told.append(f"{item.text}: {winner} is more specific and still decides")
        return told

    async def _end(self, wanted: list[Temporary], request: Row, uid: int) -> list[str]:
        """End those that were named; without a destination all of that word."""
        word, role = request["word"], request.get("role")
        keys = set()
        for item in wanted:
            if item.word != "pause":
                to = await asyncio.to_thread(_as_written, self._reloader.written, item)
                item = replace(item, to=to)
            keys.add(item.key)
        alive = self._kept.alive()
        if wanted and word != "pause":
            ended = [i for i in alive if i.key in keys and i.word == word]
        else:
            ended = [i for i in alive if i.word == word and role in (None, i.role)]
        if not ended:
            raise ConfigError(f"no such temporary {word} is in force; `dnsfw status` lists them")
        await self._reloader.put_on_top([item for item in alive if item not in ended])
        for item in ended:
            self._said("temporary", f"{item.text} was ended by uid {uid}")
        return [item.text for item in ended]

    def look(self) -> None:
        """Take out what is over. Called every second."""
        now = self._now()
        over = any(item.until <= now for item in self._kept.items)
        if over and (self._ending is None or self._ending.done()):
            self._ending = asyncio.get_running_loop().create_task(self._expire())

    def close(self) -> None:
        if self._ending is not None:
            self._ending.cancel()

    async def _expire(self) -> None:
        alive = self._kept.alive()
        over = [item for item in self._kept.items if item not in alive]
        try:
            await self._reloader.put_on_top(alive)
        except DnsfwError as error:  # the next look tries again
            self._said("trouble", f"a temporary rule is over and cannot be taken out: {error}")
            return
        for item in over:
            self._said("temporary", f"{item.text} is over")


def _wanted(request: Row, now: Nanos, uid: int) -> list[Temporary]:
    """What a request names, before the policy has been asked. ConfigError."""
    word, role, reason = request.get("word"), request.get("role"), request.get("reason") or ""
    to, seconds = request.get("to") or [], request.get("seconds")
    end = bool(request.get("end"))
    if word not in WORDS:
        raise ConfigError("a temporary rule is allow, deny or pause")
    if role is not None and not isinstance(role, str):
        raise ConfigError("--role is the name of a role")
    if not isinstance(to, list) or not all(isinstance(one, str) for one in to):
        raise ConfigError("a destination is a name, an address or a prefix")
    if len(to) > _MOST_AT_ONCE:
        raise ConfigError(f"more than {_MOST_AT_ONCE} at once; write them into the policy")
    if not isinstance(reason, str) or len(reason) > _LONGEST_TEXT or reason != printable(reason):
        raise ConfigError(f"a reason is one printable line of {_LONGEST_TEXT} characters at most")
    if end:
        seconds = 1
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ConfigError("for how long? say --for 10m")
    if seconds > LONGEST:
        raise ConfigError("longer than a week belongs into the policy")
    until = Nanos(now + int(seconds * SECOND))
    if word == "pause":
        if not end and not reason:
            raise ConfigError("why? say --reason TEXT: everybody who looks will read it")
        return [Temporary("pause", "", role or "", until, reason, uid)]
    if not to and not end:
        raise ConfigError(f"{word} what? name a destination")
    return [Temporary(word, one, role or HOST_NAME, until, reason, uid) for one in to]


def _as_written(policy: Policy, item: Temporary) -> str:
    """Its destination as it was kept; as it was said where the policy has become locked."""
    try:
        return canonical(policy, item, make_rules).to
    except ConfigError:
        return item.to


def _left(item: Temporary, now: Nanos) -> str:
    return f"for {max(1, (item.until - now + SECOND - 1) // SECOND)}s"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
