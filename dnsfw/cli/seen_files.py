"""Logs as commands take them: files, or `-` for stdin, and what in them could not be read."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import IO

from dnsfw.cli.render import counts
from dnsfw.errors import ConfigError
from dnsfw.policy.seen import Seen, read_seen
from dnsfw.values import dataclass

__all__ = ["Logs"]

_FIRST = 3  # damaged lines that are named
_LIVE = "names.jsonl"
_OLD = "names-*.jsonl"


@dataclass(slots=True)
class Logs:
    """What was seen, each different thing once; the counts are added up."""

    seen: dict[tuple[object, ...], tuple[Seen, int]] = field(default_factory=dict)
    lines: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, paths: Iterable[str]) -> Logs:
        """ConfigError for a file that cannot be read, and where no line says what was wanted."""
        logs = cls()
        for path in [found for given in paths for found in _files(given)]:
            with _open(path) as file:
                logs._take(path, file)
        if not logs.seen:
            hashed = logs.unread["hashed"]
            told = f" ({logs._left_out()})" if logs.unread else ""
            remedy = "; hashed names cannot be judged" if hashed else ""
            raise ConfigError(f"no line says what was asked{told}{remedy}")
        return logs

    def _take(self, path: str, file: IO[str]) -> None:
        try:
            for item in read_seen(file):
                self.lines += 1
                if not isinstance(item, Seen):
                    self.unread[item.why] += 1
                    if item.why == "damaged":
                        self.damaged.append(f"{path}:{item.line}")
                    continue
                key = (*item.key, item.was)
                known = self.seen.get(key)
                self.seen[key] = (item, item.count + (known[1] if known else 0))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from None

    def notes(self) -> Iterator[str]:
        """For stderr: what was left out, and why."""
        if self.unread:
            yield f"not judged: {self._left_out()}"

    def _left_out(self) -> str:
        parts = []
        if hashed := self.unread["hashed"]:
            parts.append(counts(hashed, "hashed line"))
        if damaged := self.unread["damaged"]:
            first = ", ".join(self.damaged[:_FIRST])
            more = ", …" if damaged > _FIRST else ""
            parts.append(f"{counts(damaged, 'damaged line')} ({first}{more})")
        return ", ".join(parts)


def _files(given: str) -> list[str]:
    """A directory stands for the log in it, the oldest file first."""
    path = Path(given)
    if given == "-" or not path.is_dir():
        return [given]
    found = sorted(path.glob(_OLD), key=lambda old: old.stat().st_mtime)
    live = path / _LIVE
    if live.exists():
        found.append(live)
    if not found:
        raise ConfigError(f"{given}: no {_LIVE} in this directory")
    return list(map(str, found))


@contextmanager
def _open(path: str) -> Iterator[IO[str]]:
    if path == "-":
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        yield sys.stdin
        return
    try:
        file = Path(path).open(encoding="utf-8", errors="replace")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    with file:
        yield file
