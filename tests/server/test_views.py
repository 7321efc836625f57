"""The rows of status, grants and flows, over a running daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.abi import FlowState, Reason
from dnsfw.datapath.tables import number_key
from dnsfw.model import DEFAULT_RULE, HOST, PROBE, Flow, PortRange, PortSet, RoleId, addr_from
from dnsfw.server.clock import boot_now
from dnsfw.server.views import ports_text
from tests.support.nanodns import NanoDns
from tests.support.running import running


@pytest.mark.parametrize(
    ("ranges", "shown"),
    [
        ([], ""),
        ([PortRange(6, 443, 443)], "443/tcp"),
        ([PortRange(6, 80, 80), PortRange(6, 8000, 8100), PortRange(17, 53, 53)],
         "80,8000-8100/tcp 53/udp"),
        ([PortRange(1), PortRange(6), PortRange(17)], "icmp tcp udp"),
        ([PortRange(132, 1, 2)], "1-2/sctp"),
        ([PortRange(99)], "99"),
    ],
)  # fmt: skip
def test_ports_are_grouped_by_protocol(ranges: list[PortRange], shown: str) -> None:
    assert ports_text(PortSet.of(ranges)) == shown


async def test_grants_say_who_holds_what_by_which_rule(tmp_path: Path) -> None:
    async with NanoDns(ttl=60) as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")

        (row,), _ = await run.control("grants")

        assert 65 <= row.pop("seconds") <= 70  # TTL + grace
        assert row == {
            "role": "host", "address": "192.0.2.7", "names": ["www.example.com"],
            "verdict": "allow", "ports": "tcp udp", "rule": "allow *.example.com:*",
        } | {key: row[key] for key in ("ports", "rule")}  # fmt: skip
        assert "*.example.com" in row["rule"]


async def test_flows_say_who_talks_to_whom(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        now = boot_now()
        key = abi.FlowKey(0, bytes(16), addr_from("192.0.2.7"), 40000, 443, 6, 0)
        run.kernel.sink.begin_flow(
            Flow(
                key.pack(),
                HOST,
                DEFAULT_RULE,
                False,
                6,
                addr_from("::"),
                40000,
                addr_from("192.0.2.7"),
                443,
                now,
                now,
                FlowState.OPEN,
                Reason.GRANTED,
            )
        )

        (row,), _ = await run.control("flows")

        assert row["names"] == ["www.example.com"]
        assert (row["direction"], row["protocol"], row["address"], row["port"]) == (
            "out", "tcp", "192.0.2.7", 443,
        )  # fmt: skip
        assert (row["state"], row["reason"]) == ("open", "granted")


def flow_of(role: RoleId, port: int) -> Flow:
    now, peer = boot_now(), addr_from("192.0.2.7")
    key = abi.FlowKey(0, bytes(16), peer, port, 443, 6, 0).pack()
    return Flow(
        key, role, DEFAULT_RULE, False, 6, addr_from("::"), port, peer, 443, now, now,
        FlowState.OPEN, Reason.LISTENER,  # which no policy ends: the first beat judges all
    )  # fmt: skip


async def test_what_the_self_test_sent_is_not_shown(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.kernel.sink.begin_flow(flow_of(PROBE, 40000))
        run.kernel.sink.begin_flow(flow_of(HOST, 40001))
        counters = run.kernel.sink.maps["dnsfw_counters"]
        for reason in (Reason.BY_NOTHING, Reason.WRONG_PORT):
            counters.update(number_key(reason), abi.Counter(0, 6, 0, 0).pack())

        flows, _ = await run.control("flows")
        _, state = await run.control("status")

    assert [row["local_port"] for row in flows] == [40001]
    assert list(state["packets"]) == ["wrong-port"]


async def test_status_knows_everything_an_operator_looks_at_first(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, state = await run.control("status")

        assert state["enforcing"] is True
        assert state["mode"] == "enforce"
        assert state["default"] == "deny"
        assert state["lockdown"] == "off"
        assert state["listen"] == [f"127.0.0.1:{run.port}"]
        assert state["policy"] == str(run.policy)
        assert state["hooks"][0]["name"] == "connect4"
        assert state["server"]["faults"] == 0


async def test_row_140_audit_is_not_enforcing(tmp_path: Path) -> None:
    policy = "version: 1\ndefault: deny\nmode: audit\nrules: [{allow: a.example}]\n"
    async with running(tmp_path, policy=policy) as run:
        _, state = await run.control("status")

        assert (state["enforcing"], state["mode"]) == (False, "audit")
        assert "AUDIT" in run.said[0]


async def test_row_53_a_lost_hook_is_not_enforcing(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.kernel.hook = replace(run.kernel.hook, attached=False, note="removed by hand")
        _, state = await run.control("status")

        assert state["enforcing"] is False
        assert state["missing"] == ["connect4 on /sys/fs/cgroup/test: removed by hand"]
