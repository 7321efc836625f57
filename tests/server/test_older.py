"""Row 40: connections that are older than the wall."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.sockdiag import TCP_ESTABLISHED, TCP_LISTEN, Connection
from dnsfw.model import Nanos, Reason, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.server.older import describe, flow_of, sort_older

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


def ends(policy: str, *outgoing: Connection, guarded: frozenset[int] | None = None) -> list[str]:
    host = compile_text(policy).host
    return [describe(c) for c in sort_older([*SSH, *outgoing], host, guarded).end]


def test_row_40_what_a_listener_accepted_is_kept() -> None:
    older = sort_older(SSH, compile_text(DENY).host, None)

    assert older.keep == (SSH[1],)
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

    assert len(ends(DENY, inside, outside, guarded=frozenset({7}))) == 1


@pytest.mark.parametrize(
    ("remote", "reason"),
    [("203.0.113.5", Reason.INBOUND), ("127.0.0.1", Reason.LOOPBACK), ("::1", Reason.LOOPBACK)],
)
def test_a_kept_connection_is_a_flow_as_the_kernel_writes_it(remote: str, reason: Reason) -> None:
    key, value = flow_of(connection(remote, 51000, 22), 4711, Nanos(99))

    flow_key, flow = abi.FlowKey.unpack(key), abi.Flow.unpack(value)
    assert flow_key == abi.FlowKey(4711, bytes(16), addr_from(remote), 22, 51000, 6, 0)
    assert (flow.since, flow.state, flow.reason) == (99, abi.FlowState.OPEN, reason)
