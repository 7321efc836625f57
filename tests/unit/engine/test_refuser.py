"""Refusals that are remembered, and those that must not be."""

from __future__ import annotations

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Client, Note, Reply, Transport
from dnsfw.engine.limits import Limits
from dnsfw.engine.pending import Waiter
from dnsfw.engine.refuser import Refuser
from dnsfw.model import HOST, NO_ROLE, Nanos, Reason
from dnsfw.policy.compile import compile_text
from dnsfw.wire import message, reply
from dnsfw.wire.message import Ede, Query, Rcode
from dnsfw.wire.name import from_text

POLICY = compile_text(
    "version: 1\ndefault: allow\nrules:\n  - deny: ads.net\n  - {deny: '*.w.net', close: asked}\n"
)
CLIENT = Client(1, HOST, Transport.UDP)


def query(name: str) -> Query:
    return message.read_query(reply.write_query(1, from_text(name), 1))


def test_a_refusal_is_a_reply_and_a_note_and_is_remembered() -> None:
    refuser = Refuser(POLICY, Limits())

    said, note = refuser.by_policy(query("ads.net"), CLIENT, POLICY.host)

    assert isinstance(said, Reply) and isinstance(note, Note)
    assert note.reason is Reason.BY_NAME and refuser.count == 1
    assert refuser.front.get(CacheKey.of(HOST, query("ads.net"))) is not None


def test_a_name_whose_asking_counts_is_not_remembered() -> None:
    refuser = Refuser(POLICY, Limits())

    refuser.by_policy(query("x.w.net"), CLIENT, POLICY.host)

    assert len(refuser.front) == 0


def test_another_policy_forgets_them() -> None:
    refuser = Refuser(POLICY, Limits())
    refuser.by_policy(query("ads.net"), CLIENT, POLICY.host)

    refuser.take(POLICY)

    assert len(refuser.front) == 0


def test_they_are_bounded() -> None:
    policy = compile_text("version: 1\ndefault: deny\nrules: [allow: x.net]\n")
    refuser = Refuser(policy, Limits(refusals=5))
    for n in range(50):
        refuser.by_policy(query(f"r{n}.net"), CLIENT, policy.host)

    assert len(refuser.front) == 5


def test_plainly_is_refused_whatever_the_policy_says() -> None:
    refuser = Refuser(POLICY, Limits())

    said, note = refuser.plainly(query("x.net"), CLIENT, Reason.LOCKDOWN, Ede.BLOCKED)

    assert isinstance(said, Reply)
    assert message.read_response(said.wire).rcode == Rcode.REFUSED
    assert isinstance(note, Note) and note.reason is Reason.LOCKDOWN


def test_everyone_who_waits_hears_it_and_who_has_no_role_is_refused_plainly() -> None:
    refuser = Refuser(POLICY, Limits())
    stranger = Client(2, NO_ROLE, Transport.UDP)
    waiters = [Waiter(c, query("ads.net"), Nanos(9)) for c in (CLIENT, stranger)]

    wires = [e.wire for e in refuser.everyone(waiters) if isinstance(e, Reply)]

    rcodes = [message.read_response(wire).rcode for wire in wires]
    assert rcodes == [Rcode.NXDOMAIN, Rcode.REFUSED]
