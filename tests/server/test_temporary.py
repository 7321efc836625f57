"""allow, deny and pause for a time: in force at once, gone on time, over restarts too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnsfw.model import HOST, SECOND, Mode, Nanos, Verdict, addr_from
from dnsfw.server import temporary
from dnsfw.server.clock import boot_now
from dnsfw.server.loading import make_rules
from dnsfw.server.temporary import Temporaries
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, Running, running
from tests.support.until import until

ROLES = ALLOW_EXAMPLE + "roles:\n  web: {subjects: [{uid: 4241}]}\n"


class Clock:
    """BOOTTIME that a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> Nanos:
        return Nanos(boot_now() + self.ahead)

    def forward(self, seconds: float) -> None:
        self.ahead += int(seconds * SECOND)


async def rcode(run: Running, name: str) -> int:
    return int((await run.query(name)).header.rcode)


async def ask(run: Running, word: str, *to: str, **request: object) -> dict[str, object]:
    given = {"seconds": 60, **request}
    _, last = await run.control("temporary", word=word, to=list(to), **given)
    return last


def mode(run: Running) -> Mode:
    return run.daemon.reloader.policy.host.mode


async def test_an_allow_holds_at_once_and_its_grants_end_with_it(tmp_path: Path) -> None:
    async with NanoDns(ttl=3000) as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["late.example", "A"] = ["192.0.2.7"]
        assert await rcode(run, "late.example") == 3
        began = boot_now()
        last = await ask(run, "allow", "late.example:443", seconds=30)
        assert last["ok"], last

        reply = await run.query("late.example")

        assert [str(record.rdata) for record in reply.rr] == ["192.0.2.7"]
        assert reply.rr[0].ttl <= 30
        (entry,) = run.kernel.sink.entries()
        assert all(grant.until <= began + 31 * SECOND for grant in entry.grants)
        _, status = await run.control("status")
        (row,) = status["temporary"]
        assert (row["word"], row["to"], row["role"]) == ("allow", "late.example:443", "host")
        assert 0 < row["seconds"] <= 30
        assert "allow late.example:443, for 30s, by uid" in run.log.text


async def test_its_time_begins_when_it_has_been_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host that takes seconds: a deny for five of them would be over before it held."""
    clock = Clock()

    def slowly(*asked: Any) -> Any:
        clock.forward(20)
        monkeypatch.undo()
        return make_rules(*asked)

    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], now=clock) as run:
        monkeypatch.setattr(temporary, "make_rules", slowly)
        await ask(run, "deny", "www.example.com", seconds=5)

        assert await rcode(run, "www.example.com") == 3
        (item,) = run.daemon.kept.items
        assert item.until > clock() + 3 * SECOND


async def test_it_is_gone_on_time(tmp_path: Path) -> None:
    clock = Clock()
    async with NanoDns(ttl=3000) as dns, running(tmp_path, [dns.endpoint], now=clock) as run:
        dns.zone["late.example", "A"] = ["192.0.2.7"]
        await ask(run, "allow", "late.example", seconds=30)
        assert await rcode(run, "late.example") == 0

        clock.forward(31)
        run.daemon.temporary.look()
        await until(lambda: not run.daemon.kept.items)

        assert await rcode(run, "late.example") == 3
        assert "allow late.example is over" in run.log.text
        now = clock()
        found = run.kernel.sink.judge(HOST, addr_from("192.0.2.7"), 6, 443, now)
        assert found[0] is Verdict.DENY


@pytest.mark.parametrize(("away", "rcodes"), [(10, (0, 0)), (40, (3, 3))])
async def test_a_restart_in_between_neither_forgets_nor_prolongs(
    tmp_path: Path, away: int, rcodes: tuple[int, int]
) -> None:
    clock = Clock()
    async with NanoDns() as dns:
        dns.zone["late.example", "A"] = ["192.0.2.7"]
        async with running(tmp_path, [dns.endpoint], now=clock) as run:
            await ask(run, "allow", "late.example", seconds=30)
            await ask(run, "pause", seconds=30, reason="test", role="host")
        clock.forward(away)
        kernel = MemoryKernel(run.kernel.sink)
        async with running(tmp_path, [dns.endpoint], kernel=kernel, now=clock) as again:
            assert await rcode(again, "late.example") == rcodes[0]
            assert (mode(again) is Mode.AUDIT) == (away < 30)
            clock.forward(30)
            again.daemon.temporary.look()
            await until(lambda: not again.daemon.kept.items)
            assert await rcode(again, "late.example") == 3
            assert mode(again) is Mode.ENFORCE


async def test_a_deny_beats_the_written_rule_of_equal_rank_and_ends(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        assert await rcode(run, "www.example.com") == 0
        await ask(run, "deny", "*.example.com")
        assert await rcode(run, "www.example.com") == 3
        now = boot_now()
        found = run.kernel.sink.judge(HOST, addr_from("192.0.2.7"), 6, 443, now)
        assert found[0] is Verdict.DENY

        last = await ask(run, "deny", "*.example.com", end=True)

        assert last["temporary"] == ["deny *.example.com"]
        assert await rcode(run, "www.example.com") == 0


async def test_the_later_of_two_on_one_destination_holds(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["x.example.com", "A"] = ["192.0.2.7"]
        await ask(run, "deny", "x.example.com")
        await ask(run, "allow", "x.example.com")

        assert await rcode(run, "x.example.com") == 0
        assert [item.word for item in run.daemon.kept.items] == ["allow"]


async def test_a_rule_that_is_more_specific_decides_and_is_named(tmp_path: Path) -> None:
    policy = ALLOW_EXAMPLE + "  - deny: www.example.com\n"
    async with running(tmp_path, policy=policy) as run:
        last = await ask(run, "allow", ".www.example.com", "10.0.0.0/8:22")

        assert last["ok"], last
        (first,) = last["warnings"]  # type: ignore[misc]
        assert "'deny www.example.com'" in first and "still decides" in first


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"word": "allow", "to": ["x..y"]}, "x..y"),
        ({"word": "allow", "to": ["*.co.uk"]}, "anybody can register"),
        ({"word": "allow", "to": ["x.example:0"]}, "port"),
        ({"word": "deny", "to": ["metadata"]}, "word of policy files"),
        ({"word": "allow", "to": []}, "name a destination"),
        ({"word": "allow", "to": "x.example"}, "a destination is"),
        ({"word": "allow", "to": ["x.example"], "seconds": None}, "for how long"),
        ({"word": "allow", "to": ["x.example"], "seconds": -1}, "for how long"),
        ({"word": "allow", "to": ["x.example"], "seconds": True}, "for how long"),
        ({"word": "allow", "to": ["x.example"], "seconds": 10**9}, "longer than a week"),
        ({"word": "allow", "to": ["x.example"], "role": "wbe"}, "did you mean 'web'"),
        ({"word": "allow", "to": ["x.example"], "reason": "a\nb"}, "one printable line"),
        ({"word": "allow", "to": ["x.example"] * 33}, "at once"),
        ({"word": "pause", "to": []}, "why?"),
        ({"word": "sudo", "to": []}, "allow, deny or pause"),
        ({"word": "allow", "to": ["x.example"], "end": True}, "no such temporary allow"),
    ],
)
async def test_what_is_wrong_changes_nothing(
    tmp_path: Path, request_: dict[str, object], told: str
) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        before = run.daemon.reloader.policy
        _, last = await run.control("temporary", **{"seconds": 60, **request_})

        assert last["exit"] == 2 and told in last["error"], last
        assert run.daemon.reloader.policy is before


async def test_a_pause_is_loud_and_of_one_role_or_all(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["evil.example", "A"] = ["192.0.2.9"]
        assert (await ask(run, "pause", reason="is it us?", role="web"))["ok"]
        assert mode(run) is Mode.ENFORCE
        assert (await ask(run, "pause", reason="is it us?"))["ok"]

        assert await rcode(run, "evil.example") == 0
        _, status = await run.control("status")
        assert not status["enforcing"]
        assert "PAUSED" in status["not_enforcing"][0] and "is it us?" in status["not_enforcing"][0]

        last = await ask(run, "pause", end=True)
        assert last["ok"] and mode(run) is Mode.ENFORCE
        assert await rcode(run, "evil.example") == 3
        _, status = await run.control("status")
        assert status["enforcing"] and status["temporary"] == []


@pytest.mark.parametrize("where", ["top", "role"])
async def test_where_the_policy_is_locked_there_is_nothing_temporary(
    tmp_path: Path, where: str
) -> None:
    policy = ROLES.replace("[{uid: 4241}]}", "[{uid: 4241}], locked: true}")
    if where == "top":
        policy = ROLES + "locked: true\n"
    async with running(tmp_path, policy=policy) as run:
        for word, to in (("allow", ["x.example"]), ("deny", ["x.example"]), ("pause", [])):
            for role in ("web", "host") if where == "top" else ("web",):
                last = await ask(run, word, *to, role=role, reason="please")
                assert last["exit"] == 2 and "locked: true" in str(last["error"])
        assert "locks" in str((await ask(run, "pause", reason="all of them"))["error"])
        if where == "role":
            assert (await ask(run, "allow", "x.example"))["ok"]


async def test_a_reload_keeps_what_holds_and_ends_what_it_locks(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["late.example", "A"] = ["192.0.2.7"]
        await ask(run, "allow", "late.example")
        run.policy.write_text(ALLOW_EXAMPLE + "  - allow: more.example\n")
        _, last = await run.control("reload")
        assert last["changes"] == ["+ allow more.example"]
        assert await rcode(run, "late.example") == 0

        run.policy.write_text(ALLOW_EXAMPLE + "locked: true\n")
        _, last = await run.control("reload")
        assert any("allow late.example has ended: the policy locks" in w for w in last["warnings"])
        assert await rcode(run, "late.example") == 3
        assert run.daemon.kept.items == ()


async def test_down_forgets_them(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await ask(run, "allow", "x.example")
        assert (run.run_dir / "temporary.json").stat().st_mode & 0o777 == 0o600
        run.daemon.take_down()
        await run.ended()

    assert not (run.run_dir / "temporary.json").exists()


def test_another_boot_or_a_torn_list_is_nothing(tmp_path: Path) -> None:
    good = {"word": "allow", "to": "x", "role": "host", "until": 2**62}
    path = tmp_path / "temporary.json"
    for text in (
        json.dumps({"boot": "other", "items": [good]}), '{"boot": "mine", "items": [', "[]", "7",
        json.dumps({"boot": "mine", "items": [{**good, "more": 1}]}),
        json.dumps({"boot": "mine", "items": [{**good, "until": 1}]}),
    ):  # fmt: skip
        path.write_text(text)
        assert Temporaries(tmp_path, boot_now, "mine").items == (), text
    path.write_text(json.dumps({"boot": "mine", "items": [good]}))
    assert len(Temporaries(tmp_path, boot_now, "mine").items) == 1
