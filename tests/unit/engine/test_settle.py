"""How facts become replies; what may be in them is held by scenario/ and prop/."""

from __future__ import annotations

from dataclasses import replace

from dnsfw.engine.cache import CacheKey, Front, seconds_since
from dnsfw.engine.effects import Client, OpenThenReply, Reply, Transport
from dnsfw.engine.facts import Facts
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.pending import Waiter
from dnsfw.engine.settle import Settler, render
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.policy.compile import compile_text
from dnsfw.wire import message, reply
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import Template
from tests.support.play import rr

NOW = Nanos(1000 * SECOND)
NAME = from_text("x.net")
POLICY = compile_text("version: 1\ndefault: deny\nrules: [allow: x.net]\n").host
QUERY = message.read_query(reply.write_query(1, NAME, 1))
KEY = CacheKey.of(HOST, QUERY)
WAITER = Waiter(Client(1, HOST, Transport.UDP), QUERY, NOW)
FACTS = Facts(NAME, 1, 0, (NAME,), (), (rr("x.net", "A", "192.0.2.1", 60),), (), (), 60, NOW, False)


def settler(front: Front | None = None) -> Settler:
    return Settler(Ledger(Limits()), Front(10) if front is None else front, most=128)


def after(seconds: float) -> Nanos:
    return Nanos(NOW + round(seconds * SECOND))


def test_age_is_rounded_up_so_that_a_ttl_is_rounded_down() -> None:
    """Promise 2."""
    assert [seconds_since(NOW, after(s)) for s in (0, 0.001, 1, 1.5)] == [0, 1, 1, 2]


def test_new_addresses_are_opened_in_the_same_effect_as_the_reply() -> None:
    (effect,) = settler().settle(KEY, FACTS, POLICY, [WAITER], NOW) or []

    assert isinstance(effect, OpenThenReply)
    assert len(effect.entries) == len(effect.holders) == len(effect.replies) == 1


def test_facts_that_are_too_old_for_the_rule_of_now_are_not_used() -> None:
    short = compile_text(
        "version: 1\ndefault: deny\nrules: [{allow: x.net, ttl: {min: 5s, max: 10s}}]\n"
    ).host

    assert settler().settle(KEY, FACTS, short, [WAITER], after(9)) is not None
    assert settler().settle(KEY, FACTS, short, [WAITER], after(10)) is None


def test_what_was_answered_whole_waits_in_the_front_until_it_expires() -> None:
    front = Front(10)
    settler(front).settle(KEY, FACTS, POLICY, [WAITER], NOW)

    ready = front.get(KEY)

    assert ready is not None and (ready.born, ready.until) == (NOW, after(60))


def test_what_was_trimmed_does_not_wait_in_the_front() -> None:
    front = Front(10)
    full = Settler(Ledger(Limits(grants=0)), front, most=128)

    effects = full.settle(KEY, FACTS, POLICY, [WAITER], NOW) or []

    assert isinstance(effects[0], Reply) and len(front) == 0


def test_over_tcp_a_reply_may_be_large_and_over_udp_it_is_cut() -> None:
    records = [rr("x.net", "A", f"198.51.100.{n}") for n in range(200)]
    template = Template(NAME, 0, records)
    udp = Client(1, HOST, Transport.UDP)
    tcp = Client(1, HOST, Transport.TCP)

    assert len(render(template, QUERY, udp)) < 100
    assert len(render(template, QUERY, tcp)) > 3000


def test_nothing_is_told_of_a_temporary_rule_that_has_ended_in_the_kernel() -> None:
    """Promise 1, until the policy without it is in force."""
    (rule,) = POLICY.rules
    base = compile_text("version: 1\ndefault: deny\nrules: [allow: other.net]\n").host
    policy = base.with_temporary((replace(rule, until=Nanos(NOW + 5 * SECOND)),), None)

    told = settler().settle(KEY, FACTS, policy, [WAITER], NOW) or []
    late = FACTS._replace(born=after(5))
    (reply,) = settler().settle(KEY, late, policy, [WAITER], after(5)) or []

    assert isinstance(told[0], OpenThenReply)
    assert isinstance(reply, Reply)
    assert message.read_response(reply.wire).rcode == 3
