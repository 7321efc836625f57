"""What a socket sends by a device may be judged there as another role; what a guarded device
says of lo and of who asks. One packet, the hooks of a device.
"""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.model import HOST, Inbound, Mode, Reason, RolePlan
from tests.support.packets import (
    ACK,
    IP4,
    IP6,
    SYN,
    TCP,
    UDP,
    VLAN,
    Cut,
    Ether,
    Part,
)
from tests.support.wall import (
    ALLOW,
    CG_EGRESS,
    CG_INGRESS,
    DENY,
    TC,
    TC_INGRESS,
    TC_L3,
    TC_LO,
    WEB,
    Said,
    Wall,
)

HERE4, PEER4, HERE6, PEER6 = "198.51.100.5", "192.0.2.10", "2001:db8:5::5", "2001:db8::10"
LO = 1
DEVICE = pytest.mark.parametrize("out", [TC, TC_L3])


@pytest.fixture
def via(wall: Wall) -> Wall:
    """By its device the host is WEB; both refuse."""
    wall.policy(others=[RolePlan(WEB, DENY)])
    wall.via_is(wall.device, HOST, WEB)
    return wall


@DEVICE
def test_both_roles_must_agree_to_what_leaves_by_a_device(via: Wall, out: str) -> None:
    packet = IP4(PEER4, TCP(443))
    via.open(PEER4)
    assert via.judge(CG_EGRESS, packet).reason is Reason.GRANTED
    assert via.judge(out, packet).reason is Reason.NEVER_RESOLVED

    via.open(PEER4, role=WEB)
    assert via.judge(out, packet).reason is Reason.GRANTED
    assert {flow.role for flow in via.flows()} == {HOST, WEB}


@DEVICE
def test_another_device_and_another_role_are_left_alone(via: Wall, out: str) -> None:
    via.open(PEER4)

    assert via.judge(out, IP4(PEER4, TCP(443)), device=LO).reason is Reason.GRANTED
    via.table("dnsfw_via").delete(abi.ViaKey(via.netns, via.device, HOST).pack())
    via.via_is(via.device, WEB, HOST)
    assert via.judge(out, IP4(PEER4, TCP(443, seq=2))).reason is Reason.GRANTED


@DEVICE
def test_a_conversation_judged_twice_lives_on_in_both(via: Wall, out: str) -> None:
    for role in (HOST, WEB):
        via.open(PEER4, role=role)
    for hook in (CG_EGRESS, out):
        assert via.judge(hook, IP4(PEER4, UDP(443))).reason is Reason.GRANTED
    via.judge(TC_INGRESS, IP4(HERE4, UDP(40000, sport=443), src=PEER4))
    assert {flow.state for flow in via.flows()} == {abi.FlowState.OPEN}
    for role in (HOST, WEB):
        via.grant(PEER4, role=role)

    for _ in range(3):
        for hook in (CG_EGRESS, out):
            assert via.judge(hook, IP4(PEER4, UDP(443))).reason is Reason.FLOW


@DEVICE
def test_who_was_let_in_is_answered_by_whatever_device(via: Wall, out: str) -> None:
    via.judge(CG_INGRESS, IP4(HERE4, UDP(53, sport=5000), src=PEER4))

    assert via.judge(out, IP4(PEER4, UDP(5000, sport=53))).reason is Reason.INBOUND


@DEVICE
def test_a_device_with_a_role_leaves_the_host_its_lease(via: Wall, out: str) -> None:
    renewal = IP4("198.51.100.1", UDP(67, sport=68))

    assert via.judge(out, renewal).reason is Reason.UPKEEP


# forwarded, by a device that nobody named


@DEVICE
def test_row_39_forwarded_traffic_is_judged_by_source_then_by_device(
    wall: Wall, out: str
) -> None:
    """Where the wall stands at the uplink alone."""
    wall.policy(others=[RolePlan(WEB, DENY)])
    wall.source_is("10.1.0.0/16", WEB)
    wall.open(PEER4, role=WEB)

    def said(src: str, came_in: int = 9) -> Reason | None:
        return wall.judge(out, IP4(PEER4, TCP(443), src=src), came_in=came_in).reason

    assert said("10.1.0.5") is Reason.GRANTED
    assert said("10.2.0.5") is Reason.NEVER_RESOLVED
    assert said("10.1.0.6", came_in=0) is Reason.NEVER_RESOLVED  # a socket of this host's
    wall.device_is(7, WEB)
    assert said("10.2.0.6", came_in=7) is Reason.GRANTED
    assert said("10.2.0.7", came_in=9) is Reason.NEVER_RESOLVED


@DEVICE
def test_a_forwarded_flow_is_its_roles_alone(wall: Wall, out: str) -> None:
    wall.policy(others=[RolePlan(WEB, DENY)])
    wall.source_is("10.1.0.0/16", WEB)
    wall.open(PEER4, role=WEB)
    wall.judge(out, IP4(PEER4, TCP(443), src="10.1.0.5"), came_in=9)
    wall.source_is("10.1.0.0/16", HOST)

    later = IP4(PEER4, TCP(443, ACK), src="10.1.0.5")
    assert wall.judge(out, later, came_in=9).verdict is DENY


# who asks from outside


def test_a_query_from_outside_carries_the_role_of_its_source(wall: Wall) -> None:
    wall.policy(others=[RolePlan(WEB, DENY)])
    wall.listen("198.51.100.1")
    wall.source_is("10.1.0.0/16", WEB)

    def mark(src: str) -> int:
        return wall.judge(TC_INGRESS, IP4("198.51.100.1", UDP(53), src=src)).mark

    assert (mark("10.1.0.5"), mark("10.2.0.5")) == (WEB, HOST)


# lo, where devices alone are guarded


@pytest.fixture
def alone(wall: Wall) -> Wall:
    wall.keep_locals(HERE4, HERE6, "127.0.0.1", "::1")
    return wall


@pytest.mark.parametrize("packet", [UDP(53), TCP(53)], ids=["udp", "tcp"])
def test_a_query_over_lo_carries_its_role(alone: Wall, packet: Part) -> None:
    alone.listen("127.0.53.53")

    asked = alone.judge(TC_LO, IP4("127.0.53.53", packet, src="127.0.0.1"), device=LO, mark=99)
    other = alone.judge(TC_LO, IP4("127.0.53.54", packet, src="127.0.0.1"), device=LO, mark=99)

    assert asked == Said(ALLOW, None, False, HOST)
    assert other == Said(ALLOW, None, False, 99)


@pytest.mark.parametrize(
    ("packet", "passes"),
    [
        pytest.param(IP6("::1", UDP(9), src=PEER6), False, id="made up, v6"),
        pytest.param(IP4("127.0.0.1", UDP(9), src=PEER4), False, id="made up"),
        pytest.param(IP4("127.0.0.1", TCP(9, SYN), src=PEER4), False, id="made up, SYN"),
        pytest.param(IP4("127.0.0.1", UDP(9), src=PEER4, version=5), False, id="malformed"),
        pytest.param(IP4(HERE4, Cut(UDP(9, bytes(30)), 0, 16), src=PEER4, more=True), False,
                     id="in fragments"),
        pytest.param(IP6("::1", UDP(9), src=HERE6), True, id="an address of this host's, v6"),
        pytest.param(IP4("127.0.0.1", UDP(9), src=HERE4), True, id="an address of this host's"),
        pytest.param(IP4("127.0.0.1", UDP(9), src="127.0.0.9"), True, id="loopback"),
        pytest.param(IP4("127.0.0.1", TCP(9, ACK), src=PEER4), True, id="a proxy's answer"),
    ],
)  # fmt: skip
def test_row_15_nothing_goes_over_lo_for_a_made_up_source(
    alone: Wall, packet: Part, passes: bool
) -> None:
    said = alone.judge(TC_LO, packet, device=LO)

    assert said == Said(ALLOW if passes else DENY, None if passes else Reason.SPOOFED, False, 0)


def test_nothing_else_is_judged_on_lo(alone: Wall) -> None:
    alone.policy(loopback=abi.Loopback.PORTS)
    for frame in (IP4("127.0.0.1", TCP(80), src="127.0.0.1"),
                  Ether(IP4("127.0.0.1", TCP(80), src="127.0.0.1"), tags=[VLAN]),
                  Ether(Part(0x1234, bytes(40)))):  # fmt: skip
        assert alone.judge(TC_LO, frame, device=LO).verdict is ALLOW


def test_a_role_that_only_watches_says_so_on_lo(alone: Wall) -> None:
    alone.policy(audit=True)

    said = alone.judge(TC_LO, IP4("127.0.0.1", UDP(9), src=PEER4), device=LO)
    assert said == Said(ALLOW, Reason.SPOOFED, True, 0)


# each role counts, and may only watch


def test_a_role_counts_for_itself(via: Wall) -> None:
    via.policy(others=[RolePlan(WEB, DENY, Mode.AUDIT, inbound=Inbound.DENY)])
    via.run(TC, IP4(PEER4, TCP(443)), repeat=5)
    via.run(CG_EGRESS, IP4(PEER4, TCP(443)), repeat=3)

    table = via.table("dnsfw_role_counters")

    def counted(role: int) -> list[int]:
        value = table.lookup(role.to_bytes(4, "little")) or b""
        rows = [abi.Counter.unpack(value[at : at + 32]) for at in range(0, len(value), 32)]
        return [sum(row[i] for row in rows) for i in range(3)]

    assert counted(HOST) == [0, 3, 0]
    assert counted(WEB) == [0, 0, 5]
