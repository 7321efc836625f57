"""Names that the kernel refused: judged again, and told with who asked."""

from __future__ import annotations

from collections.abc import Iterator

from dnsfw.datapath import abi
from dnsfw.model import HOST, Reason, RoleId, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.server.kernel_refusals import KernelRefusals, Refused
from dnsfw.server.who_asks import Who
from dnsfw.wire.name import from_text

POLICY = compile_text("version: 1\ndefault: deny\nrules: [allow: ok.com, deny: bad.ok.com]\n")
WHO = Who("10.0.0.2", "udp")


class Ring:
    def __init__(self, *events: abi.AskedEvent) -> None:
        self.events = events

    def fileno(self) -> int:
        return 7

    def read(self) -> Iterator[abi.AskedEvent]:
        yield from self.events


def event(text: str, role: int = HOST, cut: int = 0) -> abi.AskedEvent:
    name = from_text(text)
    return abi.AskedEvent(
        at=0, netns=7, role=role, generation=1, outcome=1, pid=0, addr=addr_from("10.0.0.2"),
        port=4000, qtype=28, length=len(name) - cut, comm=bytes(16), name=name.ljust(256, b"\0"),
    )  # fmt: skip


def told(*events: abi.AskedEvent) -> list[Refused]:
    found: list[Refused] = []
    looked: list[tuple[bytes, int, int]] = []

    def look(addr: bytes, port: int, netns: int) -> Who:
        looked.append((addr, port, netns))
        return WHO

    KernelRefusals(Ring(*events), lambda: POLICY, look, found.append).look()
    assert looked == [(addr_from("10.0.0.2"), 4000, 7)] * len(found)
    return found


def test_it_says_what_the_policy_says_and_who_asked() -> None:
    one, other = told(event("evil.example"), event("bad.ok.com"))

    assert (one.note.name, one.note.reason) == (from_text("evil.example"), Reason.NAME_DEFAULT)
    assert (one.qtype, one.who) == (28, WHO)
    assert other.note.rule == POLICY.host.rules[1].id


def test_what_an_earlier_policy_refused_and_roles_that_are_gone_are_no_news() -> None:
    assert told(event("ok.com"), event("evil.example", RoleId(99))) == []


def test_a_name_that_is_cut_is_none() -> None:
    assert told(event("evil.example", cut=1)) == []
