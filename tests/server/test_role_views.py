"""The roles as `status` shows them, over a running daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnslib import RCODE

from dnsfw.datapath import abi
from dnsfw.datapath.abi import FlowState, Reason
from dnsfw.model import DEFAULT_RULE, Flow, RoleId, Subject, SubjectKind, addr_from
from dnsfw.server.clock import boot_now
from dnsfw.server.kernel import Hook
from dnsfw.server.role_views import subject_text
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import Running, running

ROLES = """\
version: 1
default: deny
rules: [{allow: "*.example.com"}]
dns: {upstreams: [192.0.2.53]}
roles:
  web:
    subjects: [{cgroup: /system.slice/nginx.service}, {uid: 4241}]
    default: deny
    inbound: [80, 443]
    loopback: own
    rules: [{allow: "*.example.com:443"}]
  guest:
    subjects: [{interface: veth7}]
    mode: audit
    default: allow
    rules: [{deny: ads.example}]
"""


def number(run: Running, name: str) -> RoleId:
    policy = run.daemon.reloader.policy
    return next(n for n, role in policy.roles.items() if role.name == name)


async def test_each_role_is_shown_with_what_it_may_who_has_it_and_what_came(
    tmp_path: Path,
) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.control("resolve", name="www.example.com", qtype=1, role="web")
        await run.control("resolve", name="evil.example", qtype=1, role="web")
        await run.control("resolve", name="ads.example", qtype=1, role="guest")
        begin(run, number(run, "web"))

        _, state = await run.control("status")

        host, web, guest = state["roles"]
        assert host["name"] == "host" and host["id"] == 1
        assert (web["mode"], web["default"], web["inbound"], web["loopback"]) == (
            "enforce", "deny", "80,443", "own",
        )  # fmt: skip
        assert web["subjects"] == ["cgroup /system.slice/nginx.service", "uid 4241"]
        assert (web["queries"], web["refused"], web["grants"], web["flows"]) == (2, 1, 1, 1)
        assert (guest["mode"], guest["default"], guest["queries"]) == ("audit", "allow", 1)
        assert (guest["refused"], host["queries"], host["grants"]) == (0, 0, 0)
        assert state["audit"] == ["guest"]
        assert state["enforcing"] is False


def begin(run: Running, role: RoleId) -> None:
    now, peer = boot_now(), addr_from("192.0.2.7")
    key = abi.FlowKey(0, bytes(16), peer, 40000, 443, 6, 0).pack()
    run.kernel.sink.begin_flow(
        Flow(
            key,
            role,
            DEFAULT_RULE,
            False,
            6,
            addr_from("::"),
            40000,
            peer,
            443,
            now,
            now,
            FlowState.OPEN,
            Reason.LISTENER,
        )
    )


async def test_flows_and_watch_are_of_the_role_that_was_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        begin(run, number(run, "web"))

        assert [row["role"] for row in (await run.control("flows"))[0]] == ["web"]
        assert (await run.control("flows", role="host"))[0] == []
        assert len((await run.control("flows", role="web"))[0]) == 1


async def test_a_subject_that_does_not_exist_yet_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        run.kernel.missing = ("uid ghost: no such user",)
        _, state = await run.control("status")
        _, last = await run.control("reload")

        assert state["absent"] == ["uid ghost: no such user"]
        assert "uid ghost: no such user" in last["warnings"]


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (Subject(RoleId(16), SubjectKind.UID, "www-data"), "uid www-data"),
        (Subject(RoleId(16), SubjectKind.SOURCE, "10.1.0.0/16", "l0"), "source 10.1.0.0/16 on l0"),
    ],
)  # fmt: skip
def test_a_subject_is_a_word_and_its_value(subject: Subject, text: str) -> None:
    assert subject_text(subject) == text


async def test_a_guests_packets_are_judged_on_its_own_device(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        eth0 = replace(run.kernel.hook, name="tc_egress", where="eth0 egress", how="tcx")
        veth = Hook("guest_in", "veth7 ingress", "tcx")
        run.kernel.hooks = lambda: (run.kernel.hook, eth0, veth)  # type: ignore[method-assign]
        _, state = await run.control("status")

        host, web, guest = state["roles"]
        assert guest["hooks"] == ["veth7"]
        assert web["hooks"] == host["hooks"] == ["/sys/fs/cgroup/test", "eth0"]


async def test_who_has_no_role_is_counted_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryKernel, "marks", True)  # and nobody marks our packets
    async with running(tmp_path, policy=ROLES) as run:
        reply = await run.query("www.example.com")
        run.daemon.service.rates.dropped[number(run, "web")] += 3
        _, state = await run.control("status")

        assert reply.header.rcode == RCODE.REFUSED
        assert state["server"]["unknown_askers"] == 1
        assert state["server"]["udp_dropped"] == 3
        assert [row["dropped"] for row in state["roles"]] == [0, 3, 0]
        assert all(row["queries"] == 0 for row in state["roles"])
