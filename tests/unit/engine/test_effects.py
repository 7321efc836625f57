"""Effects are values: they can be compared, and nobody changes them on the way."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, AskId, Client, Holder, OpenThenReply, Reply, Transport
from dnsfw.model import HOST, Addr, Entry, Name, Nanos, RuleId

CLIENT = Client(route=7, role=HOST, transport=Transport.UDP)


def test_equal_effects_are_equal() -> None:
    assert Reply(CLIENT, b"x") == Reply(Client(7, HOST, Transport.UDP), b"x")
    assert Ask(AskId(1), 0, Transport.UDP, b"", Nanos(9)) != Ask(
        AskId(2), 0, Transport.UDP, b"", Nanos(9)
    )


def test_an_effect_cannot_be_changed() -> None:
    reply = Reply(CLIENT, b"x")

    with pytest.raises(AttributeError):
        reply.wire = b"y"  # type: ignore[misc]


def test_a_reply_that_needs_a_grant_cannot_be_had_without_it() -> None:
    entry = Entry(HOST, Addr(bytes(16)))
    effect = OpenThenReply((entry,), (), (Reply(CLIENT, b"x"),))

    assert effect.entries == (entry,) and effect.replies


def test_a_holder_has_no_chain_unless_one_is_given() -> None:
    assert Holder(HOST, Addr(bytes(16)), Name(b"\0"), RuleId(1), Nanos(1)).chain == ()
