"""The order of judgement, and what each step may say. One packet, every packet hook."""

from __future__ import annotations

from collections.abc import Callable
from time import CLOCK_BOOTTIME, clock_gettime_ns

import pytest

from dnsfw.datapath import abi
from dnsfw.model import SECOND, Lockdown, Reason, RuleId
from tests.support.packets import (
    ACK,
    FIN,
    ICMP,
    ICMP6,
    IP4,
    IP6,
    RST,
    SCTP,
    TCP,
    UDP,
    Part,
    Raw,
    UDPLite,
)
from tests.support.wall import (
    ALLOW,
    CG_EGRESS,
    DENY,
    EGRESS,
    FROM_GUEST,
    LATER,
    OTHER_RULE,
    RULE,
    TC,
    TC_L3,
    THIRD_RULE,
    Said,
    Wall,
)

HERE4, HERE6, ELSEWHERE = "192.0.2.10", "2001:db8::10", "203.0.113.9"
BUILTIN = RuleId(abi.RuleId.BUILTIN)
DEFAULT = RuleId(abi.RuleId.DEFAULT)
LO = 1  # the index of lo in every network namespace
BOTH = pytest.mark.parametrize("to", [IP4, IP6], ids=["v4", "v6"])
To = Callable[..., Part]


HERE = pytest.mark.parametrize("hook", EGRESS)  # what a guest sends is from a wire


@pytest.fixture(params=EGRESS + FROM_GUEST)
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def here(to: To) -> str:
    return HERE4 if to is IP4 else HERE6


def said(
    wall: Wall, hook: str, packet: Part, *, device: int | None = None
) -> tuple[Reason | None, bool]:
    result = wall.judge(hook, packet, device=device)
    return result.reason, result.verdict is ALLOW


# grants


@BOTH
def test_row_01_and_02_an_address_never_resolved_is_refused(
    wall: Wall, hook: str, to: To
) -> None:
    wall.open(HERE4, HERE6)

    assert said(wall, hook, to(here(to), TCP(443))) == (Reason.GRANTED, True)
    other = ELSEWHERE if to is IP4 else "2001:db8::9"
    assert said(wall, hook, to(other, TCP(443))) == (Reason.NEVER_RESOLVED, False)


@BOTH
def test_row_07_and_08_each_datagram_is_judged_by_itself(wall: Wall, hook: str, to: To) -> None:
    wall.open(HERE4, HERE6)
    other = ELSEWHERE if to is IP4 else "2001:db8::9"

    for _ in range(2):
        assert wall.judge(hook, to(here(to), UDP(443))).verdict is ALLOW
        assert said(wall, hook, to(other, UDP(443))) == (Reason.NEVER_RESOLVED, False)


@BOTH
def test_row_09_data_in_a_syn_changes_nothing(wall: Wall, hook: str, to: To) -> None:
    wall.open(HERE4)

    fast_open = TCP(443, data=b"secret")
    expected = (Reason.GRANTED, True) if to is IP4 else (Reason.NEVER_RESOLVED, False)
    assert said(wall, hook, to(here(to), fast_open)) == expected


@pytest.mark.parametrize(
    "part", [UDPLite(443), SCTP(443), Raw(33)], ids=["udplite", "sctp", "dccp"]
)
@BOTH
def test_row_12_other_transports_need_a_rule_of_their_own(
    wall: Wall, hook: str, to: To, part: Part
) -> None:
    wall.open(HERE4, HERE6)
    assert said(wall, hook, to(here(to), part)) == (Reason.WRONG_PORT, False)

    wall.open(HERE4, HERE6, text="443/sctp 443/udplite")
    named = part.number != 33
    expected = (Reason.GRANTED, True) if named else (Reason.WRONG_PORT, False)
    assert said(wall, hook, to(here(to), part)) == expected


@pytest.mark.parametrize("number", [4, 41, 47, 50, 51, 253, 255])
@BOTH
def test_row_13_any_other_protocol_is_refused_unless_named(
    wall: Wall, hook: str, to: To, number: int
) -> None:
    wall.open(HERE4, HERE6, text="tcp udp icmp")
    assert said(wall, hook, to(here(to), Raw(number))) == (Reason.WRONG_PORT, False)

    wall.open(HERE4, HERE6, text="gre")
    expected = (Reason.GRANTED, True) if number == 47 else (Reason.WRONG_PORT, False)
    assert said(wall, hook, to(here(to), Raw(number))) == expected


@BOTH
def test_row_14_an_echo_tunnel_needs_a_grant_for_icmp(wall: Wall, hook: str, to: To) -> None:
    echo = to(here(to), ICMP(8, bytes(1400)) if to is IP4 else ICMP6(128, bytes(1200)))
    wall.open(HERE4, HERE6)
    assert said(wall, hook, echo) == (Reason.WRONG_PORT, False)

    wall.open(HERE4, HERE6, text="icmp")
    assert said(wall, hook, echo) == (Reason.GRANTED, True)


@BOTH
def test_row_27_another_port_of_an_open_address_is_refused(
    wall: Wall, hook: str, to: To
) -> None:
    wall.open(HERE4, HERE6)

    assert said(wall, hook, to(here(to), TCP(443))) == (Reason.GRANTED, True)
    for port in (22, 442, 444, 0, 65535):
        assert said(wall, hook, to(here(to), TCP(port))) == (Reason.WRONG_PORT, False)


@BOTH
def test_row_28_udp_is_refused_where_tcp_is_allowed(wall: Wall, hook: str, to: To) -> None:
    wall.open(HERE4, HERE6, text="443/tcp")

    assert said(wall, hook, to(here(to), TCP(443))) == (Reason.GRANTED, True)
    assert said(wall, hook, to(here(to), UDP(443))) == (Reason.WRONG_PORT, False)


@BOTH
def test_a_range_covers_its_ends_and_nothing_beside_them(wall: Wall, hook: str, to: To) -> None:
    wall.open(HERE4, HERE6, text="1000-60000/tcp")

    verdicts = [wall.judge(hook, to(here(to), TCP(port))).verdict
                for port in (999, 1000, 30000, 60000, 60001)]

    assert verdicts == [DENY, ALLOW, ALLOW, ALLOW, DENY]


def test_all_sixteen_ranges_of_a_portset_count(wall: Wall, hook: str) -> None:
    wall.open(HERE4, text=" ".join(f"{1000 * i}-{1000 * i + 10}/tcp" for i in range(1, 17)))

    for i in range(1, 17):
        assert wall.judge(hook, IP4(HERE4, TCP(1000 * i + 10))).verdict is ALLOW
        assert wall.judge(hook, IP4(HERE4, TCP(1000 * i + 11))).verdict is DENY
        assert wall.judge(hook, IP4(HERE4, UDP(1000 * i))).verdict is DENY


@BOTH
def test_a_grant_ends_by_the_kernels_own_clock(wall: Wall, hook: str, to: To) -> None:
    wall.grant(here(to), ("443/tcp", ALLOW, RULE, -1))
    assert said(wall, hook, to(here(to), TCP(443))) == (Reason.EXPIRED, False)

    wall.grant(here(to), ("443/tcp", ALLOW, RULE, 10 * SECOND))
    assert said(wall, hook, to(here(to), TCP(443))) == (Reason.GRANTED, True)


def test_a_grant_of_a_dead_rule_opens_nothing(wall: Wall, hook: str) -> None:
    wall.open(HERE4)
    wall.kill(RULE)

    assert said(wall, hook, IP4(HERE4, TCP(443))) == (Reason.NEVER_RESOLVED, False)


def test_row_77_two_names_with_other_rules_and_deadlines_share_an_address(
    wall: Wall, hook: str
) -> None:
    wall.grant(
        HERE4, ("443/tcp", ALLOW, RULE, -1), ("80/tcp", ALLOW, OTHER_RULE, LATER),
        ("22/tcp", ALLOW, THIRD_RULE, LATER),
    )

    assert said(wall, hook, IP4(HERE4, TCP(80))) == (Reason.GRANTED, True)
    assert said(wall, hook, IP4(HERE4, TCP(22))) == (Reason.GRANTED, True)
    assert not said(wall, hook, IP4(HERE4, TCP(443)))[1]

    wall.kill(OTHER_RULE)
    assert not said(wall, hook, IP4(HERE4, TCP(80, seq=2)))[1]
    assert said(wall, hook, IP4(HERE4, TCP(22, seq=2))) == (Reason.GRANTED, True)


def test_all_four_slots_count(wall: Wall, hook: str) -> None:
    rows = [(f"{port}/tcp", ALLOW, RULE, LATER) for port in (1, 2, 3, 4)]
    wall.grant(HERE4, *rows)

    assert [said(wall, hook, IP4(HERE4, TCP(port)))[1] for port in range(6)] == [
        False, True, True, True, True, False,
    ]


@pytest.mark.parametrize("closing_first", [True, False])
def test_row_76_a_closing_grant_goes_before_an_opening_one(
    wall: Wall, hook: str, closing_first: bool
) -> None:
    wall.policy(ALLOW)
    slots = [("tcp", DENY, OTHER_RULE, LATER), ("443/tcp", ALLOW, RULE, LATER)]
    wall.grant(HERE4, *(slots if closing_first else slots[::-1]))
    assert said(wall, hook, IP4(HERE4, TCP(443))) == (Reason.CLOSED, False)
    assert said(wall, hook, IP4(HERE4, UDP(443))) == (Reason.DEFAULT, True)

    wall.grant(HERE4, ("tcp", DENY, OTHER_RULE, -1), slots[1])
    assert said(wall, hook, IP4(HERE4, TCP(443, seq=2))) == (Reason.GRANTED, True)


# the default, and what no grant decides


def test_the_default_decides_what_nothing_names(wall: Wall, hook: str) -> None:
    wall.policy(ALLOW)
    assert said(wall, hook, IP4(ELSEWHERE, TCP(22))) == (Reason.DEFAULT, True)
    assert said(wall, hook, IP4(ELSEWHERE, Raw(99))) == (Reason.DEFAULT, True)

    wall.policy(DENY)
    assert said(wall, hook, IP4(ELSEWHERE, TCP(22, seq=2))) == (Reason.NEVER_RESOLVED, False)


@HERE
def test_a_role_that_nobody_set_denies_everything(wall: Wall, hook: str) -> None:
    wall.table("dnsfw_roles").update(abi.RoleId.HOST.to_bytes(4, "little"), bytes(24))
    wall.grant("127.0.0.1")

    for address in (ELSEWHERE, "127.0.0.1"):
        assert said(wall, hook, IP4(address, TCP(22))) == (Reason.DEFAULT, False)


def test_resolved_only_refuses_what_dnsfw_never_handed_out(wall: Wall, hook: str) -> None:
    wall.policy(ALLOW, resolved_only=True)
    wall.grant(HERE4, ("tcp udp", ALLOW, DEFAULT, LATER))

    assert said(wall, hook, IP4(HERE4, TCP(443))) == (Reason.GRANTED, True)
    assert said(wall, hook, IP4(ELSEWHERE, TCP(443))) == (Reason.NEVER_RESOLVED, False)


# address rules


def test_the_longest_prefix_decides_both_ways(wall: Wall, hook: str) -> None:
    wide, narrow = ("tcp", ALLOW, RULE), ("tcp", DENY, OTHER_RULE)
    wall.policy(fixed={"10.0.0.0/8": [wide], "10.9.0.0/16": [narrow, wide],
                       "2001:db8:a::/48": [wide]})

    assert said(wall, hook, IP4("10.1.1.1", TCP(22))) == (Reason.ADDRESS_RULE, True)
    assert said(wall, hook, IP4("10.9.1.1", TCP(22))) == (Reason.ADDRESS_RULE, False)
    assert said(wall, hook, IP6("2001:db8:a::1", TCP(22))) == (Reason.ADDRESS_RULE, True)
    assert said(wall, hook, IP4("11.1.1.1", TCP(22))) == (Reason.NEVER_RESOLVED, False)


def test_a_temporary_address_rule_ends_by_the_kernels_clock(wall: Wall, hook: str) -> None:
    now = clock_gettime_ns(CLOCK_BOOTTIME) // SECOND
    rows = {"10.9.0.0/16": [("tcp", ALLOW, OTHER_RULE), ("22/tcp", DENY, RULE)]}

    wall.policy(fixed=rows, ends={OTHER_RULE: now + 100})
    assert said(wall, hook, IP4("10.9.1.1", TCP(22))) == (Reason.ADDRESS_RULE, True)
    assert said(wall, hook, IP4("10.9.1.1", TCP(23))) == (Reason.ADDRESS_RULE, True)

    wall.policy(fixed=rows, ends={OTHER_RULE: now})
    assert said(wall, hook, IP4("10.9.1.2", TCP(22))) == (Reason.ADDRESS_RULE, False)
    assert said(wall, hook, IP4("10.9.1.2", TCP(23))) == (Reason.NEVER_RESOLVED, False)


def test_what_a_temporary_rule_let_begin_ends_with_it(wall: Wall, hook: str) -> None:
    now = clock_gettime_ns(CLOCK_BOOTTIME) // SECOND
    rows = {"10.9.0.0/16": [("tcp", ALLOW, OTHER_RULE)]}
    wall.policy(fixed=rows, ends={OTHER_RULE: now + 100})
    assert said(wall, hook, IP4("10.9.1.1", TCP(22))) == (Reason.ADDRESS_RULE, True)
    assert said(wall, hook, IP4("10.9.1.1", TCP(22, flags=ACK)))[1]

    wall.policy(fixed=rows, ends={OTHER_RULE: now})

    assert not said(wall, hook, IP4("10.9.1.1", TCP(22, flags=ACK)))[1]


def test_the_first_rule_that_covers_the_port_decides(wall: Wall, hook: str) -> None:
    wall.policy(fixed={"10.9.0.0/16": [("22/tcp", DENY, OTHER_RULE), ("tcp", ALLOW, RULE)]})

    assert said(wall, hook, IP4("10.9.1.1", TCP(22))) == (Reason.ADDRESS_RULE, False)
    assert said(wall, hook, IP4("10.9.1.1", TCP(23))) == (Reason.ADDRESS_RULE, True)
    assert said(wall, hook, IP4("10.9.1.1", UDP(23))) == (Reason.NEVER_RESOLVED, False)


def test_the_sixteenth_rule_of_a_prefix_counts(wall: Wall, hook: str) -> None:
    rows = [(f"{port}/tcp", ALLOW if port % 2 else DENY, RULE) for port in range(1, 17)]
    wall.policy(ALLOW, fixed={"10.0.0.0/8": rows})

    assert [said(wall, hook, IP4("10.0.0.1", TCP(port))) for port in (15, 16, 17)] == [
        (Reason.ADDRESS_RULE, True), (Reason.ADDRESS_RULE, False), (Reason.DEFAULT, True),
    ]


def test_an_address_rule_beats_names_both_ways(wall: Wall, hook: str) -> None:
    wall.policy(fixed={"192.0.2.0/24": [("tcp", DENY, RULE)],
                       "203.0.113.0/24": [("tcp", ALLOW, RULE)]})
    wall.open(HERE4)
    wall.grant(ELSEWHERE, ("tcp", DENY, OTHER_RULE, LATER))

    assert said(wall, hook, IP4(HERE4, TCP(443))) == (Reason.ADDRESS_RULE, False)
    assert said(wall, hook, IP4(ELSEWHERE, TCP(443))) == (Reason.ADDRESS_RULE, True)


def test_row_29_private_ranges_are_never_implied(wall: Wall, hook: str) -> None:
    wall.policy(fixed={"10.20.0.0/16": [("5432/tcp", ALLOW, RULE)]})

    assert said(wall, hook, IP4("10.20.1.1", TCP(5432))) == (Reason.ADDRESS_RULE, True)
    for address in ("10.20.1.1", "172.17.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1"):
        assert not said(wall, hook, IP4(address, TCP(80)))[1]
    assert not said(wall, hook, IP6("fd00::1", TCP(80)))[1]


def test_row_30_metadata_is_refused_though_a_name_leads_there(wall: Wall, hook: str) -> None:
    metadata = {"169.254.169.254/32": [("tcp udp icmp", DENY, BUILTIN)],
                "fd00:ec2::254/128": [("tcp udp icmp", DENY, BUILTIN)]}
    wall.policy(ALLOW, fixed=metadata)
    wall.open("169.254.169.254", "fd00:ec2::254", text="tcp")

    assert said(wall, hook, IP4("169.254.169.254", TCP(80))) == (Reason.BUILTIN, False)
    assert said(wall, hook, IP6("fd00:ec2::254", TCP(80))) == (Reason.BUILTIN, False)
    assert said(wall, hook, IP4("169.254.169.253", TCP(80))) == (Reason.DEFAULT, True)


# loopback and the daemon's own listeners


@HERE
@pytest.mark.parametrize(("to", "lo"), [(IP4, "127.0.0.1"), (IP4, "127.9.9.9"), (IP6, "::1")])
def test_loopback_is_the_roles_own_question(wall: Wall, hook: str, to: To, lo: str) -> None:
    assert said(wall, hook, to(lo, TCP(80)), device=LO) == (Reason.LOOPBACK, True)

    wall.policy(loopback=abi.Loopback.PORTS)
    assert said(wall, hook, to(lo, TCP(80)), device=LO) == (Reason.LOOPBACK_OTHER, False)


@pytest.mark.parametrize("to", [IP4, IP6], ids=["v4", "v6"])
def test_ones_own_loopback_is_a_listener_but_for_last_words(wall: Wall, to: To) -> None:
    """The peer has closed and is gone: what ends the conversation begins nothing."""
    wall.policy(ALLOW, loopback=abi.Loopback.OWN)
    lo = "127.0.0.1" if to is IP4 else "::1"

    for flags in (ACK, FIN | ACK, RST):
        packet = to(lo, TCP(80, flags), src=lo)
        assert said(wall, CG_EGRESS, packet, device=LO) == (Reason.LOOPBACK, True)
    for part in (TCP(80), TCP(80, ACK, b"data"), UDP(80), ICMP() if to is IP4 else ICMP6()):
        packet = to(lo, part, src=lo)
        assert said(wall, CG_EGRESS, packet, device=LO) == (Reason.LOOPBACK_OTHER, False)


@pytest.mark.parametrize("device_hook", [TC, TC_L3])
@pytest.mark.parametrize("lockdown", [Lockdown.OFF, Lockdown.ON])
def test_row_16_a_loopback_address_on_a_wire_is_a_stranger(
    wall: Wall, device_hook: str, lockdown: Lockdown
) -> None:
    """Only a packet socket sends such a frame, and whoever listens on the link reads it."""
    wall.listen("127.0.53.53")
    wall.policy(lockdown=lockdown)

    refused = Reason.NEVER_RESOLVED if lockdown is Lockdown.OFF else Reason.LOCKDOWN
    for packet in (IP4("127.0.53.53", UDP(53)), IP4("127.0.0.1", UDP(9)), IP6("::1", UDP(9))):
        assert said(wall, device_hook, packet) == (refused, False)
        assert wall.judge(device_hook, packet, device=LO).verdict is ALLOW


@HERE
def test_an_address_rule_may_close_a_port_of_loopback(wall: Wall, hook: str) -> None:
    wall.policy(fixed={"127.0.0.1/32": [("25/tcp", DENY, RULE)]})

    assert said(wall, hook, IP4("127.0.0.1", TCP(25)), device=LO) == (Reason.ADDRESS_RULE, False)
    assert said(wall, hook, IP4("127.0.0.1", TCP(26)), device=LO) == (Reason.LOOPBACK, True)


@HERE
@pytest.mark.parametrize("part", [UDP(53), TCP(53)], ids=["udp", "tcp"])
def test_a_query_to_a_listener_passes_and_carries_its_role(
    wall: Wall, hook: str, part: Part
) -> None:
    wall.policy(loopback=abi.Loopback.PORTS)
    wall.listen("127.0.53.53")

    result = wall.judge(hook, IP4("127.0.53.53", part), device=LO)

    assert result == Said(ALLOW, Reason.LISTENER, False, abi.RoleId.HOST)
    other = wall.judge(hook, IP4("127.0.53.54", part), device=LO)
    assert (other.verdict, other.mark) == (DENY, 0)


@HERE
def test_row_56_and_57_a_wildcard_listener_opens_no_other_resolver(
    wall: Wall, hook: str
) -> None:
    wall.policy(loopback=abi.Loopback.PORTS)
    wall.listen("::")

    away = wall.judge(hook, IP4("198.51.100.53", UDP(53)))
    home = wall.judge(hook, IP4("198.51.100.53", UDP(53)), device=LO)
    assert (away.reason, home.reason) == (Reason.NEVER_RESOLVED, Reason.LISTENER)
    query = IP4("127.0.0.1", UDP(53))
    assert wall.judge(hook, query, device=LO).reason is Reason.LISTENER


# lockdown, audit


@HERE
@pytest.mark.parametrize("how", [Lockdown.ON, Lockdown.HARD])
def test_lockdown_goes_before_every_rule_but_spares_loopback(
    wall: Wall, hook: str, how: Lockdown
) -> None:
    wall.open(HERE4)
    assert said(wall, hook, IP4(HERE4, TCP(443))) == (Reason.GRANTED, True)

    wall.policy(ALLOW, fixed={"10.0.0.0/8": [("tcp", ALLOW, RULE)]}, lockdown=how)
    for packet in (IP4(HERE4, TCP(443, seq=2)), IP4(HERE4, TCP(443, ACK)),
                   IP4("10.0.0.1", TCP(1)), IP6("2001:db8::9", UDP(1))):
        assert said(wall, hook, packet) == (Reason.LOCKDOWN, False)
    assert said(wall, hook, IP4("127.0.0.1", TCP(80)), device=LO) == (Reason.LOOPBACK, True)


@HERE
def test_audit_lets_pass_and_says_what_it_would_have_refused(wall: Wall, hook: str) -> None:
    wall.policy(audit=True)

    result = wall.judge(hook, IP4(ELSEWHERE, TCP(443)))

    assert result == Said(ALLOW, Reason.NEVER_RESOLVED, True, 0)
    assert wall.flows() == []  # when audit ends, it shall be judged


@HERE
def test_an_audit_with_a_deadline_ends_by_the_kernels_clock(wall: Wall, hook: str) -> None:
    seconds = clock_gettime_ns(CLOCK_BOOTTIME) // SECOND
    for until, verdict in ((seconds + 100, ALLOW), (seconds, DENY), (0, ALLOW)):
        wall.policy(audit=True, audit_until=until)
        assert wall.judge(hook, IP4(ELSEWHERE, TCP(443))).verdict == verdict


def test_lockdown_is_an_order_in_audit_too(wall: Wall, hook: str) -> None:
    wall.policy(audit=True, lockdown=Lockdown.ON)

    assert said(wall, hook, IP4(ELSEWHERE, TCP(443))) == (Reason.LOCKDOWN, False)


# namespaces


def test_sockets_of_other_namespaces_are_left_to_their_guards(wall: Wall, hook: str) -> None:
    wall.settle(netns=wall.netns + 1, only_netns=True)

    # Before Linux 6.15 only the socket's record tells, and a test run's socket has none.
    told = "cg" in hook and wall.loaded.netns_cookie
    expected = (Reason.OTHER_NETNS, True) if told else (Reason.NEVER_RESOLVED, False)
    assert said(wall, hook, IP4(ELSEWHERE, TCP(443))) == expected

    wall.settle(only_netns=True)
    assert said(wall, hook, IP4(ELSEWHERE, TCP(443))) == (Reason.NEVER_RESOLVED, False)


# events


def test_row_138_a_flood_of_denials_is_counted_whole_and_told_in_part(
    wall: Wall, hook: str
) -> None:
    wall.run(hook, IP4(ELSEWHERE, TCP(443)), repeat=2000)

    counter = wall.sink.counters()[Reason.NEVER_RESOLVED]
    assert counter.denied == 2000
    assert 0 < 2000 - counter.sampled_out < 200
