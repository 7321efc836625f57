"""What somebody was seen to want, from a log: lines of `names.jsonl`, of `watch --json`, and the
rows of `--report`. Anybody could have written them, so each is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import chain
from typing import Any

from dnsfw.errors import ConfigError, WireError
from dnsfw.model import Addr, Name, Verdict, addr_from
from dnsfw.policy.asked import Asked, parse_asked
from dnsfw.policy.problems import Problems, printable
from dnsfw.policy.syntax_yaml import read_document
from dnsfw.values import dataclass
from dnsfw.wire.name import from_text

__all__ = ["Seen", "Unread", "read_seen"]

_LONGEST = 1 << 16  # of a line
_MOST = 64  # names and addresses of one line
_VEILED = "h:"
_WORDS = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}
# Of `watch` and of the log: what says that something was asked, and what became of it.
# An address that was taken out of an answer, a type, names that say too much: a rule allows the
# name all the same.
_OF_QUESTIONS = frozenset({"filtered", "qtype", "guarded"})
_KINDS = frozenset({"name", "connection", "refused", "audited", "denied"})
_DAMAGED = (
    ValueError, LookupError, TypeError, AttributeError, RecursionError, ConfigError, WireError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """One destination that a role wanted, and what became of it then."""

    role: str
    asked: Asked
    was: Verdict
    names: tuple[Name, ...] = ()  # of an address: who held it
    chain: tuple[Name, ...] = ()  # of a name: where CNAMEs led
    addresses: tuple[Addr, ...] = ()  # of a name: what it was
    count: int = 1
    who: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for lines that every policy judges alike."""
        return self.role, self.asked.text, self.names, self.chain, self.addresses


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that cannot be judged."""

    line: int
    why: str  # damaged | hashed


def read_seen(lines: Iterable[str]) -> Iterator[Seen | Unread]:
    """Line by line; a report, which is one document, as a whole. Lines about other things
    (a reload, lost lines) are passed over.
    """
    ahead: list[str] = []
    rest = iter(lines)
    for line in rest:
        ahead.append(line)
        if line.strip():
            break
    first = ahead[-1].strip() if ahead else ""
    if first == "{" or first.startswith("report:"):
        yield from _report("".join([*ahead, *rest]))
        return
    for number, line in enumerate(chain(ahead, rest), start=1):
        if line.strip():
            yield from _line(number, line)


def _line(number: int, line: str) -> Iterator[Seen | Unread]:
    try:
        row = json.loads(line) if len(line) <= _LONGEST else None
        if not isinstance(row, dict):
            raise ValueError
        if "observed" in row:  # a report in one line
            yield from _rows(row["observed"])
        elif row.get("kind", "name") in _KINDS:
            yield from _seen(row, number)
    except _DAMAGED:
        yield Unread(number, "damaged")


def _report(text: str) -> Iterator[Seen | Unread]:
    document = read_document(text, "the report", Problems())
    value = document.value if document is not None else None
    yield from _rows(value.get("observed") if isinstance(value, dict) else None)


def _rows(rows: object) -> Iterator[Seen | Unread]:
    """The rows of a report of `dnsfw run`."""
    if not isinstance(rows, list):
        yield Unread(1, "damaged")
        return
    for number, row in enumerate(rows, start=1):
        try:
            yield from _seen(row, number)
        except _DAMAGED:
            yield Unread(number, "damaged")


def _seen(row: Mapping[str, Any], number: int) -> Iterator[Seen | Unread]:
    name, address = _text(row, "name"), _text(row, "address")
    listed = [_checked(item) for item in row.get("addresses") or ()][:_MOST]
    if any(text.startswith(_VEILED) for text in (name, address, *listed)):
        yield Unread(number, "hashed")
        return
    port, protocol = row.get("port") or 0, _text(row, "protocol")
    if isinstance(port, bool) or not isinstance(port, int):
        raise ValueError
    names = tuple(from_text(_checked(item)) for item in (row.get("names") or ())[:_MOST])
    addresses = tuple(addr_from(ip_address(text)) for text in listed)
    if name and not protocol and _text(row, "reason") in _OF_QUESTIONS:
        return
    if name:
        asked = _asked(name, port, protocol, from_text(name))
    else:
        asked = _asked(address or listed[0], port, protocol)
        addresses = ()
    yield Seen(
        role=_text(row, "role") or "host",
        asked=asked,
        was=_WORDS[_text(row, "verdict")],
        names=names,
        chain=tuple(from_text(_checked(item)) for item in (row.get("chain") or ())[:_MOST]),
        addresses=addresses,
        count=_count(row.get("count", 1)),
        who=printable(_text(row, "command") or _text(row, "client"))[:64],
    )


def _asked(host: str, port: int, protocol: str, name: Name | None = None) -> Asked:
    """As `explain` takes it; names may hold octets that nobody types."""
    if protocol not in ("tcp", "udp"):
        tail = f"/{protocol}" if protocol else ""
    else:
        tail = f":{port}/{protocol}" if port else f"/{protocol}"
    if name is None:
        return parse_asked((f"[{host}]" if ":" in host and tail else host) + tail)
    stand_in = parse_asked(f"x.example{tail}")
    return Asked(name, False, stand_in.ports, host + tail)


def _text(row: Mapping[str, Any], key: str) -> str:
    return _checked(row.get(key, ""))


def _checked(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 53:
        raise ValueError
    return value
