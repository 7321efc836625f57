"""The self-test against real walls: whole ones, and walls with a hole."""

from __future__ import annotations

import pytest

from dnsfw.datapath.attach import Wall
from dnsfw.datapath.events import Events
from dnsfw.datapath.hooks import give_back
from dnsfw.datapath.probe import SelfTest, self_test
from dnsfw.datapath.sink import KernelSink
from dnsfw.model import (
    DEFAULT_RULE,
    HOST,
    PROBE,
    Lockdown,
    Mode,
    Plan,
    Reason,
    RolePlan,
    Verdict,
)
from tests.support.guarded import CURRENT, DENY_ALL, PEER, Wrecked, Yard, open_yard
from tests.support.netlab import Capture, Lab

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]
ALLOW_ALL = Plan((RolePlan(HOST, Verdict.ALLOW),), (), frozenset({DEFAULT_RULE}))
AUDIT = Plan((RolePlan(HOST, Verdict.DENY, mode=Mode.AUDIT),), (), frozenset())


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


def probe(yard: Yard, wall: Wall, *, degraded: bool = False) -> SelfTest:
    hooks = wall.hooks() if degraded else ()
    sink = KernelSink(wall.maps)
    return self_test(sink, wall.maps, yard.cgroup.path, ["eth0"], hooks)


@pytest.mark.parametrize("plan", [DENY_ALL, ALLOW_ALL, AUDIT], ids=["deny", "allow", "audit"])
@pytest.mark.parametrize("tcx", [True, False], ids=["tcx", "clsact"])
def test_a_whole_wall_passes_whatever_the_policy_allows(yard: Yard, plan: Plan, tcx: bool) -> None:
    with yard.wall(yard.config(tcx=tcx), plan) as wall:
        found = probe(yard, wall)

    assert found.ok, found
    assert [t.what for t in found.tried if t.ok is not True] == []
    assert found.denials >= 6


def test_the_probes_leave_nothing_behind_and_send_nothing_out(yard: Yard) -> None:
    with yard.wall() as wall, Capture(yard.there, "eth0") as capture:
        before = sorted(p.name for p in yard.cgroup.path.iterdir())
        found = probe(yard, wall)

        assert found.ok
        assert not capture.saw(b"dnsfw self-test")
        assert list(KernelSink(wall.maps).entries()) == []
        assert sorted(p.name for p in yard.cgroup.path.iterdir()) == before


def test_the_self_test_does_not_count_as_the_hosts_traffic(yard: Yard) -> None:
    with yard.wall() as wall:
        found = probe(yard, wall)
        counters = KernelSink(wall.maps).counters()

    assert found.denials == counters[Reason.BY_NOTHING].denied >= 6
    for reason in (Reason.NEVER_RESOLVED, Reason.WRONG_PORT, Reason.GRANTED):
        assert counters[reason] == (0, 0, 0, 0)


def test_each_refusal_is_an_event_of_the_probes_own_role(yard: Yard) -> None:
    with yard.wall() as wall:
        events = Events(wall.maps["dnsfw_events"].fd)
        list(events.read())
        probe(yard, wall)

        seen = [e for e in events.read() if e.role == PROBE]
        events.close()

    assert len(seen) == 8
    # connect, sendmsg, cgroup egress, TC egress, bind
    assert {e.hook for e in seen} == {1, 2, 3, 4, 6}


@pytest.mark.parametrize(
    ("program", "hole"),
    [
        ("dnsfw_connect4", "IPv4 connect"),
        ("dnsfw_connect6", "IPv6 connect"),
        ("dnsfw_cg_egress", "packet past"),
        ("dnsfw_tc_egress", "eth0: frame"),
    ],
)
def test_a_missing_hook_is_found_and_forgiven_only_when_degraded_says_so(
    yard: Yard, program: str, hole: str
) -> None:
    with yard.wall(yard.config(Wrecked(program), degraded=True)) as wall:
        found = probe(yard, wall)
        assert not found.ok
        assert [t.what.startswith(hole) for t in found.failures] == [True]

        assert probe(yard, wall, degraded=True).ok


def test_a_wall_that_somebody_took_away_is_not_ready(yard: Yard) -> None:
    with yard.wall() as wall:
        give_back(yard.pin_dir / CURRENT)

        assert not probe(yard, wall).ok


def test_lockdown_does_not_stop_the_self_test(yard: Yard) -> None:
    with yard.wall(plan=ALLOW_ALL) as wall:
        KernelSink(wall.maps).lockdown(Lockdown.HARD)

        assert probe(yard, wall).ok
        assert not yard.sends(PEER)


def test_devices_alone_are_probed_by_frames(yard: Yard) -> None:
    with yard.wall(yard.config(cgroup=None)) as wall:
        found = self_test(KernelSink(wall.maps), wall.maps, None, ["eth0"])

    assert found.ok
    assert [t.what for t in found.tried] == ["eth0: frame to an address that nothing opened"]


def test_a_device_that_is_down_proves_nothing(yard: Yard) -> None:
    yard.here.ip("link set eth0 down")
    with yard.wall() as wall:
        found = probe(yard, wall)

    assert found.ok
    assert found.tried[-1].ok is None
