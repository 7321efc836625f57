"""The log of names: who asked for what, and what came of it, one JSON line each.

Only if the policy says so (`log: {names: all}`), and never at the expense of an answer: the
loop puts what passed into a bounded queue, and a thread makes lines of it. What repeats within
a window is counted; what is more than the queue, the disk, or a few hundred lines a second can
take is lost, and the next line says how much. Answers that a cache gave (the kernel's too) were
asked for before, and leave no line of their own.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dnsfw.engine.effects import Client, Effect, Note, OpenThenReply, Reply
from dnsfw.errors import WireError
from dnsfw.model import SECOND, Nanos, RoleId
from dnsfw.policy.compile_log import LogSettings
from dnsfw.policy.policy import Policy
from dnsfw.server.asklog_file import LogFiles
from dnsfw.server.asklog_rows import Heard, name_row, who_row
from dnsfw.server.capabilities import drop_all
from dnsfw.server.clock import Now
from dnsfw.server.gather import gather
from dnsfw.server.kernel_refusals import Refused
from dnsfw.server.veil import Veil
from dnsfw.server.who_asks import NOBODY, CgroupPaths, Who
from dnsfw.values import dataclass
from dnsfw.wire.name import skip_name

__all__ = ["AskLog"]

WINDOW = 60 * SECOND  # likes within it are one line with a count
LINES_A_SECOND = 200
BURST = 2000
_ALIKE_KEPT = 8192
_QUEUE = 4096
_IDLE = 5.0  # seconds between two looks at what is too old
_PAUSE = 5.0  # seconds that a disk without room is left alone
_GOODBYE = 2.0
_HEADER = 12
_IN = b"\0\1"
_NXDOMAIN = 3
_REPLY = b"\0\0\x80\x03\0\1" + bytes(6)  # of a header: an answer, one question, NXDOMAIN
_PAIR = 4  # octets of a question after its name
_REFUSED = frozenset({"refused", "audited", "filtered", "table-full"})

WhoFinder = Callable[[Client | None], Who]


@dataclass(slots=True)
class _Alike:
    since: Nanos
    heard: Heard
    count: int = 0  # of its likes since then


class AskLog:
    """`told`, `event` and `note` are called by the loop; they neither wait nor raise."""

    def __init__(
        self,
        settings: LogSettings,
        directory: Path,
        veil: Veil,
        now: Now,
        policy: Callable[[], Policy],
        who: WhoFinder,
        paths: CgroupPaths,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0  # lines for which there was no room, or no time
        self.written = 0
        self.wrong = ""  # why the last ones could not be written
        self.directory = directory
        self._settings = settings
        self._files = LogFiles(directory, settings.retention, settings.size)
        self._veil = veil
        self._now = now
        self._policy = policy
        self._who = who
        self._paths = paths
        self._wall = wall
        self._alike: OrderedDict[Hashable, _Alike] = OrderedDict()
        self._tokens = float(BURST)
        self._filled = now()
        self._told_lost = 0
        self._queue: queue.Queue[Heard | dict[str, Any] | None] = queue.Queue(_QUEUE)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._write, name="names", daemon=True)
        self._thread.start()
        self._ready.wait(_GOODBYE)

    # the loop

    def told(self, effects: Iterable[Effect]) -> None:
        """What a query, or an answer to one, led to."""
        replies: list[Reply] = []
        notes: list[Note] = []
        for effect in effects:
            if isinstance(effect, Reply):
                replies.append(effect)
            elif isinstance(effect, OpenThenReply):
                replies += effect.replies
            elif isinstance(effect, Note):
                notes.append(effect)
        if not replies or (self._settings.names == "refused" and not _refused(notes)):
            return
        policy, seen = self._policy(), tuple(notes)
        for reply in replies:
            self._heard(reply, seen, policy)

    def refused(self, refused: Refused) -> None:
        """A name that the kernel refused, without a reply of ours: as if it had been one."""
        policy, note = self._policy(), refused.note
        if not self._kept(note.role, policy):
            return
        asked = note.name + refused.qtype.to_bytes(2, "big") + _IN
        key = (note.role, asked, _NXDOMAIN, refused.who.address)
        if not self._is_like(key) and self._may_write():
            who = refused.who if self._settings.askers else NOBODY
            heard = Heard(self._wall(), note.role, _REPLY + asked, (note,), who, policy)
            self._remember(key, _Alike(self._now(), heard))
            self._put(heard)

    def event(self, role: RoleId, key: Hashable, row: Callable[[], dict[str, Any]]) -> None:
        """A connection or a packet that the kernel refused, or would have."""
        policy = self._policy()
        if not self._kept(role, policy) or self._is_like(key) or not self._may_write():
            return
        told = {"at": round(self._wall(), 3), **row(), "count": 1}
        heard = Heard(told["at"], role, b"", (), NOBODY, policy)
        self._remember(key, _Alike(self._now(), heard))
        self._put(_veiled_event(told, self._veil, askers=self._settings.askers))

    def flush(self) -> None:
        """Once a second: the counts of windows that are over."""
        now = self._now()
        while self._alike:
            key, known = next(iter(self._alike.items()))
            if now - known.since < WINDOW:
                break
            del self._alike[key]
            self._count(known)

    def close(self) -> None:
        """What is queued is written, if the disk takes it in time."""
        for known in self._alike.values():
            self._count(known)
        self._alike.clear()
        with suppress(queue.Full):
            self._queue.put(None, timeout=_GOODBYE)
        self._thread.join(_GOODBYE)

    def row(self) -> dict[str, Any]:
        """For `status`."""
        return {
            "names": self._settings.names,
            "directory": str(self.directory),
            "hash": bool(self._veil),
            "written": self.written,
            "lost": self.lost,
            "wrong": self.wrong,
        }

    def _heard(self, reply: Reply, notes: tuple[Note, ...], policy: Policy) -> None:
        client, wire = reply.client, reply.wire
        if not self._kept(client.role, policy):
            return
        try:
            end = skip_name(wire, _HEADER) + _PAIR
        except WireError:
            return
        asked = wire[_HEADER:end].lower()
        key = (client.role, asked, wire[3] & 0x0F, client.address)
        if self._is_like(key) or not self._may_write():
            return
        who = self._who(client) if self._settings.askers else NOBODY
        heard = Heard(self._wall(), client.role, wire, notes, who, policy)
        self._remember(key, _Alike(self._now(), heard))
        self._put(heard)

    def _kept(self, role: RoleId, policy: Policy) -> bool:
        found = policy.roles.get(role)
        return found is None or found.name not in self._settings.without

    def _is_like(self, key: Hashable) -> bool:
        known = self._alike.get(key)
        if known is None:
            return False
        if self._now() - known.since < WINDOW:
            known.count += 1
            return True
        del self._alike[key]
        self._count(known)
        return False

    def _remember(self, key: Hashable, alike: _Alike) -> None:
        self._alike[key] = alike
        if len(self._alike) > _ALIKE_KEPT:
            self._count(self._alike.popitem(last=False)[1])

    def _count(self, known: _Alike) -> None:
        """The likes of a line, as one more line."""
        heard = known.heard
        if not known.count or not heard.wire:
            return
        self._put(
            Heard(
                self._wall(), heard.role, heard.wire, heard.notes, heard.who, heard.policy,
                known.count,
            )
        )  # fmt: skip

    def _may_write(self) -> bool:
        now = self._now()
        filled = self._tokens + (now - self._filled) / SECOND * LINES_A_SECOND
        self._tokens, self._filled = min(float(BURST), filled), now
        if self._tokens < 1:
            self.lost += 1
            return False
        self._tokens -= 1
        return True

    def _put(self, what: Heard | dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(what)
        except queue.Full:
            self.lost += 1

    # the thread

    def _write(self) -> None:
        drop_all()  # privileges belong to a thread, and this one only writes
        self._ready.set()
        going, pruned = True, 0.0
        while going:
            if not 0 <= self._wall() - pruned < _IDLE:
                pruned = self._wall()
                self._files.prune(pruned)
            batch, going = gather(self._queue, _IDLE)
            if batch:
                self._save(batch, going)
        self._files.close()

    def _save(self, batch: list[Heard | dict[str, Any]], going: bool) -> None:
        rows = [row for row in map(self._row, batch) if row is not None]
        if self.lost > self._told_lost:
            rows.append({"at": round(self._wall(), 3), "kind": "lost", "count": self._new_losses()})
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        try:
            self._files.append(text, self._wall())
        except OSError as error:  # no room, no right: enforcement does not depend on it
            self._files.close()
            self.lost += len(rows)
            self.wrong = error.strerror or str(error)
            if going:
                time.sleep(_PAUSE)
        else:
            self.written += len(rows)
            self.wrong = ""

    def _new_losses(self) -> int:
        new, self._told_lost = self.lost - self._told_lost, self.lost
        return new

    def _row(self, item: Heard | dict[str, Any]) -> dict[str, Any] | None:
        if isinstance(item, dict):
            return item
        try:
            row = name_row(item, self._veil)
        except Exception:  # the edge of the thread: a line is never worth the rest of them
            self.lost += 1
            return None
        if row is not None and self._settings.askers:
            row |= who_row(item.who, self._paths, self._veil)
        return row


def _refused(notes: Iterable[Note]) -> bool:
    return any(note.kind in _REFUSED for note in notes)


def _veiled_event(row: dict[str, Any], veil: Veil, *, askers: bool) -> dict[str, Any]:
    """What `watch` tells of it, without what the policy does not want kept."""
    row["kind"] = "connection"
    row["names"] = [veil.name(name) for name in row.get("names", ())]
    row["address"] = veil.address(row.get("address", ""))
    if veil:
        row["rule"] = ""
    if not askers:
        row.pop("pid", None)
        row.pop("command", None)
    return row
