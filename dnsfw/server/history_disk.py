"""The history of `explain` on disk (sqlite), so that it survives a restart and a kill -9.

One thread writes, in batches; the loop only puts rows into a bounded queue, and what does not
fit is lost and counted. Readers have connections of their own: with a write-ahead log they
disturb nobody. Rows have a limit and an age. A file that is damaged is put aside and begun
anew: history decides nothing, so it may be lost, but never keep the daemon from starting.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnsfw.server.capabilities import drop_all
from dnsfw.server.gather import gather
from dnsfw.server.who_asks import Who
from dnsfw.values import dataclass

if TYPE_CHECKING:  # only who keeps a history pays for it
    import sqlite3

__all__ = ["FILE", "HistoryDisk", "Kept", "KeptEvent", "KeptLearnt", "KeptRefusals"]

FILE = "history.sqlite"
ROWS = 200_000  # of each kind: about 40 MB
_QUEUE = 4096
_IDLE = 5.0  # seconds
_PRUNE_EVERY = 60.0
_PAUSE = 5.0  # seconds that a disk without room is left alone
_GOODBYE = 2.0
_BUSY = 2000  # milliseconds a reader waits
_CLEAR, _VEILED = 1, 2  # versions of the file: what is in the one is not kept in the other
_SCHEMA = """
create table if not exists learnt (
  role text, name text, address text, rule text, chain text, first real, last real,
  times integer, asker text, primary key (role, name, address)) without rowid;
create index if not exists learnt_address on learnt (role, address);
create index if not exists learnt_last on learnt (last);
create table if not exists refused (
  role text, what text, reason text, rule text, first real, last real, count integer,
  asker text, primary key (role, what)) without rowid;
create index if not exists refused_last on refused (last);
create table if not exists events (id integer primary key, at real, role text, row text);
"""
_LEARNT = """
insert into learnt values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set rule = excluded.rule, chain = excluded.chain, last = excluded.last,
  times = times + excluded.times, asker = excluded.asker
"""
_REFUSED = """
insert into refused values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set reason = excluded.reason, rule = excluded.rule, last = excluded.last,
  count = count + excluded.count,
  asker = case when excluded.asker = '' then asker else excluded.asker end
"""
_EVENT = "insert or replace into events values (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class KeptLearnt:
    """A name that opened (or closed) an address; names and addresses may be veiled."""

    role: str
    name: str
    address: str
    rule: str
    chain: tuple[str, ...]
    first: float
    last: float
    times: int
    asker: Who | str  # a text when it comes back


@dataclass(frozen=True, slots=True)
class KeptRefusals:
    """How often a name or an address was refused, and to whom last."""

    role: str
    what: str
    reason: str
    rule: str
    first: float
    last: float
    count: int
    asker: Who | str


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """A happening as `watch` told it, and what it was about."""

    id: int
    at: float
    role: str
    row: dict[str, Any]


Kept = KeptLearnt | KeptRefusals | KeptEvent


class HistoryDisk:
    """`put` never blocks and never raises. The other methods are for threads that may wait."""

    def __init__(
        self,
        directory: Path,
        retention: int,
        asker: Callable[[Who], str],
        *,
        veiled: bool = False,
        rows: int = ROWS,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0  # rows for which there was no room, or no time
        self.wrong = ""  # why the last ones could not be written
        self.path = directory / FILE
        self.last_event = 0  # the number of the last one that is kept
        self._retention = retention
        self._asker = asker
        self._version = _VEILED if veiled else _CLEAR
        self._rows = rows
        self._wall = wall
        self._queue: queue.Queue[Kept | None] = queue.Queue(_QUEUE)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._write, name="history", daemon=True)
        self._thread.start()
        self._ready.wait(_GOODBYE)

    def put(self, kept: Kept) -> None:
        try:
            self._queue.put_nowait(kept)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        with suppress(queue.Full):
            self._queue.put(None, timeout=_GOODBYE)
        self._thread.join(_GOODBYE)

    # for a thread that may wait

    def learnt(self, role: str, column: str, value: str, most: int) -> list[KeptLearnt]:
        """What a name opened (also on the way of a chain), or who opened an address."""
        if column == "address":
            where, values = "role = ? and address = ?", [role, value]
        else:
            where = "role = ? and (name = ? or instr(chain, ?))"
            values = [role, value, json.dumps(value)]
        found = self._read(
            f"select * from learnt where {where} order by last desc limit ?", [*values, most]
        )
        return [_learnt(row) for row in found]

    def refused(self, role: str, what: str) -> KeptRefusals | None:
        for row in self._read("select * from refused where role = ? and what = ?", [role, what]):
            return KeptRefusals(*row)
        return None

    def event(self, number: int) -> KeptEvent | None:
        for row in self._read("select * from events where id = ?", [number]):
            return KeptEvent(row[0], row[1], row[2], json.loads(row[3]))
        return None

    def _read(self, sql: str, values: Iterable[object]) -> list[Any]:
        """No rows from a file that is not there, or damaged."""
        import sqlite3

        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
                database.execute(f"pragma busy_timeout = {_BUSY}")
                return database.execute(sql, tuple(values)).fetchall()
        except (sqlite3.Error, ValueError):
            return []

    # the thread that writes

    def _write(self) -> None:
        import sqlite3

        drop_all()  # privileges belong to a thread, and this one only writes
        database = self._open()
        self._ready.set()
        going, pruned = True, 0.0
        while going:
            batch, going = gather(self._queue, _IDLE)
            try:
                if database is None:
                    database = self._open()
                if database is not None and batch:
                    _store(database, batch, self._asker)
                if database is not None and self._wall() - pruned >= _PRUNE_EVERY:
                    pruned = self._wall()
                    self._prune(database)
                if database is None:
                    self.lost += len(batch)
                else:
                    self.wrong = ""
            except sqlite3.Error as error:
                self.lost += len(batch)
                self.wrong = str(error)
                database = self._again(database, error)
                if going:
                    time.sleep(_PAUSE)
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()

    def _open(self) -> sqlite3.Connection | None:
        import sqlite3

        for _ in range(2):
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                self.wrong = str(error)
                if not _is_damage(error) or not self._put_aside():
                    return None
            except OSError as error:
                self.wrong = error.strerror or str(error)
                return None
        return None

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        self.path.parent.mkdir(0o750, parents=True, exist_ok=True)
        # The owner's alone, before sqlite writes the first byte; its other files take this mode.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(self.path, flags, 0o600))
        database = sqlite3.connect(self.path, isolation_level=None)
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = normal")
            database.execute("pragma journal_size_limit = 4194304")
            database.execute("pragma secure_delete = on")  # what is deleted is gone (row 137)
            (version,) = database.execute("pragma user_version").fetchone()
            if version not in (0, _CLEAR, _VEILED):
                raise sqlite3.DatabaseError(f"a history of another version, {version}")
            database.executescript(_SCHEMA)
            if version not in (0, self._version):
                _forget(database)
            database.execute(f"pragma user_version = {self._version}")
            (told,) = database.execute("pragma quick_check(1)").fetchone()
            if told != "ok":
                raise sqlite3.DatabaseError(told)
            (last,) = database.execute("select coalesce(max(id), 0) from events").fetchone()
        except sqlite3.Error:
            database.close()
            raise
        self.last_event = max(self.last_event, last)
        return database

    def _again(
        self, database: sqlite3.Connection | None, error: sqlite3.Error
    ) -> sqlite3.Connection | None:
        """After an error of one batch: a full disk may have room later, a damaged file not."""
        if not _is_damage(error):
            return database
        import sqlite3

        if database is not None:
            with suppress(sqlite3.Error):
                database.close()
        self._put_aside()
        return None

    def _put_aside(self) -> bool:
        """One damaged file is kept for whoever wants to look; an older one is not."""
        try:
            self.path.replace(self.path.with_suffix(".damaged"))
        except OSError:
            return False
        for tail in ("-wal", "-shm"):
            with suppress(OSError):
                self.path.with_name(self.path.name + tail).unlink()
        return True

    def _prune(self, database: sqlite3.Connection) -> None:
        """What is too old, and the oldest of what is too many."""
        oldest = self._wall() - self._retention
        for table, at, key in (
            ("learnt", "last", ""), ("refused", "last", ""), ("events", "at", "id")
        ):  # fmt: skip
            database.execute(f"delete from {table} where {at} < ?", [oldest])
            order = key or at
            database.execute(
                f"delete from {table} where {order} < (select {order} from {table} "
                f"order by {order} desc limit 1 offset ?)",
                [self._rows - 1],
            )


def _learnt(row: tuple[Any, ...]) -> KeptLearnt:
    role, name, address, rule, chain, *rest = row
    return KeptLearnt(role, name, address, rule, tuple(json.loads(chain)), *rest)


def _is_damage(error: sqlite3.Error) -> bool:
    """Corrupt, or no database at all; a full disk and a lock have classes of their own."""
    import sqlite3

    return type(error) is sqlite3.DatabaseError


def _forget(database: sqlite3.Connection) -> None:
    """Names in clear are not left lying beside veiled ones, nor the other way round."""
    for table in ("learnt", "refused", "events"):
        database.execute(f"delete from {table}")
    database.execute("vacuum")


def _store(
    database: sqlite3.Connection, batch: Iterable[Kept], asker: Callable[[Who], str]
) -> None:
    database.execute("begin immediate")
    try:
        for kept in batch:
            sql, row = _row(kept, asker)
            database.execute(sql, row)
        database.execute("commit")
    except BaseException:
        if database.in_transaction:
            database.execute("rollback")
        raise


def _row(kept: Kept, asker: Callable[[Who], str]) -> tuple[str, tuple[object, ...]]:
    """The statement that keeps it, and its values."""
    if isinstance(kept, KeptEvent):
        return _EVENT, (kept.id, kept.at, kept.role, json.dumps(kept.row))
    who = asker(kept.asker) if isinstance(kept.asker, Who) else kept.asker
    if isinstance(kept, KeptLearnt):
        return _LEARNT, (
            kept.role, kept.name, kept.address, kept.rule, json.dumps(kept.chain), kept.first,
            kept.last, kept.times, who,
        )  # fmt: skip
    return _REFUSED, (
        kept.role, kept.what, kept.reason, kept.rule, kept.first, kept.last, kept.count, who
    )  # fmt: skip
