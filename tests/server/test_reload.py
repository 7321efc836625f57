"""A new policy, or the old one; never half of one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from dnslib import RCODE

from dnsfw.datapath.tables import number_key
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import Reason, RoleId, Subject, addr_from
from dnsfw.server.clock import boot_now
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, Running, running


async def test_what_the_kernel_refuses_leaves_the_old_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        before = run.daemon.reloader.policy

        def refuse(plan: object, between: object) -> None:
            raise DatapathError("no room for rules")

        monkeypatch.setattr(run.kernel.sink, "begin", refuse)
        run.policy.write_text(ALLOW_EXAMPLE.replace("example.com", "example.net"))
        _, last = await run.control("reload")

        assert last["exit"] == 3
        assert run.daemon.reloader.policy is before
        assert run.daemon.reloader.stale == "no room for rules"
        assert (await run.query("www.example.net")).header.rcode == 3


async def test_what_this_wall_cannot_do_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        monkeypatch.setattr(run.kernel, "lacks", ConfigError("no role has its guests there"))
        begun: list[object] = []
        monkeypatch.setattr(run.kernel.sink, "begin", begun.append)
        run.policy.write_text(ALLOW_EXAMPLE.replace("example.com", "example.net"))
        _, last = await run.control("reload")

        assert last["exit"] == 2 and "no role has its guests there" in last["error"]
        assert begun == []


async def test_a_good_reload_ends_the_stale_state(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text("no policy")
        await run.control("reload")
        assert run.daemon.reloader.stale

        run.policy.write_text(ALLOW_EXAMPLE)
        _, last = await run.control("reload")

        assert last["ok"]
        assert last["changes"] == []
        assert not run.daemon.reloader.stale


async def test_what_only_a_start_can_change_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text(ALLOW_EXAMPLE + "dns: {upstreams: [192.0.2.1]}\n")
        _, last = await run.control("reload")

        assert "dns.upstreams has changed: that takes effect at the next start" in last["warnings"]

        run.policy.write_text(ALLOW_EXAMPLE)  # as at the start: nothing waits for the next one
        _, last = await run.control("reload")
        assert not any("next start" in line for line in last["warnings"])


async def test_the_kernel_gets_the_new_policy_before_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        order: list[str] = []
        engine = run.daemon.service.engine
        for owner, name in ((run.kernel.sink, "begin"), (engine, "begin_swap")):
            real = getattr(owner, name)

            def spy(*args: object, real: object = real, name: str = name) -> object:
                order.append(name)
                return real(*args)  # type: ignore[operator]

            monkeypatch.setattr(owner, name, spy)
        await run.control("reload")

        assert order == ["begin", "begin_swap"]


async def test_who_asks_is_answered_by_the_new_policy_while_the_kernel_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NanoDns(ttl=60) as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        waited, go, order = threading.Event(), threading.Event(), list[str]()

        def barrier() -> None:
            waited.set()
            assert go.wait(10)
            order.append("waited")

        monkeypatch.setattr(run.kernel.sink._sink._policy, "_barrier", barrier)
        assign = run.kernel.assign
        monkeypatch.setattr(
            run.kernel, "assign", lambda subjects: order.append("assign") or assign(subjects)
        )
        run.policy.write_text("version: 1\ndefault: deny\nrules: [{allow: 'new.example'}]\n")
        reload = asyncio.ensure_future(run.control("reload"))
        await asyncio.to_thread(waited.wait, 10)

        refused = await run.query("www.example.com")
        assert refused.header.rcode == RCODE.NXDOMAIN
        assert not reload.done() and order == [], "it returns when the old one judges nothing"

        go.set()
        _, last = await reload
        assert last["ok"] and order == ["waited", "assign"]


async def test_an_address_that_both_policies_allow_is_open_all_through_the_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NanoDns(ttl=60) as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        (held,) = list(run.kernel.sink.entries())
        rules = run.kernel.sink.maps["dnsfw_rules"]
        shut: list[bytes] = []
        delete = rules.delete

        def spy(key: bytes) -> bool:
            (now,) = list(run.kernel.sink.entries())
            if all(number_key(grant.rule) == key for grant in now.grants):
                shut.append(key)
            return delete(key)

        monkeypatch.setattr(rules, "delete", spy)
        run.policy.write_text(ALLOW_EXAMPLE.replace("*.example.com", "www.example.com"))
        _, last = await run.control("reload")

        assert last["ok"] and last["changes"]
        (after,) = list(run.kernel.sink.entries())
        assert after.grants[0].rule != held.grants[0].rule
        assert not shut, "a rule died while it was the only one behind a grant"


# roles

ROLES = """\
version: 1
default: deny
rules: [{allow: "*.example.com"}]
roles:
  web: {subjects: [{uid: 4241}], default: deny, rules: [{allow: "*.example.com:443"}]}
"""


def numbers(run: Running) -> dict[str, int]:
    return {role.name: int(n) for n, role in run.daemon.reloader.policy.roles.items()}


async def resolve(run: Running, role: str) -> None:
    _, last = await run.control("resolve", name="www.example.com", qtype=1, role=role)
    assert last["ok"], last


def open_for(run: Running) -> set[int]:
    return {int(entry.role) for entry in run.kernel.sink.entries() if entry.grants}


async def test_roles_come_and_go_and_keep_their_numbers(tmp_path: Path) -> None:
    async with NanoDns(ttl=60) as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        before = numbers(run)
        await resolve(run, "web")
        await resolve(run, "host")
        assert open_for(run) == set(before.values())

        run.policy.write_text(ALLOW_EXAMPLE)
        await run.control("reload")
        assert open_for(run) == {1}
        assert run.kernel.subjects == ()

        run.policy.write_text(
            ROLES.replace(
                "  web:",
                "  another: {subjects: [{uid: 4242}], "
                "default: deny, rules: [{allow: x.example}]}\n  web:",
            )
        )
        await run.control("reload")
        assert numbers(run).items() >= before.items()
        assert open_for(run) == {1}
        assert {subject.value for subject in run.kernel.subjects} == {"4241", "4242"}


async def test_numbers_outlive_the_daemon(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        before = numbers(run)
    kernel = MemoryKernel(run.kernel.sink)
    later = ROLES.replace(
        "  web:",
        "  a: {subjects: [{uid: 4242}], default: deny, rules: [{allow: x.example}]}\n  web:",
    )
    async with running(tmp_path, policy=later, kernel=kernel) as again:
        assert numbers(again).items() >= before.items()


async def test_the_kernel_knows_a_role_before_anybody_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        order: list[str] = []
        for owner, name in (
            (run.kernel.sink, "begin"),
            (run.kernel, "assign"),
            (run.kernel, "settle_role_change"),
        ):
            real = getattr(owner, name)

            def spy(*args: object, real: object = real, name: str = name) -> object:
                order.append(name)
                return real(*args)  # type: ignore[operator]

            monkeypatch.setattr(owner, name, spy)
        run.policy.write_text(ROLES)
        _, last = await run.control("reload")

        assert last["ok"]
        assert order == ["begin", "assign", "settle_role_change"]


async def test_what_a_change_of_hands_ends_is_said(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        run.kernel.ended = ("ended the connection to 192.0.2.7:443: the policy refuses it",)
        _, last = await run.control("reload")

        assert run.kernel.ended[0] in last["warnings"]


async def test_subjects_that_the_kernel_refuses_put_the_old_policy_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NanoDns(ttl=60) as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        before, real = run.daemon.reloader.policy, run.kernel.assign

        def refuse(subjects: Sequence[Subject]) -> tuple[str, ...]:
            if len(subjects) != 1:
                raise DatapathError("no room for subjects")
            return real(subjects)

        monkeypatch.setattr(run.kernel, "assign", refuse)
        run.policy.write_text(ROLES.replace("uid: 4241}", "uid: 4241}, {uid: 4242}"))
        _, last = await run.control("reload")

        assert last["exit"] == 3 and "no room" in last["error"]
        assert run.daemon.reloader.policy is before
        assert [subject.value for subject in run.kernel.subjects] == ["4241"]
        await resolve(run, "web")
        assert open_for(run) == {numbers(run)["web"]}


async def test_a_role_that_comes_in_a_lockdown_is_locked_too(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.control("lockdown", state="on")
        run.policy.write_text(ROLES)
        _, last = await run.control("reload")

        assert last["ok"]
        web = RoleId(numbers(run)["web"])
        _, reason = run.kernel.sink.judge(web, addr_from("192.0.2.7"), 6, 443, boot_now())
        assert reason is Reason.LOCKDOWN
