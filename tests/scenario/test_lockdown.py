"""Lockdown: nobody is answered, nobody is asked; what waits is told so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnsfw.datapath.abi import FlowState
from dnsfw.engine.effects import Ask, Cut, Forget, OpenThenReply, Reply
from dnsfw.model import HOST, Addr, Flow, Lockdown, Reason, RuleId, addr_from
from tests.scenario.conftest import Begin
from tests.support.play import Play

BLOCK_ADS = """
version: 1
default: allow
rules:
  - deny: ads.net
dns: {upstreams: [192.0.2.53]}
"""


def test_in_a_lockdown_every_query_is_refused_and_nobody_is_asked(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)
    play.does(play.engine.set_lockdown(Lockdown.ON, play.now)).nothing()

    heard = play.query("www.example.com").expects(Reply).reply

    assert (heard.rcode, heard.ede) == ("REFUSED", 15)
    play.query("other.example.com").expects(Reply)
    play.query("evil.net").expects(Reply)
    assert len(play.sent) == 1


def test_what_waits_when_it_begins_is_refused_and_its_sockets_are_closed(play: Play) -> None:
    ask = play.query("www.example.com").expects(Ask).ask

    scene = play.does(play.engine.set_lockdown(Lockdown.ON, play.now)).expects(Forget, Reply)

    assert scene.reply.rcode == "REFUSED"
    play.upstream(ask, b"\0" * 40).nothing()


def test_when_it_ends_all_is_as_before(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)
    play.does(play.engine.set_lockdown(Lockdown.ON, play.now))
    play.query("www.example.com").expects(Reply)

    play.does(play.engine.set_lockdown(Lockdown.OFF, play.now)).nothing()

    assert play.query("www.example.com").expects(OpenThenReply).reply.addresses == ["192.0.2.7"]


def test_closing_look_ups_rest_too_and_go_on_afterwards(stage: Begin) -> None:
    play = stage(BLOCK_ADS)
    play.does(play.engine.set_lockdown(Lockdown.ON, play.now))
    assert play.engine.next_deadline() is None
    play.after(seconds=600).nothing()
    assert play.sent == []

    play.does(play.engine.set_lockdown(Lockdown.OFF, play.now))

    play.after().expects(Ask, Ask)


@pytest.mark.parametrize(
    ("level", "cut"),
    [
        (Lockdown.OFF, []),
        (Lockdown.ON, ["out"]),
        (Lockdown.HARD, ["out", "in"]),
    ],
)
def test_it_cuts_flows_but_spares_loopback_and_unless_hard_inbound(
    play: Play, level: Lockdown, cut: list[str]
) -> None:
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)
    (grant,) = play.grants("192.0.2.7")
    out = Flow(
        b"out", HOST, grant.rule, False, 6, Addr(bytes(16)), 1, addr_from("192.0.2.7"), 443,
        play.now, play.now, FlowState.OPEN, Reason.GRANTED,
    )  # fmt: skip
    into = replace(out, key=b"in", inbound=True, rule=RuleId(0), reason=Reason.INBOUND)
    local = replace(out, key=b"lo", remote=addr_from("::1"), reason=Reason.LOOPBACK)
    play.does(play.engine.set_lockdown(level, play.now))

    scene = play.does(play.engine.judge_flows([out, into, local], play.now))

    assert [flow.key.decode() for flow in scene.cut] == cut
    scene.expects(*([Cut] if cut else []))
