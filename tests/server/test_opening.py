"""Many answers, one write; and nothing is told that is not open, whatever part of it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from dnsfw.engine.effects import Client, Holder, OpenThenReply, Reply, Transport
from dnsfw.errors import DatapathError
from dnsfw.model import HOST, Addr, Entry, Grant, Nanos, PortRange, PortSet, RuleId, Verdict
from dnsfw.server.faults import Faults
from dnsfw.server.opening import Opening
from dnsfw.wire.name import from_text

NAME = from_text("www.example.com")
GRANT = Grant(Nanos(9), RuleId(9), PortSet((PortRange(6, 443, 443),)), Verdict.ALLOW)


def addr(number: int) -> Addr:
    return Addr(bytes(15) + bytes((number,)))


def opening(number: int, *, new: bool = True, wire: bytes = b"") -> OpenThenReply:
    """An answer that tells one address; `new`: which was not open before."""
    at = addr(number)
    entries = (Entry(HOST, at, (GRANT,)),) if new else ()
    reply = Reply(Client(None, HOST, Transport.UDP), wire or b"%d" % number)
    return OpenThenReply(entries, (Holder(HOST, at, NAME, GRANT.rule, GRANT.until),), (reply,))


@dataclass
class Kernel:
    """Journal, tables and clients: what happened, in order."""

    bad: Addr | None = None  # this address cannot be written
    error: Exception = field(default_factory=lambda: DatapathError("full"))
    done: list[object] = field(default_factory=list)
    faults: Faults = field(default_factory=lambda: Faults(lambda text: None))

    def __post_init__(self) -> None:
        self.opening = Opening(self, self, self.faults, self.opened, self.failed)  # type: ignore[arg-type]

    def add(self, holders: Sequence[Holder]) -> None:
        self.done.append(("journal", len(holders)))

    def write(self, entries: Sequence[Entry]) -> None:
        if self.bad in [entry.addr for entry in entries]:
            raise self.error
        self.done.append(("write", len(entries)))

    def opened(self, effects: Sequence[OpenThenReply]) -> None:
        self.done += [effect.replies[0].wire for effect in effects]

    def failed(self, effect: OpenThenReply) -> None:
        self.done.append(("failed", effect.replies[0].wire))

    def take(self, *effects: OpenThenReply) -> list[object]:
        for effect in effects:
            self.opening.add(effect)
        self.opening.commit()
        return self.done


def test_one_write_of_each_for_all_and_then_the_replies() -> None:
    assert Kernel().take(opening(1), opening(2), opening(3)) == [
        ("journal", 3), ("write", 3), b"1", b"2", b"3",
    ]  # fmt: skip


def test_one_alone_is_written_alone_and_none_is_no_work() -> None:
    kernel = Kernel()

    assert kernel.take() == []
    assert kernel.take(opening(1)) == [("journal", 1), ("write", 1), b"1"]
    assert not kernel.opening.waiting


def test_where_it_fails_each_is_tried_by_itself() -> None:
    """One answer that the kernel does not take is one client's SERVFAIL."""
    done = Kernel(bad=addr(2)).take(opening(1), opening(2), opening(3))

    assert done == [
        ("journal", 3), ("write", 1), b"1", ("failed", b"2"), ("write", 1), b"3",
    ]  # fmt: skip


def test_an_address_that_was_not_opened_is_told_by_nobody_else() -> None:
    """The second stood on what the first one wrote: it had nothing to write itself."""
    done = Kernel(bad=addr(2)).take(opening(1), opening(2), opening(2, new=False, wire=b"too"))

    assert done == [
        ("journal", 3), ("write", 1), b"1", ("failed", b"2"), ("failed", b"too"),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [DatapathError("full"), IndexError()], ids=["known", "a bug"])
def test_whatever_fails_nothing_is_told(error: Exception) -> None:
    kernel = Kernel(bad=addr(1), error=error)

    assert kernel.take(opening(1)) == [("journal", 1), ("failed", b"1")]
    assert kernel.faults.count == isinstance(error, IndexError)
