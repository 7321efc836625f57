"""A policy's `revision` only grows: an older file is not put in force over a newer one.

Kept beside the journal, as long as the wall may stand: a restart is no way back either.
`dnsfw down` forgets it, for whoever may take the wall down needs no older file.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from dnsfw.errors import ConfigError
from dnsfw.policy.policy import Policy

__all__ = ["Revision"]

_WRITTEN = re.compile(r"([0-9]{1,18})\n")  # as long as a policy can say
_LONGEST = 64


class Revision:
    """The newest that was in force. A disk that fails only forgets it."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "revision"

    def check(self, policy: Policy) -> None:
        """ConfigError when this policy is older; one without a revision has no age."""
        newest = self._read()
        if newest is not None and policy.revision is not None and policy.revision < newest:
            raise ConfigError(
                f"the policy has revision {policy.revision}, {newest} was in force: it does not "
                "go back; give it a later number, or take the wall down first (`dnsfw down`)"
            )

    def take(self, policy: Policy) -> None:
        """This policy is in force now."""
        if policy.revision is None:
            return
        with contextlib.suppress(OSError):
            scratch = self._path.with_suffix(".new")
            scratch.write_text(f"{policy.revision}\n")
            scratch.rename(self._path)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.with_suffix(".new").unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)

    def _read(self) -> int | None:
        try:
            with self._path.open() as file:
                found = _WRITTEN.fullmatch(file.read(_LONGEST))
        except (OSError, ValueError):
            return None
        return int(found[1]) if found else None
