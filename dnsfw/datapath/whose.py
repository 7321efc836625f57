"""Whose a socket is, as the kernel decides it: the same order, for what userspace must judge.

Enrolled beats the deepest cgroup that the policy names, that beats a program's cgroup,
then come user, group, and `host`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from dnsfw.model import HOST, Rank, RoleId
from dnsfw.values import dataclass

Claim = tuple[RoleId, Rank]  # of a cgroup on everything below it


@dataclass(frozen=True, slots=True)
class Whose:
    """The subjects of sockets, by the kernel's numbers."""

    cgroups: Mapping[int, Claim] = field(default_factory=dict)
    users: Mapping[int, RoleId] = field(default_factory=dict)
    groups: Mapping[int, RoleId] = field(default_factory=dict)

    def claim(self, number: int, above: Claim | None) -> Claim | None:
        """What holds in a cgroup below one where `above` holds: of equals the deeper."""
        own = self.cgroups.get(number)
        if own is None or (above is not None and above[1] > own[1]):
            return above
        return own

    def role(self, claim: Claim | None, user: int | None, group: int | None = None) -> RoleId:
        """The role of a socket in a cgroup with this claim; None: nobody knows the owner."""
        if claim is not None:
            return claim[0]
        if user is not None and user in self.users:
            return self.users[user]
        return self.groups.get(group, HOST) if group is not None else HOST


def claims(top: Path, whose: Whose) -> Iterator[tuple[Path, int, Claim | None]]:
    """Every cgroup from `top` down, its id, and what holds there; those above count too."""
    above: dict[Path, Claim | None] = {}
    for place in reversed(_parents(top)):
        above[place] = whose.claim(_number(place), above.get(place.parent))
    for where, below, _ in os.walk(top):
        path = Path(where)
        with suppress(FileNotFoundError):  # it went away meanwhile
            number = _number(path)
            found = whose.claim(number, above.get(path.parent))
            above[path] = found
            yield path, number, found
        below.sort()


def changed(top: Path, before: Whose, after: Whose) -> dict[RoleId, list[int]]:
    """The processes that have another role now than before, by their new role."""
    found: dict[RoleId, list[int]] = {}
    same_ids = (before.users, before.groups) == (after.users, after.groups)
    old = {number: claim for _, number, claim in claims(top, before)}
    for path, number, claim in claims(top, after):
        was = old.get(number)
        if claim == was and (same_ids or claim is not None):
            continue
        for pid in pids(path):
            if (owner := owner_of(pid)) is None:
                continue
            role = after.role(claim, *owner)
            if role != before.role(was, *owner):
                found.setdefault(role, []).append(pid)
    return found


def pids(cgroup: Path) -> list[int]:
    """The processes of a cgroup, not of those below it."""
    try:
        text = (cgroup / "cgroup.procs").read_text()
    except OSError:  # gone, or a threaded cgroup
        return []
    return [int(pid) for pid in text.split() if pid != "0"]  # 0: of another PID namespace


def owner_of(pid: int, proc: Path = Path("/proc")) -> tuple[int, int] | None:
    """Real user and group, as sock_create asks for them; None if the process is gone."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for line in (proc / str(pid) / "status").read_text().splitlines():
            key, _, rest = line.partition(":")
            if key in ("Uid", "Gid"):
                found[key] = int(rest.split()[0])
    return (found["Uid"], found["Gid"]) if len(found) == 2 else None


def _number(cgroup: Path) -> int:
    return cgroup.stat().st_ino


def _parents(top: Path) -> list[Path]:
    """The cgroups above `top`, the nearest first."""
    device = top.stat().st_dev
    found: list[Path] = []
    for place in top.parents:
        if place.stat().st_dev != device:
            break
        found.append(place)
    return found
