"""The engine's surface: what is not a script. Scripts are in scenario/, promises in prop/."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.model import HOST, NO_ROLE, RoleId, addr_from
from dnsfw.wire import message, reply
from dnsfw.wire.name import from_text
from tests.support.play import begin

POLICY = (
    "version: 1\ndefault: deny\nrules: [allow: '*.x.net:443']\ndns: {upstreams: [192.0.2.53]}\n"
)


def test_an_engine_at_rest_wants_nothing() -> None:
    play = begin(POLICY)

    assert play.engine.next_deadline() is None
    assert play.engine.on_deadline(play.now) == []


def test_a_hit_is_found_through_edns_options_too() -> None:
    """dig sends a cookie with every query."""
    play = begin(POLICY)
    play.query("a.x.net")
    play.answer("a.x.net", "192.0.2.1")
    wire = bytearray(reply.write_query(9, from_text("a.x.net"), 1))
    wire[-1] += 12
    wire += b"\0\x0a\0\x08cookie!!"

    scene = play.raw(bytes(wire)).expects(Reply)

    assert scene.reply.addresses == ["192.0.2.1"]
    assert b"cookie" not in scene.reply.wire


def test_a_hit_for_one_role_is_none_for_another() -> None:
    play = begin(POLICY)
    play.query("a.x.net")
    play.answer("a.x.net", "192.0.2.1")

    assert play.query("a.x.net", role=NO_ROLE).reply.rcode == "REFUSED"
    assert play.query("a.x.net", role=RoleId(99)).reply.rcode == "REFUSED"


def test_grants_are_shown_with_their_names() -> None:
    play = begin(POLICY)
    for name in ("a.x.net", "b.x.net"):
        play.query(name)
        play.answer(name, "192.0.2.1")

    (row,) = play.engine.grants(play.now)

    assert row.addr == addr_from("192.0.2.1")
    assert set(row.names) == {from_text("a.x.net"), from_text("b.x.net")}
    assert play.engine.last_names(HOST, row.addr) == (from_text("b.x.net"), from_text("a.x.net"))


def test_the_counters_count() -> None:
    play = begin(POLICY)
    play.query("evil.net")
    play.query("evil.net")
    play.query("a.x.net", client=1)
    play.query("a.x.net", client=2)
    play.answer("a.x.net", "192.0.2.1")
    play.query("a.x.net")
    play.query("localhost")
    play.raw(b"\0\1\1\0" + bytes(8))

    stats = play.engine.stats()

    expected = {
        "queries": 7, "refused": 2, "coalesced": 1, "asked": 1, "hits": 1, "local": 1,
        "malformed": 1, "grants": 1, "failed": 0,
    }  # fmt: skip
    assert {name: stats[name] for name in expected} == expected


def test_row_66_and_67_nothing_of_a_client_reaches_the_upstream_but_name_type_do_and_cd() -> None:
    """Options, size, Z bit and the case of letters stay here."""
    play = begin(POLICY)
    wire = bytearray(reply.write_query(0x4242, from_text("a.x.net"), 1, size=4096))
    wire[-1] += 8
    wire += b"\xfd\xe9\0\4data"
    odd = bytes(wire).replace(b"\1a\1x", b"\1A\1X")

    (ask,) = play.raw(odd).expects(Ask).asks

    assert ask.wire[2:] == reply.write_query(0, from_text("a.x.net"), 1)[2:]
    assert message.read_query(ask.wire).edns.options == ()  # type: ignore[union-attr]


def test_an_effect_that_opens_says_who_holds_what() -> None:
    play = begin(POLICY)
    play.query("a.x.net")

    (effect, ) = [
        e for e in play.answer("a.x.net", "192.0.2.1").effects if isinstance(e, OpenThenReply)
    ]  # fmt: skip

    (holder,) = effect.holders
    assert (holder.role, holder.addr) == (HOST, addr_from("192.0.2.1"))
    assert holder.name == from_text("a.x.net")
    assert holder.until == effect.entries[0].grants[0].until
