"""How often somebody touched the wall: a counter that no line of a log can push away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnsfw.model import SECOND
from dnsfw.server.clock import Now

__all__ = ["Tampering"]


class Tampering:
    """Counts, keeps the last in words, and tells each."""

    def __init__(self, now: Now, said: Callable[[str, str], None]) -> None:
        self.count = 0
        self.last = ""
        self._at = now()
        self._now = now
        self._said = said

    def found(self, what: str) -> None:
        """Something of the wall was removed or put in its way, and is mended (or cannot be)."""
        self.count += 1
        self.last = what
        self._at = self._now()
        self._said("tamper", what)

    def row(self) -> dict[str, Any]:
        """For `status`."""
        ago = (self._now() - self._at) // SECOND if self.count else None
        return {"count": self.count, "last": self.last, "seconds_ago": ago}
