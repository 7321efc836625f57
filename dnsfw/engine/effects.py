"""What the engine wants done, as values; `server.performer` carries them out in order.

`OpenThenReply` puts promise 1 into a type: there is no way to send an answer
that needs a grant without handing the grant over in the same effect.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, NewType

from dnsfw.model import Addr, Entry, Flow, Name, Nanos, Reason, RoleId, RuleId, Verdict
from dnsfw.values import dataclass
from dnsfw.wire.reply import Template

if TYPE_CHECKING:
    from dnsfw.engine.cache import CacheKey

AskId = NewType("AskId", int)


class Transport(Enum):
    __hash__ = object.__hash__  # Enum's own is written in Python

    UDP = "udp"
    TCP = "tcp"


class Client(NamedTuple):
    """Who asked and how: `route` is the server's own handle for the way back."""

    route: Hashable
    role: RoleId
    transport: Transport
    address: str = ""  # for notes only


class Reply(NamedTuple):
    """Send these wire bytes back to the client that asked."""

    client: Client
    wire: bytes


class Holder(NamedTuple):
    """A name that holds an address: what the journal keeps over a crash."""

    role: RoleId
    addr: Addr
    name: Name
    rule: RuleId
    until: Nanos
    chain: tuple[Name, ...] = ()  # the other names of its CNAME chain: a new rule may deny one


@dataclass(frozen=True, slots=True)
class Publish:
    """The kernel may answer this question by itself, `until` then: it was asked again.

    Whatever the answer tells is open for longer than that (promise 2). A hint: where there
    is no room for it, the question goes on coming to us.
    """

    key: CacheKey
    template: Template
    born: Nanos  # its TTLs count from here
    until: Nanos
    note: Note | None = None  # of a refusal: what each hit would have told


@dataclass(frozen=True, slots=True)
class Withdraw:
    """From now on the kernel gives none of the answers published so far.

    It stands before every effect that closes something, or changes how names are judged.
    """


class OpenThenReply(NamedTuple):
    """Journal the holders, write every entry to the kernel, and only then send the replies,
    and publish what needs these entries.

    If the write fails, give the effect to `Engine.on_open_failed` instead.
    """

    entries: tuple[Entry, ...]
    holders: tuple[Holder, ...]
    replies: tuple[Reply, ...]
    publish: tuple[Publish, ...] = ()


@dataclass(frozen=True, slots=True)
class Close:
    """Write these entries (an entry without grants is deleted); nobody waits for it."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """End these flows: the policy no longer allows what they are."""

    flows: tuple[Flow, ...]


class Ask(NamedTuple):
    """Send this query to an upstream, from a fresh connected socket with a random port.

    Every datagram that comes back before `deadline` goes to `Engine.on_answer`, which
    ignores junk; the socket is closed by `Forget` (or by the deadline).
    """

    ask: AskId
    upstream: int  # index into the engine's list
    transport: Transport
    wire: bytes
    deadline: Nanos


class Forget(NamedTuple):
    """Close the sockets of this Ask: it was answered or given up."""

    ask: AskId


class Note(NamedTuple):
    """Something an operator may want to know; never needed for correctness."""

    kind: str  # refused | filtered | shared | table-full | upstream-failed | ...
    verdict: Verdict
    reason: Reason
    role: RoleId
    name: Name
    rule: RuleId
    text: str = ""
    addr: Addr | None = None
    upstream: int | None = None  # who failed; only the server knows its address


Effect = Reply | OpenThenReply | Publish | Withdraw | Close | Cut | Ask | Forget | Note


def close(entries: Sequence[Entry]) -> list[Effect]:
    """One effect for these entries, if there are any."""
    return [Close(tuple(entries))] if entries else []
