"""Two names on one address: rules, ports and deadlines of their own (ATTACKS 76, 77)."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from tests.scenario.conftest import Begin
from tests.support.play import Play

TWO = (
    """
version: 1
default: deny
rules:
  - allow: web.example.com:443
  - allow: ssh.example.com:22
  - {rule}
dns: {{upstreams: [192.0.2.53]}}
""".replace("  - {rule}\n", "")
    .replace("{{", "{")
    .replace("}}", "}")
)


def opened(play: Play, name: str, addr: str, ttl: int) -> None:
    play.query(name).expects(Ask)
    play.answer(name, addr, ttl=ttl).expects(OpenThenReply)


def test_two_names_keep_their_own_ports_and_deadlines(stage: Begin) -> None:
    play = stage(TWO)
    opened(play, "web.example.com", "192.0.2.7", 10)
    opened(play, "ssh.example.com", "192.0.2.7", 100)

    assert play.lets("192.0.2.7", 443) and play.lets("192.0.2.7", 22)
    play.after(seconds=20).expects(Close)
    assert not play.lets("192.0.2.7", 443) and play.lets("192.0.2.7", 22)
    play.after(seconds=91).expects(Close)
    assert not play.kernel.entries


def test_equal_port_sets_share_a_slot_and_the_latest_deadline_wins(play: Play) -> None:
    opened(play, "a.example.com", "192.0.2.7", 10)
    opened(play, "b.example.com", "192.0.2.7", 100)
    opened(play, "c.example.com", "192.0.2.7", 50)

    (grant,) = play.grants("192.0.2.7")

    assert grant.until - play.now == 110 * 10**9
    play.after(seconds=109).nothing()
    assert play.lets("192.0.2.7")


def test_a_fifth_port_set_on_one_address_is_left_out_of_the_answer(stage: Begin) -> None:
    rules = "\n".join(f"  - allow: n{n}.example.com:{1000 + n}" for n in range(5))
    play = stage(f"version: 1\ndefault: deny\nrules:\n{rules}\ndns: {{upstreams: [192.0.2.53]}}\n")
    for n in range(4):
        opened(play, f"n{n}.example.com", "192.0.2.7", 100)
    play.query("n4.example.com").expects(Ask)

    scene = play.answer("n4.example.com", "192.0.2.7", "192.0.2.8").expects(OpenThenReply)

    assert scene.reply.addresses == ["192.0.2.8"]
    assert scene.note("table-full").addr is not None
    assert all(play.lets("192.0.2.7", 1000 + n) for n in range(4))


def test_when_no_address_is_left_the_answer_is_servfail(stage: Begin) -> None:
    rules = "\n".join(f"  - allow: n{n}.example.com:{1000 + n}" for n in range(5))
    play = stage(f"version: 1\ndefault: deny\nrules:\n{rules}\ndns: {{upstreams: [192.0.2.53]}}\n")
    for n in range(4):
        opened(play, f"n{n}.example.com", "192.0.2.7", 100)
    play.query("n4.example.com").expects(Ask)

    scene = play.answer("n4.example.com", "192.0.2.7").expects(Reply)

    assert scene.reply.rcode == "SERVFAIL" and scene.reply.ede == 0
    play.after(seconds=111).expects(Close)
    play.query("n4.example.com").expects(OpenThenReply)


def test_a_port_set_that_another_covers_and_outlives_needs_no_slot(stage: Begin) -> None:
    play = stage(
        """
version: 1
default: deny
rules:
  - allow: all.example.com
  - allow: one.example.com:443
dns: {upstreams: [192.0.2.53]}
"""
    )
    opened(play, "all.example.com", "192.0.2.7", 100)
    opened(play, "one.example.com", "192.0.2.7", 10)

    assert len(play.grants("192.0.2.7")) == 1


def test_row_110_one_names_flight_over_many_addresses_is_bounded(stage: Begin) -> None:
    play = stage(TWO, limits=Limits(addresses_per_name=3))
    for n in range(3):
        play.query("web.example.com", cd=bool(n % 2)).expects(Ask)
        play.answer("web.example.com", f"192.0.2.{n}", ttl=0).expects(OpenThenReply)

    play.query("web.example.com").expects(Ask)
    scene = play.answer("web.example.com", "192.0.2.0", "192.0.2.9", ttl=0)

    assert scene.expects(OpenThenReply).reply.addresses == ["192.0.2.0"]
    play.after(seconds=16).expects(Close)
    play.query("web.example.com").expects(Ask)
    assert play.answer("web.example.com", "192.0.2.9").expects(OpenThenReply).reply.addresses


def test_row_110_an_answer_with_thousands_of_addresses_opens_its_share(stage: Begin) -> None:
    play = stage(TWO, limits=Limits(addresses_per_answer=10))
    addrs = [f"198.51.{n // 250}.{n % 250 + 1}" for n in range(2000)]
    play.query("web.example.com", tcp=True).expects(Ask)

    scene = play.answer("web.example.com", *addrs).expects(OpenThenReply)

    assert scene.reply.addresses == addrs[:10]
    assert scene.note("table-full") and len(play.kernel.entries) == 10


def test_row_77_an_address_that_moves_to_an_allowed_name_opens_and_closes_with_it(
    stage: Begin,
) -> None:
    play = stage(
        "version: 1\ndefault: allow\nrules:\n  - deny: bad.net\ndns: {upstreams: [192.0.2.53]}\n"
    )
    play.after().expects(Ask, Ask)
    play.answer("bad.net", "203.0.113.9", ttl=600).expects(Close)
    play.query("good.net").expects(Ask)
    play.answer("good.net", "203.0.113.9", ttl=30).expects(OpenThenReply)
    assert play.lets("203.0.113.9")

    play.after(seconds=41)  # each holds by its own deadline: neither overwrote the other

    assert not play.lets("203.0.113.9")
    play.unexpected.clear()
