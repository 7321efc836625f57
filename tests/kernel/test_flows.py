"""Conversations: they live by use, end with their rule, and begin nothing by themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dnsfw.datapath import abi
from dnsfw.model import SECOND, Inbound, Lockdown, Reason
from tests.support.packets import (
    ACK,
    FIN,
    IP4,
    IP6,
    RST,
    SYN,
    TCP,
    UDP,
    Cut,
    Fragment,
    Part,
    Raw,
)
from tests.support.wall import (
    ALLOW,
    CG_EGRESS,
    CG_INGRESS,
    DENY,
    EGRESS,
    LATER,
    OTHER_RULE,
    RULE,
    TC,
    TC_L3,
    Wall,
    boottime,
    ports,
)

HOST4, HOST6 = "198.51.100.5", "2001:db8:5::5"
PEER4, PEER6 = "192.0.2.10", "2001:db8::10"
To = Callable[..., Part]
BOTH = pytest.mark.parametrize("to", [IP4, IP6], ids=["v4", "v6"])


@pytest.fixture(params=EGRESS)
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def out(to: To, part: Part) -> Part:
    return to(PEER4 if to is IP4 else PEER6, part)


def back(to: To, part: Part) -> Part:
    """A packet of the peer's, to us."""
    return to(HOST4, part, src=PEER4) if to is IP4 else to(HOST6, part, src=PEER6)


def reply(wall: Wall, to: To, part: Part) -> None:
    """The peer's packet comes in. A test run has no listening socket, so for TCP it can
    only confirm what began here."""
    wall.judge(CG_INGRESS, back(to, part))


@BOTH
def test_row_115_a_begun_flow_outlives_its_grant(wall: Wall, hook: str, to: To) -> None:
    wall.open(PEER4, PEER6)
    assert wall.judge(hook, out(to, TCP(443))).reason is Reason.GRANTED

    wall.grant(PEER4)
    wall.grant(PEER6)

    assert wall.judge(hook, out(to, TCP(443, ACK, b"more"))).reason is Reason.FLOW
    assert wall.judge(hook, out(to, TCP(443, SYN, seq=2))).reason is Reason.NEVER_RESOLVED
    assert wall.judge(hook, out(to, TCP(443, ACK, sport=40001))).verdict is DENY
    assert wall.judge(hook, out(to, TCP(444, ACK))).verdict is DENY


@BOTH
def test_row_114_a_removed_rule_ends_its_flows(wall: Wall, hook: str, to: To) -> None:
    wall.open(PEER4, PEER6)
    wall.judge(hook, out(to, TCP(443)))
    assert wall.judge(hook, out(to, TCP(443, ACK))).reason is Reason.FLOW

    wall.kill(RULE)

    assert wall.judge(hook, out(to, TCP(443, ACK))).verdict is DENY


def test_a_flow_of_the_default_ends_when_the_default_turns(wall: Wall, hook: str) -> None:
    wall.policy(ALLOW)
    wall.judge(hook, out(IP4, TCP(443)))
    assert wall.judge(hook, out(IP4, TCP(443, ACK))).reason is Reason.FLOW

    wall.policy(DENY)
    wall.kill(abi.RuleId.DEFAULT)

    assert wall.judge(hook, out(IP4, TCP(443, ACK))).verdict is DENY


def test_a_cut_flow_is_judged_anew(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    wall.judge(hook, out(IP4, TCP(443)))
    wall.grant(PEER4)

    wall.sink.cut(wall.flows())

    assert wall.judge(hook, out(IP4, TCP(443, ACK))).reason is Reason.NEVER_RESOLVED


@BOTH
def test_a_syn_passes_by_a_flow_only_as_the_same_syn_before_any_reply(
    wall: Wall, hook: str, to: To
) -> None:
    wall.open(PEER4, PEER6)
    wall.judge(hook, out(to, TCP(443, seq=9)))
    wall.grant(PEER4)
    wall.grant(PEER6)

    assert wall.judge(hook, out(to, TCP(443, seq=9))).reason is Reason.FLOW
    assert wall.judge(hook, out(to, TCP(443, seq=10))).reason is Reason.NEVER_RESOLVED

    reply(wall, to, TCP(40000, SYN | ACK, sport=443))
    assert wall.judge(hook, out(to, TCP(443, seq=9))).reason is Reason.NEVER_RESOLVED


def test_our_own_ack_shows_that_the_peer_answered(wall: Wall, hook: str) -> None:
    """Where replies come back by a device that nobody watches."""
    wall.open(PEER4)
    wall.judge(hook, out(IP4, TCP(443)))
    wall.judge(hook, out(IP4, TCP(443, ACK)))

    (flow,) = wall.flows()
    assert flow.state is abi.FlowState.OPEN


# Nothing can have been seen before the machine started.
AFTER_TWO_HOURS = [
    pytest.param([TCP(443), TCP(443, ACK)], idle, idle < 7440, id=f"open TCP, {idle} s")
    for idle in (7300, 7500)
    if boottime() > (idle + 600) * SECOND
]


@pytest.mark.parametrize(
    ("packets", "idle", "lives"),
    [
        pytest.param([TCP(443), TCP(443, ACK)], 200, True, id="open TCP, long after its SYN"),
        *AFTER_TWO_HOURS,
        pytest.param([TCP(443)], 170, True, id="TCP without reply, while SYNs repeat"),
        pytest.param([TCP(443)], 190, False, id="TCP without reply, after the last SYN"),
        pytest.param([TCP(443), TCP(443, FIN | ACK)], 50, True, id="after FIN, under 60 s"),
        pytest.param([TCP(443), TCP(443, FIN | ACK)], 70, False, id="after FIN, over 60 s"),
        pytest.param([TCP(443), TCP(443, RST)], 70, False, id="after RST, over 60 s"),
        pytest.param([UDP(443)], 25, True, id="UDP without reply, under 30 s"),
        pytest.param([UDP(443)], 35, False, id="UDP without reply, over 30 s"),
    ],
)
def test_a_flow_ends_when_it_idles(
    wall: Wall, hook: str, packets: list[Part], idle: int, lives: bool
) -> None:
    wall.open(PEER4)
    for part in packets:
        wall.judge(hook, out(IP4, part))
    wall.grant(PEER4)
    wall.age(idle)

    last = UDP(443) if packets[0].number == 17 else TCP(443, ACK)
    assert (wall.judge(hook, out(IP4, last)).reason is Reason.FLOW) is lives


@pytest.mark.parametrize(("idle", "lives"), [(170, True), (190, False)])
def test_udp_that_was_answered_idles_longer(
    wall: Wall, hook: str, idle: int, lives: bool
) -> None:
    wall.open(PEER4)
    wall.judge(hook, out(IP4, UDP(443)))
    reply(wall, IP4, UDP(40000, sport=443))
    wall.grant(PEER4)
    wall.age(idle)

    assert (wall.judge(hook, out(IP4, UDP(443))).reason is Reason.FLOW) is lives


def test_use_keeps_a_flow_alive(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    wall.judge(hook, out(IP4, UDP(443)))
    wall.grant(PEER4)

    for _ in range(3):
        wall.age(20)
        assert wall.judge(hook, out(IP4, UDP(443))).reason is Reason.FLOW


def test_a_flow_belongs_to_the_rule_that_let_it_begin(wall: Wall, hook: str) -> None:
    wall.grant(PEER4, ("443/tcp", ALLOW, RULE, LATER), ("80/tcp", ALLOW, OTHER_RULE, LATER))
    wall.judge(hook, out(IP4, TCP(443)))
    wall.judge(hook, out(IP4, TCP(80)))

    wall.kill(OTHER_RULE)

    assert wall.judge(hook, out(IP4, TCP(443, ACK))).reason is Reason.FLOW
    assert wall.judge(hook, out(IP4, TCP(80, ACK))).verdict is DENY


def test_a_flow_begins_nothing_and_neither_does_loopback(wall: Wall, hook: str) -> None:
    wall.judge(hook, IP4("127.0.0.1", TCP(80)), device=1)
    wall.judge(hook, out(IP4, TCP(80)))

    assert wall.flows() == []


# inbound


def inbound(wall: Wall, part: Part, **role: object) -> None:
    wall.policy(**role)  # type: ignore[arg-type]
    wall.judge(CG_INGRESS, back(IP4, part))


@BOTH
def test_a_datagram_that_a_socket_took_may_be_answered(wall: Wall, hook: str, to: To) -> None:
    assert wall.judge(hook, out(to, UDP(5000, sport=53))).verdict is DENY

    reply(wall, to, UDP(53, sport=5000))

    assert wall.judge(hook, out(to, UDP(5000, sport=53))).reason is Reason.INBOUND
    assert wall.judge(hook, out(to, UDP(5001, sport=53))).verdict is DENY
    assert wall.judge(hook, out(to, UDP(5000, sport=54))).verdict is DENY


@pytest.mark.parametrize(
    ("role", "answered"),
    [
        ({"inbound": Inbound.ALL}, True),
        ({"inbound": Inbound.TCP}, False),
        ({"inbound": Inbound.DENY}, False),
        ({"inbound": Inbound.PORTS, "inbound_ports": ports("53/udp")}, True),
        ({"inbound": Inbound.PORTS, "inbound_ports": ports("53/tcp 54/udp")}, False),
    ],
)
def test_what_may_come_in_is_the_roles_question(
    wall: Wall, hook: str, role: dict[str, object], answered: bool
) -> None:
    inbound(wall, UDP(53, sport=5000), **role)

    verdict = wall.judge(hook, out(IP4, UDP(5000, sport=53))).verdict
    assert verdict is (ALLOW if answered else DENY)


def test_a_syn_that_no_listener_took_opens_nothing(wall: Wall, hook: str) -> None:
    wall.judge(CG_INGRESS, back(IP4, TCP(80, sport=5000)))

    assert wall.flows(inbound=True) == []
    assert wall.judge(hook, out(IP4, TCP(5000, SYN | ACK, sport=80))).verdict is DENY


def test_what_came_in_over_lo_is_answered_over_lo_alone(wall: Wall, hook: str) -> None:
    """A raw socket can bring a datagram "from anywhere" to its own port over lo."""
    wall.judge(CG_INGRESS, back(IP4, UDP(53, sport=5000)), device=1)
    answer = out(IP4, UDP(5000, sport=53))

    assert wall.judge(hook, answer).verdict is DENY
    assert wall.judge(hook, answer, device=1).reason is Reason.INBOUND


def test_a_reply_of_a_flow_is_not_a_conversation_of_the_peers(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    wall.judge(hook, out(IP4, UDP(443)))
    reply(wall, IP4, UDP(40000, sport=443))

    assert wall.flows(inbound=True) == []


def established(wall: Wall, part: Part) -> None:
    """An accepted TCP connection, as the daemon finds it at start and writes it."""
    wall.judge(CG_INGRESS, back(IP4, UDP(80, sport=5000)))
    table = wall.table("dnsfw_flows_in")
    ((key, value),) = table.items()
    table.delete(key)
    table.update(abi.FlowKey.unpack(key)._replace(proto=part.number).pack(), value)


@pytest.mark.parametrize(
    ("lockdown", "reason"),
    [(Lockdown.OFF, Reason.INBOUND), (Lockdown.ON, Reason.INBOUND),
     (Lockdown.HARD, Reason.LOCKDOWN)],
)
def test_lockdown_spares_replies_to_accepted_tcp_unless_hard(
    wall: Wall, hook: str, lockdown: Lockdown, reason: Reason
) -> None:
    established(wall, TCP(80))
    wall.policy(lockdown=lockdown)

    assert wall.judge(hook, out(IP4, TCP(5000, ACK, b"page", sport=80))).reason is reason


def test_lockdown_cuts_flows_and_udp_replies(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    wall.judge(hook, out(IP4, TCP(443)))
    established(wall, UDP(80))

    wall.policy(lockdown=Lockdown.ON)

    assert wall.judge(hook, out(IP4, TCP(443, ACK))).reason is Reason.LOCKDOWN
    assert wall.judge(hook, out(IP4, UDP(5000, sport=80))).reason is Reason.LOCKDOWN


def test_an_accepted_connection_lets_no_syn_out(wall: Wall, hook: str) -> None:
    established(wall, TCP(80))

    assert wall.judge(hook, out(IP4, TCP(5000, SYN, sport=80))).verdict is DENY
    assert wall.judge(hook, out(IP4, TCP(5000, SYN | ACK, sport=80))).reason is Reason.INBOUND


# forwarded


@pytest.mark.parametrize("hook", [TC, TC_L3])
def test_forwarded_traffic_is_judged_and_keyed_by_its_source(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    assert wall.judge(hook, out(IP4, TCP(443)), came_in=9).reason is Reason.GRANTED
    wall.grant(PEER4)

    def forwarded(src: str) -> Reason | None:
        return wall.judge(hook, IP4(PEER4, TCP(443, ACK), src=src), came_in=9).reason

    assert forwarded(HOST4) is Reason.FLOW
    assert forwarded("198.51.100.6") is Reason.NEVER_RESOLVED
    assert wall.judge(hook, out(IP4, TCP(443, ACK))).verdict is DENY  # a local socket's


@pytest.mark.parametrize("hook", [TC, TC_L3])
def test_the_answer_to_a_forwarded_flow_passes_the_other_device(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    wall.judge(hook, out(IP4, TCP(443)), came_in=9)
    answer = back(IP4, TCP(40000, SYN | ACK, sport=443))

    assert wall.judge(hook, back(IP4, TCP(40000, SYN, sport=443)), came_in=8).verdict is DENY
    assert wall.judge(hook, answer, came_in=8).reason is Reason.FLOW
    assert wall.judge(hook, back(IP4, TCP(40001, ACK, sport=443)), came_in=8).verdict is DENY


# fragments


def pieces(to: To, part: Part, ident: int = 7) -> list[Part]:
    """A datagram in three."""
    cuts = [(0, 24), (24, 48), (48, None)]
    if to is IP4:
        return [IP4(PEER4, Cut(part, a, b), offset=a // 8, more=b is not None, ident=ident)
                for a, b in cuts]
    return [IP6(PEER6, Fragment(Cut(part, a, b), offset=a // 8, more=b is not None, ident=ident))
            for a, b in cuts]


@BOTH
def test_row_26_the_rest_of_an_allowed_datagram_follows_it(
    wall: Wall, hook: str, to: To
) -> None:
    wall.open(PEER4, PEER6)
    first, second, third = pieces(to, UDP(443, bytes(60)))

    assert wall.judge(hook, second).reason is Reason.FRAG_ORPHAN
    assert wall.judge(hook, first).reason is Reason.GRANTED
    assert [wall.judge(hook, part).verdict for part in (second, third)] == [ALLOW, ALLOW]
    _, foreign, _ = pieces(to, UDP(443, bytes(60)), ident=8)
    assert wall.judge(hook, foreign).reason is Reason.FRAG_ORPHAN


@BOTH
def test_row_26_nothing_follows_a_refused_first_fragment(
    wall: Wall, hook: str, to: To
) -> None:
    wall.open(PEER4, PEER6)
    first, second, _ = pieces(to, UDP(53, bytes(60)))

    assert wall.judge(hook, first).reason is Reason.WRONG_PORT
    assert wall.judge(hook, second).reason is Reason.FRAG_ORPHAN


def test_a_fragment_of_another_protocol_does_not_follow(wall: Wall, hook: str) -> None:
    wall.open(PEER4)
    first, _, _ = pieces(IP4, UDP(443, bytes(60)))
    wall.judge(hook, first)

    other = IP4(PEER4, Raw(47), offset=3)
    assert wall.judge(hook, other).reason is Reason.FRAG_ORPHAN


def test_later_fragments_are_refused_by_default_allow_too(wall: Wall, hook: str) -> None:
    """Else a closed port is reached by whoever splits his datagrams."""
    wall.policy(ALLOW)
    _, second, _ = pieces(IP4, UDP(443, bytes(60)))

    assert wall.judge(hook, second).reason is Reason.FRAG_ORPHAN


def test_a_flow_made_by_one_hook_passes_the_next(wall: Wall) -> None:
    wall.open(PEER4)
    assert wall.judge(CG_EGRESS, out(IP4, TCP(443))).reason is Reason.GRANTED

    wall.grant(PEER4)  # between the two hooks: the SYN still leaves

    assert wall.judge(TC, out(IP4, TCP(443))).reason is Reason.FLOW
