"""What changes under questions in flight; the promises over it are `tests/prop/test_engine.py`."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, OpenThenReply
from dnsfw.engine.engine import Engine
from dnsfw.policy.compile import compile_text
from tests.support.fakes import FixedRng, KernelTable
from tests.support.play import Play

REFUSED = "version: 1\ndefault: deny\ndns: {upstreams: [192.0.2.53]}\n"
ALLOWED = f"{REFUSED}rules: [allow: '*.ok.com:443']\n"


def test_what_a_policy_refuses_is_closed_when_it_comes() -> None:
    policy = compile_text(ALLOWED)
    play = Play(policy, Engine(policy, 1, FixedRng()), KernelTable())
    play.query("www.ok.com").expects(Ask)
    play.answer("www.ok.com", "203.0.113.7").expects(OpenThenReply)

    play.swap(ALLOWED).nothing()
    assert play.lets("203.0.113.7")
    play.swap(REFUSED).expects(Close)
    assert not play.lets("203.0.113.7")
