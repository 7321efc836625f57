"""Equal questions in flight: one Ask, everyone answered, nobody fails for another."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play


def test_row_79_equal_questions_in_flight_are_asked_once(play: Play) -> None:
    play.query("www.example.com", client=1).expects(Ask)
    for client in range(2, 102):
        play.query("wwW.example.com", client=client).nothing()

    scene = play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)

    assert len(scene.heard) == 101
    assert len(play.sent) == 1


def test_a_leader_that_gives_up_takes_nobody_along(play: Play) -> None:
    play.query("www.example.com", client="leader").expects(Ask)
    play.after(seconds=4).expects(Ask, Ask, Ask)
    play.query("www.example.com", client="follower").nothing()

    gone = play.after(seconds=1).expects(Reply)
    scene = play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)

    assert gone.reply.client.route == "leader" and gone.reply.rcode == "SERVFAIL"
    assert scene.reply.client.route == "follower" and scene.reply.addresses == ["192.0.2.7"]


def test_a_follower_that_comes_late_still_ends_within_its_own_patience(play: Play) -> None:
    play.query("www.example.com", client="leader")
    play.after(seconds=4)
    play.query("www.example.com", client="follower").nothing()

    scene = play.after(seconds=4.6)

    assert [h.client.route for h in scene.heard] == ["leader", "follower"]
    assert not play.open_asks
    play.unexpected.clear()


def test_a_repeated_datagram_of_one_client_is_answered_once(play: Play) -> None:
    play.query("www.example.com", client=1, id=7).expects(Ask)
    play.query("www.example.com", client=1, id=7).nothing()
    play.query("www.example.com", client=1, id=8).nothing()

    assert len(play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply).heard) == 2


def test_waiters_and_questions_are_bounded(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(waiters=2, pending=2))
    play.query("a.example.com", client=1).expects(Ask)
    play.query("a.example.com", client=2).nothing()
    play.query("b.example.com").expects(Ask)

    assert play.query("a.example.com", client=3).expects(Reply).reply.rcode == "SERVFAIL"
    assert play.query("c.example.com").expects(Reply).reply.rcode == "SERVFAIL"


def test_each_client_gets_the_size_it_can_take(play: Play) -> None:
    addrs = [f"198.51.100.{n}" for n in range(60)]
    play.query("www.example.com", client="small", size=512).expects(Ask)
    play.query("www.example.com", client="large", tcp=True).nothing()

    small, large = play.answer("www.example.com", *addrs).expects(OpenThenReply).heard

    assert small.message.tc and large.addresses == addrs
