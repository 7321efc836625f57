"""`default: allow`: denied names are refused, and their addresses close."""

from __future__ import annotations

import time

import pytest

from tests.support.netlab import Capture, wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

BLOCK = policy_of([{"deny": ".tracker.example"}], default="allow")


def test_what_no_rule_names_is_reached_by_name_and_by_address(world: World) -> None:
    world.guard(BLOCK)

    assert world.fetches("http://www.example.com/")
    assert world.connect("203.0.113.200") == "OK"


def test_a_blocked_name_is_refused_and_its_address_closes(world: World) -> None:
    world.guard(BLOCK)

    refused = world.dig("tracker.example")
    wait_until(lambda: world.connect("203.0.113.70") == "EPERM", what="the closing grant")

    assert "NXDOMAIN" in refused
    assert world.connect("2001:db8::70") == "EPERM"
    assert world.connect("203.0.113.200") == "OK"


def test_the_address_of_an_exact_blocked_name_closes_before_anybody_asks(world: World) -> None:
    world.guard(policy_of([{"deny": "hit.tracker.example"}], default="allow"))

    wait_until(lambda: world.connect("203.0.113.71") == "EPERM", what="the closing grant")

    assert world.connect("203.0.113.70") == "OK"


def test_closing_grants_are_renewed_past_their_ttl(world: World) -> None:
    world.guard(policy_of(
        [{"deny": "short.example.com", "ttl": {"min": "1s", "grace": "2s"}}], default="allow"
    ))
    wait_until(lambda: world.connect("203.0.113.30") == "EPERM", what="the closing grant")

    time.sleep(6)  # longer than its TTL and grace

    assert world.connect("203.0.113.30") == "EPERM"


def test_names_made_up_below_a_wildcard_are_looked_up_only_where_the_rule_says_so(
    world: World,
) -> None:
    world.guard(policy_of([
        {"deny": "*.tracker.example", "close": "asked"}, {"deny": "*.example.net"},
    ], default="allow"))

    world.dig("anything.tracker.example")
    world.dig("end.example.net")
    wait_until(lambda: world.connect("203.0.113.72") == "EPERM", what="the closing grant")

    assert world.internet.asked("anything.tracker.example")
    assert not world.internet.asked("end.example.net")


@pytest.mark.usefixtures("answers")
def test_row_76_an_address_that_an_allowed_name_also_holds_stays_open(world: World) -> None:
    world.guard(policy_of([{"deny": "cdn.tracker.example"}], default="allow"))
    wait_until(lambda: world.connect("203.0.113.61") == "EPERM", what="the closing grant")

    reached = world.fetches("http://cdn.example.com/")

    assert reached
    assert world.connect("203.0.113.61") == "OK"


@pytest.mark.usefixtures("answers")
def test_row_77_an_address_closes_again_when_the_allowed_name_lets_go(world: World) -> None:
    world.guard(policy_of([
        {"deny": "cdn.tracker.example"},
        {"allow": "cdn-short.example.com", "ttl": {"min": "1s", "grace": "2s"}},
    ], default="allow"))
    wait_until(lambda: world.connect("203.0.113.61") == "EPERM", what="the closing grant")

    assert world.fetches("http://cdn-short.example.com/")
    time.sleep(5)  # a TTL of 2 s, and 2 s of grace

    assert world.connect("203.0.113.61") == "EPERM"


@pytest.mark.usefixtures("answers")
def test_row_76_shared_deny_closes_it_all_the_same(world: World) -> None:
    world.guard(policy_of(
        [{"deny": "cdn.tracker.example", "shared": "deny"}], default="allow"
    ))
    wait_until(lambda: world.connect("203.0.113.61") == "EPERM", what="the closing grant")

    world.curl("http://cdn.example.com/")

    assert world.connect("203.0.113.61") == "EPERM"


def test_resolved_only_drops_every_address_never_handed_out(world: World) -> None:
    world.guard(policy_of([{"deny": ".tracker.example"}], default="allow", resolved_only=True))

    with Capture(world.internet.netns, "eth0") as capture:
        refused = world.connect("203.0.113.200")
    reached = world.fetches("http://www.example.com/")

    assert (refused, reached) == ("EPERM", True)
    assert capture.to("203.0.113.200") == []


def test_private_answers_pass_under_default_allow_unless_the_policy_says_deny(
    world: World,
) -> None:
    daemon = world.guard(BLOCK)
    passed = world.addresses("private.example.com")

    done = daemon.reload(policy_of(
        [{"deny": ".tracker.example"}], default="allow", dns={"private": "deny"}
    ))
    removed = world.addresses("private.example.com")

    assert done.returncode == 0, done.stderr
    assert passed == ["10.1.2.3"]
    assert removed == []
