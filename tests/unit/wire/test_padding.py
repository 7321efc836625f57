"""Padding and keepalive: our own options, hop by hop (RFC 7830, 7828, 8467)."""

from __future__ import annotations

import dns.edns
import dns.message
import pytest

from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.padding import KEEPALIVE, keepalive, padded, with_option
from dnsfw.wire.reply import write_query


def query(name: str, *, do: bool = False) -> bytes:
    return write_query(4711, from_text(name), A, do=do)


@pytest.mark.parametrize("length", [1, 20, 59, 60, 61, 62, 63])
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_every_query_has_a_length_that_says_nothing(length: int, labels: int) -> None:
    name = ".".join(["a" * length] * labels) + ".example"
    wire = padded(query(name))

    assert len(wire) % 128 == 0
    message = dns.message.from_wire(wire)  # the oracle reads it
    assert message.options[0].otype == dns.edns.OptionType.PADDING
    assert message.question[0].name.to_text() == name + "."


def test_flags_and_size_of_the_opt_stay() -> None:
    message = dns.message.from_wire(padded(with_option(query("a.example", do=True), KEEPALIVE)))

    assert message.ednsflags & 0x8000 and message.payload == 1232
    assert [int(option.otype) for option in message.options] == [11, 12]


def test_a_query_without_opt_stays_as_it_is() -> None:
    bare = write_query(1, from_text("a.example"), A, size=0)

    assert padded(bare) == bare
    assert padded(b"") == b"" and padded(b"\0" * 12) == b"\0" * 12


def test_the_time_of_an_answer_is_read_in_tenths_of_a_second() -> None:
    message = dns.message.from_wire(query("a.example"))
    reply = dns.message.make_response(message)
    reply.use_edns(options=[dns.edns.GenericOption(11, b"\x01\x2c")])

    assert keepalive(reply.to_wire()) == 30.0
    assert keepalive(query("a.example")) is None
    assert keepalive(b"\0\x0b\0\2") is None
