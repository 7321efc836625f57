"""Which number stands for which role, kept as long as a wall may: over reloads and restarts.

Grants, flows and sockets in the kernel know roles by number, and outlive the daemon. The
list lies beside the journal, is written before the kernel hears of a new number, and
keeps the names of roles that are gone: something of theirs may still be about.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from dnsfw.datapath import abi
from dnsfw.policy.policy import Policy
from dnsfw.server.reporter import role_text

__all__ = ["RoleNames"]

_LONGEST = 1 << 16  # bytes: 240 names of 63 octets are far below


class RoleNames:
    """Reads the list once; `take` adds to it. It never fails, but counts."""

    def __init__(self, directory: Path) -> None:
        self.failed = 0
        self._path = directory / "roles.json"
        self._known = self._read()

    @property
    def known(self) -> Mapping[str, int]:
        """What `load` wants to know."""
        return dict(self._known)

    def take(self, policy: Policy) -> None:
        """Remember the roles of a policy that is about to be in force."""
        new = {role.name: int(number) for number, role in policy.roles.items() if _named(number)}
        handed_out = set(new.values())
        known = {name: n for name, n in self._known.items() if n not in handed_out} | new
        if known != self._known:
            self._known = known
            self._write()

    def text(self, role: int) -> str:
        """A role as people call it, also one that is gone."""
        return next((name for name, n in self._known.items() if n == role), role_text(role))

    def remove(self) -> None:
        """The wall is gone: the next one may number as it likes."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, int]:
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_LONGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: n for name, n in found.items() if isinstance(n, int) and _named(n)}

    def _write(self) -> None:
        """Whole or not at all: half a list would give old grants to other roles."""
        scratch = self._path.with_suffix(".new")
        try:
            with scratch.open("w") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(self._known, file)
            scratch.rename(self._path)
        except OSError:
            self.failed += 1


def _named(role: int) -> bool:
    return abi.RoleId.FIRST <= role < abi.Limit.MAX_ROLES
