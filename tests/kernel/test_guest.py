"""A guest's link: everything that it sends is judged there as its role, and what is sent to
it is let in as its role says. One packet, the hooks of the host's end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from dnsfw.datapath import abi
from dnsfw.model import HOST, Inbound, Lockdown, Mode, Reason, RoleId, RolePlan, Verdict
from tests.support.packets import (
    ACK,
    ARP,
    EAPOL,
    FIN,
    HOST4,
    HOST6,
    ICMP,
    ICMP6,
    IP4,
    IP6,
    RST,
    SYN,
    TCP,
    UDP,
    Cut,
    Ether,
    Fragment,
    Part,
    Raw,
)
from tests.support.wall import (
    ALLOW,
    DENY,
    EDGE_IN,
    EDGE_OUT,
    FROM_GUEST,
    GUEST_IN,
    GUEST_OUT,
    MAIL,
    TC,
    TC_INGRESS,
    TC_L3,
    TO_GUEST,
    WEB,
    Said,
    Wall,
    ports,
)

PEER4, PEER6 = "192.0.2.10", "2001:db8::10"
OTHER4 = "198.51.100.6"  # another guest
GATE4, GATE6 = "198.51.100.1", "2001:db8:5::1"  # the host itself, as guests see it
JUDGED = int(abi.Mark.JUDGED)
To = Callable[..., Part]
BOTH = pytest.mark.parametrize("to", [IP4, IP6], ids=["v4", "v6"])


@pytest.fixture(params=FROM_GUEST)
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=TO_GUEST)
def into(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def link(wall: Wall) -> int:
    """A device whose guest has the role WEB; `host` may send anywhere, WEB nowhere."""
    index = socket.if_nametoindex("eth1")
    wall.policy(ALLOW, others=[RolePlan(WEB, DENY), RolePlan(MAIL, DENY)])
    wall.device_is(index, WEB)
    return index


def roles(wall: Wall, **web: object) -> None:
    wall.policy(ALLOW, others=[RolePlan(WEB, DENY, **web), RolePlan(MAIL, DENY)])  # type: ignore[arg-type]


def peer(to: To) -> str:
    return PEER4 if to is IP4 else PEER6


def back(to: To, part: Part) -> Part:
    """A packet of the peer's to the guest."""
    return to(HOST4, part, src=PEER4) if to is IP4 else to(HOST6, part, src=PEER6)


# what a guest sends


@BOTH
def test_row_39_a_guest_is_judged_as_its_role_and_no_other(
    wall: Wall, link: int, hook: str, to: To
) -> None:
    refused = wall.judge(hook, to(peer(to), TCP(443)), device=link)
    wall.open(PEER4, PEER6)  # the host's
    still = wall.judge(hook, to(peer(to), TCP(443)), device=link)
    wall.open(PEER4, PEER6, role=WEB)
    opened = wall.judge(hook, to(peer(to), TCP(443)), device=link)

    assert refused == still == Said(DENY, Reason.NEVER_RESOLVED, False, 0)
    assert opened == Said(ALLOW, Reason.GRANTED, False, JUDGED)
    (flow,) = wall.flows()
    assert flow.role == WEB


@BOTH
def test_a_guests_flow_outlives_its_grant_and_is_the_guests_alone(
    wall: Wall, link: int, hook: str, to: To
) -> None:
    wall.open(PEER4, PEER6, role=WEB)
    wall.judge(hook, to(peer(to), TCP(443)), device=link)
    wall.grant(PEER4, role=WEB)
    wall.grant(PEER6, role=WEB)
    more = to(peer(to), TCP(443, ACK, b"more"))

    assert wall.judge(hook, more, device=link).reason is Reason.FLOW

    wall.device_is(link, MAIL)  # another guest, with the same address
    assert wall.judge(hook, more, device=link).reason is Reason.NEVER_RESOLVED


@pytest.mark.parametrize(
    ("source", "role"),
    [
        pytest.param("10.1.0.5", MAIL, id="the longest prefix of this device"),
        pytest.param("10.1.9.9", WEB, id="a shorter one"),
        pytest.param("10.2.0.5", MAIL, id="a prefix of any device"),
        pytest.param("10.3.0.5", HOST, id="a prefix of another device is nobody's here"),
        pytest.param("10.4.0.5", HOST, id="no prefix: the device's own role"),
    ],
)
def test_row_39_the_source_says_whose_a_forwarded_packet_is(
    wall: Wall, hook: str, source: str, role: RoleId
) -> None:
    link = socket.if_nametoindex("eth1")
    wall.policy(others=[RolePlan(WEB, DENY), RolePlan(MAIL, DENY)])
    wall.device_is(link, HOST)
    wall.source_is("10.1.0.0/16", WEB, link)
    wall.source_is("10.1.0.0/24", MAIL, link)
    wall.source_is("10.2.0.0/16", MAIL)
    wall.source_is("10.3.0.0/16", WEB, link + 1)
    wall.open(PEER4, role=role)

    for candidate in (HOST, WEB, MAIL):
        wall.grant(PEER4, role=candidate)
    assert wall.judge(hook, IP4(PEER4, TCP(443), src=source), device=link).verdict is DENY
    wall.open(PEER4, role=role)
    assert wall.judge(hook, IP4(PEER4, TCP(443), src=source), device=link).verdict is ALLOW


def test_a_forged_source_of_another_link_gains_nothing(
    wall: Wall, link: int, hook: str
) -> None:
    wall.source_is("10.3.0.0/16", MAIL, link + 1)
    wall.open(PEER4, role=MAIL)

    assert wall.judge(hook, IP4(PEER4, TCP(443), src="10.3.0.5"), device=link).verdict is DENY


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(IP4(PEER4, UDP(443), src="127.0.0.1"), id="from loopback"),
        pytest.param(IP6(PEER6, UDP(443), src="::1"), id="from loopback, v6"),
        pytest.param(IP4("127.0.0.1", UDP(443)), id="to loopback (route_localnet)"),
        pytest.param(IP4("127.0.53.53", UDP(53)), id="to dnsfw's own listener there"),
        pytest.param(IP6("::1", UDP(443)), id="to loopback, v6"),
        pytest.param(IP4(PEER4, UDP(443), src=GATE4), id="as the host"),
        pytest.param(IP6(PEER6, UDP(443), src=GATE6), id="as the host, v6"),
        pytest.param(IP4(PEER4, UDP(443), src="0.0.0.0"), id="from nowhere"),
    ],
)
def test_row_15_a_guest_does_not_speak_for_the_host(
    wall: Wall, link: int, hook: str, packet: Part
) -> None:
    wall.policy(ALLOW, others=[RolePlan(WEB, ALLOW)])
    wall.keep_locals(GATE4, GATE6, "127.0.0.1", "::1")
    wall.listen("127.0.53.53")

    assert wall.judge(hook, packet, device=link) == Said(DENY, Reason.SPOOFED, False, 0)
    assert wall.judge(hook, IP4(PEER4, UDP(443)), device=link).verdict is ALLOW


@BOTH
def test_a_guests_query_carries_its_role(wall: Wall, link: int, hook: str, to: To) -> None:
    gate = GATE4 if to is IP4 else GATE6
    wall.keep_locals(GATE4, GATE6)
    wall.listen(gate)

    asked = wall.judge(hook, to(gate, UDP(53)), device=link)
    elsewhere = wall.judge(hook, to(peer(to), UDP(53)), device=link)

    assert asked == Said(ALLOW, Reason.LISTENER, False, WEB)
    assert elsewhere.reason is Reason.NEVER_RESOLVED


def test_a_wildcard_listener_is_every_address_of_the_host_and_no_other(
    wall: Wall, link: int, hook: str
) -> None:
    wall.listen("::")
    assert wall.judge(hook, IP4(GATE4, UDP(53)), device=link).verdict is DENY

    wall.keep_locals(GATE4)
    assert wall.judge(hook, IP4(GATE4, UDP(53)), device=link).mark == WEB
    assert wall.judge(hook, IP4(PEER4, UDP(53)), device=link).verdict is DENY


def test_row_26_fragments_of_a_guest_follow_their_own_first(
    wall: Wall, link: int, hook: str
) -> None:
    whole = UDP(443, bytes(60))
    first = IP4(PEER4, Cut(whole, 0, 24), more=True)
    later = IP4(PEER4, Cut(whole, 24), offset=3)
    wall.open(PEER4, role=WEB)

    assert wall.judge(hook, later, device=link).reason is Reason.FRAG_ORPHAN
    assert wall.judge(hook, first, device=link).reason is Reason.GRANTED
    assert wall.judge(hook, later, device=link).reason is Reason.FLOW
    wall.device_is(link, MAIL)
    assert wall.judge(hook, later, device=link).reason is Reason.FRAG_ORPHAN


@pytest.mark.parametrize("state", [Lockdown.ON, Lockdown.HARD])
def test_lockdown_holds_for_guests(wall: Wall, link: int, hook: str, state: Lockdown) -> None:
    wall.open(PEER4, role=WEB)
    wall.judge(hook, IP4(PEER4, TCP(443)), device=link)
    wall.sink.lockdown(state)

    for part in (TCP(443, ACK), TCP(443, seq=2), UDP(443)):
        assert wall.judge(hook, IP4(PEER4, part), device=link).reason is Reason.LOCKDOWN


def test_a_role_that_only_watches_lets_its_guest_pass(
    wall: Wall, link: int, hook: str
) -> None:
    wall.policy(others=[RolePlan(WEB, DENY, Mode.AUDIT)])

    said = wall.judge(hook, IP4(PEER4, TCP(443)), device=link)
    assert said == Said(ALLOW, Reason.NEVER_RESOLVED, True, JUDGED)


# upkeep of a guest

GROUP6, LINK6 = "ff02::1:ff00:1", "fe80::1"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(IP6(GROUP6, ICMP6(135, bytes(28)), hops=255, src="::"), id="DAD"),
        pytest.param(IP6(GROUP6, ICMP6(135, bytes(28)), hops=255), id="solicitation"),
        pytest.param(IP6(GATE6, ICMP6(136, bytes(28)), hops=255), id="answer to a global address"),
        pytest.param(IP6("ff02::2", ICMP6(133), src=LINK6, hops=255), id="router solicitation"),
        pytest.param(IP4("224.0.0.22", Raw(2), ttl=1), id="IGMP"),
        pytest.param(IP6("ff02::16", ICMP6(143), src=LINK6, hops=1), id="MLD"),
        pytest.param(IP4("255.255.255.255", UDP(67, sport=68), src="0.0.0.0"), id="DHCP"),
        pytest.param(IP4(GATE4, UDP(67, sport=68)), id="DHCP renewal at the host's server"),
        pytest.param(IP6("ff02::1:2", UDP(547, sport=546), src=LINK6), id="DHCPv6"),
    ],
)
def test_row_22_a_guest_lives_on_its_link(
    wall: Wall, link: int, hook: str, packet: Part
) -> None:
    """Upkeep is for this link: it is never marked as judged for another device."""
    wall.keep_locals(GATE4, GATE6)
    wall.sink.lockdown(Lockdown.HARD)

    assert wall.judge(hook, packet, device=link) == Said(ALLOW, Reason.UPKEEP, False, 0)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(IP6(PEER6, ICMP6(136, bytes(200)), hops=255), id="much in an ND answer"),
        pytest.param(IP6(PEER6, ICMP6(137, bytes(28)), hops=255), id="a redirect off the link"),
        pytest.param(IP6(GROUP6, ICMP6(135, bytes(28)), hops=64), id="ND of another link"),
        pytest.param(IP4(PEER4, UDP(67, sport=68)), id="DHCP past the host"),
        pytest.param(IP4(PEER4, TCP(443, ACK)), id="an ACK of nothing"),
        pytest.param(IP4(PEER4, TCP(443, RST)), id="an RST of nothing"),
        pytest.param(IP4(PEER4, ICMP(3, bytes(40))), id="an error"),
        pytest.param(IP4(PEER4, ICMP(0)), id="an echo reply"),
        pytest.param(IP6(PEER6, ICMP6(1, bytes(40))), id="an error, v6"),
    ],
)
def test_row_22_what_only_looks_like_upkeep_is_the_policys(
    wall: Wall, link: int, hook: str, packet: Part
) -> None:
    wall.keep_locals(GATE4, GATE6)
    assert wall.judge(hook, packet, device=link).reason is Reason.NEVER_RESOLVED


@pytest.mark.parametrize(
    ("frame", "rate"),
    [
        pytest.param(Ether(Part(ARP, bytes(46))), 1000, id="ARP"),
        pytest.param(Ether(Part(EAPOL, bytes(1400))), 20, id="EAPOL"),
        pytest.param(Ether(IP6(GROUP6, ICMP6(135), hops=255)), 1000, id="ND"),
    ],
)
def test_row_22_a_guests_upkeep_has_a_rate_of_its_own(
    wall: Wall, link: int, frame: bytes, rate: int
) -> None:
    wall.run(GUEST_IN, frame, device=link, repeat=rate + 100)

    passed = wall.sink.counters()[Reason.UPKEEP].allowed
    assert rate <= passed <= 2 * rate
    assert wall.sink.counters()[Reason.UPKEEP_RATE].denied == rate + 100 - passed
    # the host, and another guest, have theirs
    assert wall.judge(TC, frame).reason is Reason.UPKEEP
    assert wall.judge(GUEST_IN, frame, device=wall.device).reason is Reason.UPKEEP


# what is sent to a guest


@BOTH
def test_an_answer_reaches_the_guest_that_asked(
    wall: Wall, link: int, into: str, to: To
) -> None:
    roles(wall, inbound=Inbound.DENY)
    wall.open(PEER4, PEER6, role=WEB)
    answer = back(to, TCP(40000, SYN | ACK, sport=443))
    assert wall.judge(into, answer, device=link) == Said(DENY, Reason.INBOUND, False, 0)

    wall.judge(GUEST_IN, to(peer(to), TCP(443)), device=link)

    assert wall.judge(into, answer, device=link).reason is Reason.FLOW
    assert wall.flows()[0].state is abi.FlowState.OPEN
    syn = back(to, TCP(40000, sport=443, seq=5))
    assert wall.judge(into, syn, device=link).verdict is DENY


@pytest.mark.parametrize(
    ("web", "part", "enters"),
    [
        ({"inbound": Inbound.TCP}, TCP(80, sport=5000), True),
        ({"inbound": Inbound.TCP}, UDP(80, sport=5000), False),
        ({"inbound": Inbound.ALL}, UDP(80, sport=5000), True),
        ({"inbound": Inbound.DENY}, TCP(80, sport=5000), False),
        ({"inbound": Inbound.PORTS, "inbound_ports": ports("80/tcp")}, TCP(80, sport=5000), True),
        ({"inbound": Inbound.PORTS, "inbound_ports": ports("80/tcp")}, TCP(81, sport=5000), False),
        ({"inbound": Inbound.ALL}, TCP(80, ACK, sport=5000), False),
        ({"inbound": Inbound.ALL}, Raw(47), True),
        ({"inbound": Inbound.TCP}, Raw(47), False),
        ({"inbound": Inbound.TCP}, ICMP(8), False),
        ({"inbound": Inbound.ALL}, ICMP(8), True),
    ],
)
def test_who_may_begin_with_a_guest_is_its_roles_question(
    wall: Wall, link: int, into: str, web: dict[str, object], part: Part, enters: bool
) -> None:
    roles(wall, **web)

    said = wall.judge(into, back(IP4, part), device=link)

    assert (said.reason, said.verdict is ALLOW) == (Reason.INBOUND, enters)
    assert len(wall.flows(inbound=True)) == (enters and part.number in (6, 17))


@BOTH
def test_a_guest_answers_whom_its_role_let_in(
    wall: Wall, link: int, hook: str, to: To
) -> None:
    answer = to(peer(to), TCP(5000, SYN | ACK, sport=80))
    assert wall.judge(hook, answer, device=link).verdict is DENY

    wall.judge(GUEST_OUT, back(to, TCP(80, sport=5000)), device=link)

    assert wall.judge(hook, answer, device=link) == Said(ALLOW, Reason.INBOUND, False, JUDGED)
    for part in (TCP(5000, ACK, b"page", sport=80), TCP(5000, FIN | ACK, sport=80)):
        assert wall.judge(hook, to(peer(to), part), device=link).reason is Reason.INBOUND
    assert wall.judge(hook, to(peer(to), TCP(5000, sport=80)), device=link).verdict is DENY
    assert wall.judge(hook, to(peer(to), TCP(5001, ACK, sport=80)), device=link).verdict is DENY
    wall.device_is(link, MAIL)
    assert wall.judge(hook, answer, device=link).verdict is DENY


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(back(IP4, ICMP(0)), id="the answer to a ping"),
        pytest.param(back(IP4, ICMP(3)), id="an error"),
        pytest.param(IP4("255.255.255.255", UDP(68, sport=67), src=GATE4), id="a lease"),
        pytest.param(back(IP6, ICMP6(2)), id="packet too big"),
        pytest.param(IP6(HOST6, ICMP6(136), src=GATE6, hops=255), id="ND"),
        pytest.param(IP6(LINK6, UDP(546, sport=547), src="fe80::2"), id="a lease, v6"),
    ],
)
def test_what_begins_nothing_reaches_a_guest_that_receives_nothing(
    wall: Wall, link: int, into: str, packet: Part
) -> None:
    roles(wall, inbound=Inbound.DENY)

    assert wall.judge(into, packet, device=link).reason is Reason.UPKEEP


def test_a_malformed_packet_does_not_reach_a_guest(wall: Wall, link: int, into: str) -> None:
    roles(wall, inbound=Inbound.ALL)
    wrong = IP6(HOST6, Fragment(Cut(TCP(80), 0, 8), more=True), src=PEER6)

    assert wall.judge(into, wrong, device=link).reason is Reason.FRAG_HEADER


def test_a_guest_does_not_speak_for_a_server_to_another(wall: Wall, link: int) -> None:
    """The answer of a flow is its server's; a guest that forges it is judged by its role."""
    wall.open(PEER4, role=MAIL)
    wall.device_is(wall.device, MAIL)
    wall.judge(GUEST_IN, IP4(PEER4, TCP(443), src=OTHER4), device=wall.device)
    forged = IP4(OTHER4, TCP(40000, ACK, b"lies", sport=443), src=PEER4)

    assert wall.judge(GUEST_IN, forged, device=link).verdict is DENY
    # from elsewhere it is the answer
    assert wall.judge(GUEST_OUT, forged, device=wall.device).reason is Reason.FLOW


# other devices


@pytest.mark.parametrize("out", [TC, TC_L3])
def test_what_a_guests_link_judged_passes_the_uplink(wall: Wall, link: int, out: str) -> None:
    """Behind NAT its source is the host's, behind a bridge its device is the bridge."""
    wall.policy(DENY, others=[RolePlan(WEB, DENY)])
    packet = IP4(PEER4, TCP(443), src=GATE4)

    assert wall.judge(out, packet, came_in=99, mark=JUDGED).reason is Reason.JUDGED
    assert wall.judge(out, packet, came_in=99).verdict is DENY
    assert wall.judge(out, packet, mark=JUDGED).verdict is DENY  # SO_MARK of a socket here


@pytest.mark.parametrize("out", [TC, TC_L3])
def test_without_guests_the_mark_says_nothing(wall: Wall, out: str) -> None:
    assert wall.judge(out, IP4(PEER4, TCP(443)), came_in=9, mark=JUDGED).verdict is DENY


def test_a_mark_from_elsewhere_is_wiped(wall: Wall, link: int) -> None:
    packet = IP4(PEER4, TCP(443))

    assert wall.judge(TC_INGRESS, packet, mark=JUDGED | 5).mark == 5
    assert wall.judge(GUEST_IN, packet, device=link, mark=JUDGED).verdict is DENY


@pytest.mark.parametrize("out", [TC, TC_L3])
def test_what_is_forwarded_to_a_guest_is_its_own_links_question(
    wall: Wall, link: int, out: str
) -> None:
    wall.policy(DENY, others=[RolePlan(WEB, DENY)])

    assert wall.judge(out, back(IP4, TCP(80)), device=link, came_in=9).reason is Reason.JUDGED
    assert wall.judge(out, back(IP4, TCP(80)), device=link).verdict is DENY  # the host's own


@pytest.mark.parametrize(("verdict", "reason"), [(ALLOW, Reason.INBOUND),
                                                 (DENY, Reason.NEVER_RESOLVED)])  # fmt: skip
def test_on_a_link_that_is_the_hosts_too_its_own_packets_are_judged_first(
    wall: Wall, link: int, verdict: Verdict, reason: Reason
) -> None:
    wall.policy(verdict, others=[RolePlan(WEB, DENY)])
    packet = IP4(HOST4, TCP(80), src=GATE4)

    before = wall.sink.counters()
    passed = wall.run(EDGE_OUT, packet, device=link).retval == 0xFFFFFFFF
    moved = {r for r, now in wall.sink.counters().items() if now != before[r]}

    assert passed is (verdict is ALLOW)
    assert reason in moved
    assert wall.judge(EDGE_OUT, packet, device=link, came_in=9).reason is Reason.INBOUND


def test_on_such_a_link_the_guest_is_judged_like_any(wall: Wall, link: int) -> None:
    assert wall.judge(EDGE_IN, IP4(PEER4, TCP(443)), device=link).verdict is DENY
    wall.open(PEER4, role=WEB)
    assert wall.judge(EDGE_IN, IP4(PEER4, TCP(443)), device=link).mark == JUDGED
