"""Row 40: connections that are older than the wall."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.sockdiag import TCP_ESTABLISHED, TCP_LISTEN, UDP, UDP_UNCONNECTED, Connection
from dnsfw.model import HOST, Nanos, Reason, RoleId, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.server.older import Owner, describe, flow_of, sort_changed, sort_older

HERE = addr_from("192.0.2.1")


def connection(
    remote: str, port: int, local_port: int = 40000, cgroup: int = 7, state: int = TCP_ESTABLISHED
) -> Connection:
    return Connection(state, HERE, local_port, addr_from(remote), port, cgroup, b"handle")


SSH = [
    connection("0.0.0.0", 0, 22, state=TCP_LISTEN),
    connection("203.0.113.5", 51000, 22),
]
DENY = "version: 1\ndefault: deny\nrules:\n  - allow: 203.0.113.80:443\n"


WEB = RoleId(16)
ROLES = """
version: 1
default: allow
rules: [{deny: x.example}]
roles:
  web:
    default: deny
    subjects: [{uid: 33}]
    rules: [{allow: "203.0.113.80:443"}]
"""


def hosts(connection: Connection) -> RoleId:
    return HOST


def ends(policy: str, *outgoing: Connection, owner: Owner = hosts) -> list[str]:
    compiled = compile_text(policy)
    found = sort_older([*SSH, *outgoing], compiled, owner).end
    return [describe(c, role, compiled) for c, role in found]


def test_row_40_what_a_listener_accepted_is_kept() -> None:
    older = sort_older(SSH, compile_text(DENY), hosts)

    assert older.keep == ((SSH[1], HOST),)
    assert older.end == ()


def test_row_40_an_outgoing_connection_that_the_policy_refuses_is_ended() -> None:
    assert ends(DENY, connection("203.0.113.9", 443)) == [
        "ended the connection to 203.0.113.9:443: the policy refuses it"
    ]


@pytest.mark.parametrize(
    ("policy", "remote", "port"),
    [
        (DENY, "203.0.113.80", 443),
        (DENY, "127.0.0.1", 5432),
        (DENY, "::1", 5432),
        (DENY.replace("deny", "allow", 1), "203.0.113.9", 443),
        (DENY + "mode: audit\n", "203.0.113.9", 443),
    ],
    ids=["rule", "loopback", "loopback6", "default", "audit"],
)
def test_row_40_what_the_policy_allows_goes_on(policy: str, remote: str, port: int) -> None:
    assert ends(policy, connection(remote, port)) == []


def test_row_40_another_port_of_an_allowed_address_is_ended() -> None:
    assert len(ends(DENY, connection("203.0.113.80", 22))) == 1


def test_row_40_under_resolved_only_nothing_was_resolved_yet() -> None:
    policy = "version: 1\ndefault: allow\nresolved_only: true\nrules: [{deny: x.example}]\n"

    assert len(ends(policy, connection("203.0.113.9", 443))) == 1


def test_a_cgroup_that_is_not_guarded_is_left_alone() -> None:
    inside, outside = (
        connection("203.0.113.9", 443, cgroup=7),
        connection("203.0.113.9", 80, cgroup=8),
    )

    assert len(ends(DENY, inside, outside, owner=lambda c: HOST if c.cgroup == 7 else None)) == 1


def web_of(policy: Policy) -> RoleId:
    return next(r for r in policy.roles if r != HOST)


def test_row_40_each_connection_is_judged_by_the_role_of_its_socket() -> None:
    policy = compile_text(ROLES)
    web = web_of(policy)
    mine, theirs = connection("203.0.113.9", 443, cgroup=7), connection("203.0.113.9", 443)

    older = sort_older([mine, theirs], policy, lambda c: web if c is mine else HOST)

    assert older.end == ((mine, web),)
    assert describe(mine, web, policy).endswith("203.0.113.9:443: role web refuses it")


def test_row_40_a_role_allows_its_own_connections() -> None:
    policy = compile_text(ROLES)
    web = web_of(policy)

    assert sort_older([connection("203.0.113.80", 443)], policy, lambda c: web).end == ()


def test_row_40_what_a_role_accepted_is_kept_as_that_roles() -> None:
    policy = compile_text(ROLES)

    older = sort_older(SSH, policy, lambda c: WEB)

    assert older.keep == ((SSH[1], WEB),)


def test_row_40_a_role_that_is_no_more_keeps_nothing() -> None:
    assert ends(DENY, connection("203.0.113.80", 443), owner=lambda c: RoleId(99)) == [
        "ended the connection to 203.0.113.80:443: role 99 refuses it"
    ]


def test_row_40_connected_udp_is_judged_and_told_as_such() -> None:
    talks = replace(connection("203.0.113.9", 443), proto=UDP)

    assert ends(DENY, talks) == [
        "ended the connection to 203.0.113.9:443/udp: the policy refuses it"
    ]


def test_row_40_udp_that_a_server_took_is_kept_and_tcp_of_that_port_is_not_its() -> None:
    server = replace(connection("0.0.0.0", 0, 51820, state=UDP_UNCONNECTED), proto=UDP)
    taken = replace(connection("203.0.113.9", 40001, 51820), proto=UDP)
    other = connection("203.0.113.9", 40001, 51820)

    older = sort_older([server, taken, other], compile_text(DENY), hosts)

    assert older.keep == ((taken, HOST),)
    assert older.end == ((other, HOST),)


def test_a_change_of_subjects_ends_only_what_changed_hands_and_is_refused() -> None:
    policy = compile_text(ROLES)
    web = web_of(policy)
    moved, allowed, stayed = (
        connection("203.0.113.9", 443, cgroup=1),
        connection("203.0.113.80", 443, cgroup=1),
        connection("203.0.113.9", 443, cgroup=2),
    )

    def after(c: Connection) -> RoleId:
        return web if c.cgroup == 1 else HOST

    found = sort_changed([moved, allowed, stayed], policy, hosts, after)

    assert found == ((moved, web),)
    assert sort_changed([moved], policy, after, after) == ()


@pytest.mark.parametrize(
    ("remote", "reason"),
    [("203.0.113.5", Reason.INBOUND), ("127.0.0.1", Reason.LOOPBACK), ("::1", Reason.LOOPBACK)],
)
def test_a_kept_connection_is_a_flow_as_the_kernel_writes_it(remote: str, reason: Reason) -> None:
    key, value = flow_of(connection(remote, 51000, 22), WEB, 4711, Nanos(99))

    flow_key, flow = abi.FlowKey.unpack(key), abi.Flow.unpack(value)
    assert flow_key == abi.FlowKey(4711, bytes(16), addr_from(remote), 22, 51000, 6, 0)
    assert (flow.since, flow.state, flow.reason) == (99, abi.FlowState.OPEN, reason)
    assert flow.role == WEB
