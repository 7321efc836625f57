"""What was refused (or would have been, under `mode: audit`), as a bounded table of rows.

`dnsfw run` prints it at the end, `dnsfw learn` makes a policy of it. A row is one thing
that somebody wanted: a name, or an address and a port, by one command. What repeats is
counted; where the table is full, who has the most rows makes room, so that a flood of
one program hides nobody else's rows (and is told in `left_out`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any, NamedTuple

from dnsfw.datapath import abi
from dnsfw.engine.effects import Note
from dnsfw.model import Addr, Name, Reason, RoleId, Verdict, addr_text
from dnsfw.server.escape import safe
from dnsfw.server.reporter import protocol_text, reason_text, role_text
from dnsfw.values import dataclass
from dnsfw.wire.name import to_text

__all__ = ["MAX_ROWS", "Asker", "Observed"]

MAX_ROWS = 4096
_ADDRESSES_KEPT = 4  # of one name: enough to show where it leads
_NOTED = frozenset({"refused", "audited", "filtered"})
# The address hooks see an attempt, in the process that makes it; what the packet hooks see
# of the same attempt afterwards (`mode: audit` lets it pass) is not a second one.
_ATTEMPTS = frozenset({abi.Hook.CONNECT, abi.Hook.SENDMSG, abi.Hook.BIND})
_UDP = 17  # connect() of it sends nothing: getaddrinfo only asks for a source address (RFC 6724)

Names = Callable[[RoleId, Addr], Iterable[Name]]  # who holds an address, or held it last


class Asker(NamedTuple):
    """The process behind a query, as far as it is known."""

    pid: int = 0
    command: str = ""


class _Key(NamedTuple):
    role: str
    what: str  # a name, or an address that no name led to
    port: int
    protocol: str  # empty: a name, refused before anybody said for which port
    reason: str
    command: str


@dataclass(slots=True)
class _Row:
    verdict: str
    rule: str
    first: float
    last: float
    pid: int
    count: int = 1
    named: bool = False
    attempted: bool = False  # an address hook saw it
    sent: bool = False  # something left, or would have: not a bare connect() of UDP
    addresses: dict[str, None] = field(default_factory=dict)


class Observed:
    """Fed with notes and kernel events; gives rows that are ready for JSON and safe to print."""

    def __init__(
        self,
        names: Names,
        rule_text: Callable[[int], str],
        wall_clock: Callable[[], float],
        role_name: Callable[[int], str] = role_text,
        max_rows: int = MAX_ROWS,
    ) -> None:
        """`wall_clock` gives seconds since 1970: rows are for people and files."""
        self.left_out = 0  # rows that made room
        self._names = names
        self._rule_text = rule_text
        self._wall_clock = wall_clock
        self._role_name = role_name
        self._max_rows = max_rows
        self._rows: dict[_Key, _Row] = {}
        self._held: Counter[str] = Counter()  # rows by command
        self._askers: dict[tuple[str, str, str], str] = {}  # role, name, reason: who asked last

    def note(self, note: Note, asker: Asker | None = None, times: int = 1) -> None:
        """A name that was refused, or an address that was taken out of its answer."""
        if note.kind not in _NOTED:
            return
        asker = asker or Asker()
        # An audited note has the reason in words: the enum only says that it passed.
        reason = note.text if note.reason is Reason.AUDITED else reason_text(note.reason)
        key = _Key(
            self._role_name(note.role), to_text(note.name), 0, "", safe(reason),
            safe(asker.command),
        )  # fmt: skip
        if not asker.command:  # only the first of many queries is looked at
            key = self._known(key)
        row = self._row(key, note.verdict, note.rule, asker.pid)
        row.count += times - 1
        row.named = row.sent = True
        if asker.command:
            self._remember(key)
        if note.addr is not None:
            _add(row.addresses, addr_text(note.addr))

    def event(self, event: abi.Event) -> None:
        """A packet or a connection that the kernel refused. Our own self-test does not count."""
        if event.role == abi.RoleId.PROBE or event.hook == abi.Hook.SOCK_CREATE:
            return  # the latter only asks for doors
        addr = Addr(event.addr)
        text = addr_text(addr)
        name = next(iter(self._names(RoleId(event.role), addr)), None)
        key = _Key(
            self._role_name(event.role), to_text(name) if name else text, event.port,
            protocol_text(event.proto), reason_text(event.reason), safe(event.comm),
        )  # fmt: skip
        known = self._rows.get(key)
        attempt = event.hook in _ATTEMPTS
        if known is not None and known.attempted and not attempt:
            known.last = self._wall_clock()
            known.sent = True
            return
        row = self._row(key, event.verdict, event.rule, event.pid)
        row.named = name is not None
        row.attempted = row.attempted or attempt
        row.sent = row.sent or event.hook != abi.Hook.CONNECT or event.proto != _UDP
        _add(row.addresses, text)

    def rows(self) -> list[dict[str, Any]]:
        """One a thing that was wanted, the oldest first."""
        return [_plain(key, row) for key, row in self._rows.items()]

    def __len__(self) -> int:
        return len(self._rows)

    def _remember(self, key: _Key) -> None:
        if len(self._askers) >= self._max_rows:
            self._askers.clear()
        self._askers[key.role, key.what, key.reason] = key.command

    def _known(self, key: _Key) -> _Key:
        """The row of the same name, whoever asked for it."""
        last = self._askers.get((key.role, key.what, key.reason), "")
        return key._replace(command=last)

    def _row(self, key: _Key, verdict: int, rule: int, pid: int) -> _Row:
        now = self._wall_clock()
        if (row := self._rows.get(key)) is not None:
            row.count += 1
            row.last = now
            row.pid = pid or row.pid
            return row
        if len(self._rows) >= self._max_rows:
            self._make_room()
        word = "allow" if verdict == Verdict.ALLOW else "deny"
        row = self._rows[key] = _Row(word, self._rule_text(rule), now, now, pid)
        self._held[key.command] += 1
        return row

    def _make_room(self) -> None:
        """The newest row of whoever has the most: what came before a flood stays."""
        ((greedy, _),) = self._held.most_common(1)
        victim = next(key for key in reversed(self._rows) if key.command == greedy)
        del self._rows[victim]
        self._held[greedy] -= 1
        self.left_out += 1


def _add(addresses: dict[str, None], text: str) -> None:
    if len(addresses) < _ADDRESSES_KEPT:
        addresses[text] = None


def _plain(key: _Key, row: _Row) -> dict[str, Any]:
    return {
        "role": key.role,
        "verdict": row.verdict,  # what became of it: `allow` under mode audit
        "name": key.what if row.named else "",
        "addresses": list(row.addresses),
        "port": key.port,
        "protocol": key.protocol,
        "reason": key.reason,
        "rule": row.rule,
        "count": row.count,
        "first": int(row.first),
        "last": int(row.last),
        "pid": row.pid,
        "command": key.command,
        "sent": row.sent,
    }
