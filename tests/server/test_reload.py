"""A new policy, or the old one; never half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, running


async def test_what_the_kernel_refuses_leaves_the_old_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        before = run.daemon.reloader.policy

        def refuse(plan: object, between: object) -> None:
            raise DatapathError("no room for rules")

        monkeypatch.setattr(run.kernel.sink, "apply", refuse)
        run.policy.write_text(ALLOW_EXAMPLE.replace("example.com", "example.net"))
        _, last = await run.control("reload")

        assert last["exit"] == 3
        assert run.daemon.reloader.policy is before
        assert run.daemon.reloader.stale == "no room for rules"
        assert (await run.query("www.example.net")).header.rcode == 3


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


async def test_the_kernel_gets_the_new_policy_before_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as run:
        order: list[str] = []
        engine = run.daemon.service.engine
        for owner, name in ((run.kernel.sink, "apply"), (engine, "swap_policy")):
            real = getattr(owner, name)

            def spy(*args: object, real: object = real, name: str = name) -> object:
                order.append(name)
                return real(*args)  # type: ignore[operator]

            monkeypatch.setattr(owner, name, spy)
        await run.control("reload")

        assert order == ["apply", "swap_policy"]


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
