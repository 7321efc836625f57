"""Whose a socket or a packet is, written to the kernel: the policy's subjects as table rows.

Rows are written as a difference, new ones first and dead ones last, so that nothing is
unassigned for a moment, not over a restart either. What does not exist yet is looked for
again by `refresh`. Cgroups that dnsfw made itself (for enrolled processes and for
programs) are registered here; they stay over a restart for as long as they exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Uses
from dnsfw.datapath.resolve import Found, Resolver
from dnsfw.datapath.rows import CGROUPS, IDS, LIMITS, TABLES, Row, cgroup_row, claim, whose
from dnsfw.datapath.sockdiag import cgroup_ids
from dnsfw.datapath.swap import Table
from dnsfw.datapath.tables import is_full, number_key
from dnsfw.datapath.whose import Claim, Whose
from dnsfw.errors import DatapathError
from dnsfw.model import Rank, RoleId, Subject

_ONLY = number_key(0)
_ALL = sum(TABLES.values())


class Subjects:
    """The only writer of `dnsfw_cgroups`, `_ids`, `_sources`, `_devices`, `_via`."""

    def __init__(self, maps: Mapping[str, Table], resolver: Resolver) -> None:
        """Reads back what an earlier process wrote."""
        self._maps = maps
        self._resolver = resolver
        self._shared = False
        self._rows: dict[tuple[str, bytes], Row] = {
            (name, key): Row(name, key, value)
            for name in TABLES
            for key, value in maps[name].items()
        }
        self._registered: dict[int, Claim] = {
            int.from_bytes(row.key, "little"): found
            for row in self._table(CGROUPS)
            if (found := claim(row.value))[1] is not Rank.CGROUP
        }
        self._subjects: tuple[Subject, ...] = ()
        self._found = Found()

    @property
    def whose(self) -> Whose:
        """What is in force now."""
        tables = {name: {r.key: r.value for r in self._table(name)} for name in (CGROUPS, IDS)}
        return whose(tables[CGROUPS], tables[IDS])

    @property
    def absent(self) -> tuple[str, ...]:
        """What does not exist on this host now, as `cgroup nginx.service`."""
        return tuple(self._found.absent)

    @property
    def places(self) -> frozenset[Path]:
        """The directories to watch: when something happens there, `refresh`."""
        return frozenset(self._found.places)

    @property
    def guests(self) -> frozenset[str]:
        """The devices that lead to guests, whether they exist or not."""
        return frozenset(self._found.guests)

    @property
    def registered(self) -> dict[int, Claim]:
        self._hear()
        return dict(self._registered)

    def share(self) -> None:
        """From now on the helper registers cgroups too, at any moment: no hook may skip them."""
        self._shared = True
        self._use(self._used() | Uses.CGROUPS)

    def assign(self, subjects: Sequence[Subject]) -> None:
        """These instead of those before. DatapathError: a table is full, or cgroups are missing."""
        self._subjects = tuple(subjects)
        self._resolver.forget_names()
        self.prune()
        self._look()

    def refresh(self) -> bool:
        """Looks again what exists; True if that changed whose something is."""
        self._hear()
        return self._look()

    def _look(self) -> bool:
        found = self._resolver.resolve(self._subjects)
        for number, made in self._registered.items():
            found.claim(cgroup_row(number, made))
        changed = self._write(found.rows)
        self._found = found
        return changed

    def register(self, number: int, role: RoleId, rank: Rank) -> None:
        self._hear()
        self._registered[number] = (role, rank)
        self._look()

    def forget(self, number: int) -> None:
        self._hear()
        if self._registered.pop(number, None) is not None:
            self._look()

    def prune(self) -> None:
        """Registered cgroups that are gone need no row. Their ids never come back."""
        self._hear()
        if self._registered:
            here = cgroup_ids(self._resolver.host.top())
            self._registered = {n: c for n, c in self._registered.items() if n in here}

    def verify(self) -> tuple[str, ...]:
        """Writes again what somebody else changed; the tables that were not as they should be."""
        touched = []
        self._hear()
        for name in TABLES:
            table, ours = self._maps[name], {r.key: r.value for r in self._table(name)}
            theirs = dict(table.items())
            if theirs == ours:
                continue
            touched.append(name)
            for key, value in ours.items():
                if theirs.get(key) != value:
                    table.update(key, value)
            for key in theirs.keys() - ours.keys():
                table.delete(key)
        if self._used() != self._uses():
            touched.append("dnsfw_settings")
            self._use(self._uses())
        return tuple(touched)

    # what is written

    def _hear(self) -> None:
        """The cgroups that the helper has registered since, and those that it has forgotten."""
        if not self._shared:
            return
        now = {key: value for key, value in self._maps[CGROUPS].items()
               if claim(value)[1] is not Rank.CGROUP}  # fmt: skip
        for row in tuple(self._table(CGROUPS)):
            if claim(row.value)[1] is not Rank.CGROUP and row.key not in now:
                del self._rows[CGROUPS, row.key]
        self._rows |= {(CGROUPS, key): Row(CGROUPS, key, value) for key, value in now.items()}
        self._registered = {
            int.from_bytes(key, "little"): claim(value) for key, value in now.items()
        }

    def _write(self, wanted: Mapping[tuple[str, bytes], Row]) -> bool:
        new = [row for key, row in wanted.items() if self._rows.get(key) != row]
        dead = [row for key, row in self._rows.items() if key not in wanted]
        self._use(self._used() | _bits(wanted.values()))
        for row in new:
            try:
                self._maps[row.table].update(row.key, row.value)
            except DatapathError as error:
                if not is_full(error):
                    raise
                raise DatapathError(
                    f"{row.table} is full: it takes {LIMITS[row.table]} subjects"
                ) from error
            self._rows[row.table, row.key] = row
        for row in dead:
            self._maps[row.table].delete(row.key)
            del self._rows[row.table, row.key]
        self._use(self._uses())
        return bool(new or dead)

    def _table(self, name: str) -> Iterator[Row]:
        return (row for (table, _), row in self._rows.items() if table == name)

    def _uses(self) -> int:
        return _bits(self._rows.values()) | (Uses.CGROUPS if self._shared else 0)

    def _used(self) -> int:
        return self._settings().uses & _ALL

    def _settings(self) -> abi.Settings:
        return abi.Settings.unpack(
            self._maps["dnsfw_settings"].lookup(_ONLY) or bytes(abi.Settings.SIZE)
        )

    def _use(self, bits: int) -> None:
        now = self._settings()
        if now.uses & _ALL != bits:
            uses = (now.uses & ~_ALL) | bits
            self._maps["dnsfw_settings"].update(_ONLY, now._replace(uses=uses).pack())


def _bits(rows: Iterable[Row]) -> int:
    return sum({TABLES[row.table] for row in rows})
