"""Which role a process or packet has: the order of DESIGN, section 7, with why."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dnsfw.model import HOST
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.policy.subjects import Packet, Process, inside, role_of, why_lost

NGINX = "/system.slice/nginx.service"
WORKER = Process(NGINX + "/worker", uid=33, gid=33, executable="/usr/sbin/nginx", user="www-data")
SHELL = Process("/user.slice/user-1000.slice/session-1.scope", uid=1000, gid=1000)


def policy(**roles: str) -> Policy:
    lines = "".join(f"\n  {name}: {{subjects: [{who}]}}" for name, who in roles.items())
    return compile_text(f"version: 1\ndefault: deny\nroles:{lines}")


def role(found: Policy, facts: Process | Packet) -> str:
    return found.role_names[role_of(found.subjects, facts).role]


def packet(source: str, interface: str = "lan0") -> Packet:
    return Packet(ip_address(source), interface)


def test_whoever_fits_nothing_is_host() -> None:
    found = role_of(policy(web="uid: 33").subjects, SHELL)

    assert (found.role, found.by, found.lost) == (HOST, None, ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"cgroup: {NGINX}", "executable: /usr/sbin/nginx"),
        ("cgroup: nginx.service", "uid: 33"),
        ("executable: /usr/sbin/nginx", "uid: www-data"),
        ("uid: 33", "gid: 33"),
        (f"cgroup: {NGINX}/worker", f"cgroup: {NGINX}"),
        (f"cgroup: {NGINX}", "cgroup: system.slice"),
        ("cgroup: /system.slice", "gid: 33"),
    ],
)
def test_the_first_kind_decides_whatever_the_order_of_the_file(first: str, second: str) -> None:
    assert role(policy(a=first, b=second), WORKER) == "a"
    assert role(policy(b=second, a=first), WORKER) == "a"


def test_enrolled_by_hand_comes_before_everything() -> None:
    found = policy(web="cgroup: nginx.service", tools="uid: 5")
    enrolled = replace(WORKER, enrolled=found.role_id("tools"))
    decided = role_of(found.subjects, enrolled)

    assert found.role_names[decided.role] == "tools"
    assert decided.enrolled
    assert [s.value for s in decided.lost] == ["nginx.service"]
    assert why_lost(decided, decided.lost[0]) == "enrolling by hand comes first"


def test_the_losers_are_told_best_first_with_their_reason() -> None:
    found = policy(a=f"cgroup: {NGINX}", b="{cgroup: /system.slice}, {gid: 33}", c="uid: www-data")
    decided = role_of(found.subjects, WORKER)

    assert [(s.value, why_lost(decided, s)) for s in decided.lost] == [
        ("/system.slice", "the deeper cgroup wins"),
        ("www-data", "a cgroup comes before a uid"),
        ("33", "a cgroup comes before a gid"),
    ]


@pytest.mark.parametrize(
    ("cgroup", "value", "depth"),
    [
        (NGINX, "/system.slice/nginx.service", 2),
        (NGINX + "/a/b", "/system.slice/nginx.service", 2),
        ("/system.slice/nginx.service2", NGINX, None),
        ("/system.slice", NGINX, None),
        ("/", NGINX, None),
        (NGINX, "nginx.service", 2),
        (NGINX + "/x", "nginx.service", 2),
        ("/nginx.service", "nginx.service", 1),
        ("/a.slice/a-b.slice/x.scope", "a-b.slice", 2),
        (NGINX, "ginx.service", None),
    ],
)
def test_a_cgroup_holds_what_is_below_it(cgroup: str, value: str, depth: int | None) -> None:
    assert inside(cgroup, value) == depth


def test_row_42_a_users_own_unit_of_the_same_name_is_not_the_systems() -> None:
    mine = "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service"

    assert inside(mine, "nginx.service") is None
    assert inside(NGINX, "nginx.service") == 2
    assert inside("/docker/abc/system.slice/nginx.service", "nginx.service") is None


@pytest.mark.parametrize(
    ("source", "interface", "expected"),
    [
        ("10.1.2.3", "lan0", "near"),
        ("10.1.2.3", "lan1", "host3"),
        ("10.1.2.4", "lan0", "near"),
        ("10.2.0.1", "lan0", "wide"),
        ("10.2.0.1", "eth9", "wide"),
        ("192.0.2.1", "lan0", "lan"),
        ("192.0.2.1", "eth9", "host"),
        ("2001:db8::1", "eth9", "six"),
        ("::ffff:10.1.2.3", "eth9", "host"),
    ],
)
def test_a_packet_has_the_role_of_its_prefix_then_of_its_interface(
    source: str, interface: str, expected: str
) -> None:
    found = policy(
        lan="interface: lan0",
        wide="source: 10.0.0.0/8",
        host3="source: 10.1.2.3",
        near="{source: 10.1.0.0/16, interface: lan0}",
        six="source: 2001:db8::/32",
        procs="uid: 0",
    )

    assert role(found, packet(source, interface)) == expected


def test_why_a_source_lost() -> None:
    found = policy(
        wide="source: 10.0.0.0/8",
        one="source: 10.1.2.3",
        near="{source: 10.0.0.0/8, interface: lan0}",
        lan="interface: lan0",
    )
    decided = role_of(found.subjects, packet("10.1.2.3"))

    assert [why_lost(decided, loser) for loser in decided.lost] == [
        "a source that names its interface comes first",
        "a source that names its interface comes first",
        "a source comes before an interface",
    ]
    decided = role_of(found.subjects, packet("10.1.2.3", "eth9"))
    assert [why_lost(decided, loser) for loser in decided.lost] == ["the longer prefix wins"]


def test_a_via_judges_what_its_base_sends_by_that_interface_alone() -> None:
    found = policy(
        web="uid: 33", wan="via: eth0", webwan="{via: eth0, role: web}", other="via: eth1"
    )

    assert role(found, replace(SHELL, via="eth0")) == "wan"
    assert role(found, replace(SHELL, via="eth1")) == "other"
    assert role(found, replace(SHELL, via="eth2")) == "host"
    assert role(found, replace(WORKER, via="eth0")) == "webwan"
    assert role(found, replace(WORKER, via="eth1")) == "web"
    decided = role_of(found.subjects, replace(WORKER, via="eth0"))
    assert [why_lost(decided, loser) for loser in decided.lost] == [
        "what it sends by eth0 is judged so"
    ]


def test_a_via_does_not_follow_a_via() -> None:
    found = policy(wan="via: eth0", twice="{via: eth0, role: wan}")

    assert role(found, replace(SHELL, via="eth0")) == "wan"


def test_a_name_and_a_number_are_the_same_user() -> None:
    assert role(policy(web="uid: www-data"), WORKER) == "web"
    assert role(policy(web="uid: 33"), WORKER) == "web"
    assert role(policy(web="uid: 3"), WORKER) == "host"


def test_a_user_named_in_two_ways_has_the_role_of_the_first() -> None:
    found = policy(a="uid: www-data", b="uid: 33")
    decided = role_of(found.subjects, WORKER)

    assert found.role_names[decided.role] == "a"
    assert why_lost(decided, decided.lost[0]) == "they name the same, and the first counts"
