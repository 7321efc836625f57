"""The daemon and the answers that its kernel gives, over tables in memory: published, taken
back, renewed, taken over by the next process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dnslib import DNSRecord

from dnsfw.datapath.memory import MemorySink
from dnsfw.model import HOST, Lockdown, RoleId, addr_from
from dnsfw.server.clock import boot_now
from dnsfw.wire.message import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.memory_answers import MemoryAnswers
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, Running, running
from tests.support.until import until

WWW = "www.example.com"


class Stand:
    """What stays in the kernel from one process to the next."""

    def __init__(self) -> None:
        self.answers = MemoryAnswers()
        self.sink: MemorySink | None = None

    @asynccontextmanager
    async def daemon(
        self, tmp_path: Path, dns: NanoDns, policy: str = ALLOW_EXAMPLE
    ) -> AsyncIterator[Running]:
        kernel = MemoryKernel(self.sink)
        kernel.answers = self.answers.table()
        async with running(tmp_path, [dns.endpoint], policy, kernel) as run:
            self.sink = kernel.sink
            yield run

    def gives(self, name: str = WWW, role: RoleId = HOST) -> DNSRecord | None:
        wire = write_query(7, from_text(name), A)
        found = self.answers.ask(wire, role, boot_now())
        return None if found is None else DNSRecord.parse(found)


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def published(stand: Stand, run: Running, name: str = WWW) -> None:
    for _ in range(3):
        await run.query(name)
    assert stand.gives(name) is not None


async def test_the_third_ask_never_reaches_the_daemon(stand: Stand, tmp_path: Path) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        dns.zone[WWW, "A"] = ["192.0.2.7"]

        await run.query(WWW)
        assert stand.gives() is None
        slow = await run.query(WWW)
        fast = stand.gives()

        assert fast is not None and fast.rr == slow.rr and fast.header.rcode == 0
        allowed, _ = run.kernel.sink.judge(HOST, addr_from("192.0.2.7"), 6, 443, boot_now())
        assert allowed.name == "ALLOW"


async def test_a_refusal_is_the_same_in_the_kernel_with_its_reason(
    stand: Stand, tmp_path: Path
) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        slow = await run.query("evil.net")
        await run.query("evil.net")
        fast = stand.gives("evil.net")

        assert fast is not None
        assert (fast.header.rcode, fast.auth, fast.ar) == (slow.header.rcode, slow.auth, slow.ar)


async def test_row_113_a_reload_leaves_no_answer_of_the_old_policy(
    stand: Stand, tmp_path: Path
) -> None:
    """Promise 2: not one, from the moment in which it returns."""
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        dns.zone[WWW, "A"] = ["192.0.2.7"]
        await published(stand, run)
        await published(stand, run, "evil.net")

        run.policy.write_text("version: 1\ndefault: deny\nrules: [allow: evil.net]\n")
        await run.control("reload")

        assert stand.gives() is None and stand.gives("evil.net") is None
        for _ in range(2):
            await run.query(WWW)
        found = stand.gives()
        assert found is not None and found.header.rcode == 3


async def test_switched_off_by_a_reload_nothing_is_published_and_on_again_it_is(
    stand: Stand, tmp_path: Path
) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        dns.zone[WWW, "A"] = ["192.0.2.7"]
        await published(stand, run)
        on = run.policy.read_text()

        run.policy.write_text(on + "dns: {kernel_answers: off}\n")
        await run.control("reload")
        for _ in range(3):
            await run.query(WWW)
        assert stand.gives() is None
        _, status = await run.control("status")
        assert status["kernel_answers"]["on"] is False

        run.policy.write_text(on)
        await run.control("reload")
        await published(stand, run)


async def test_a_lockdown_takes_everything_back(stand: Stand, tmp_path: Path) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        dns.zone[WWW, "A"] = ["192.0.2.7"]
        await published(stand, run)

        run.daemon.lock_down(Lockdown.ON)
        assert stand.gives() is None
        run.daemon.lock_down(Lockdown.OFF)
        assert stand.gives() is None
        await published(stand, run)


async def test_a_temporary_rule_takes_everything_back(stand: Stand, tmp_path: Path) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        await published(stand, run, "evil.net")

        _, done = await run.control("temporary", word="allow", to=["evil.net"], seconds=60)
        assert done["ok"]

        assert stand.gives("evil.net") is None


async def test_answers_go_on_while_no_daemon_runs_and_the_next_one_keeps_them(
    stand: Stand, tmp_path: Path
) -> None:
    async with NanoDns() as dns:
        dns.zone[WWW, "A"] = ["192.0.2.7"]
        async with stand.daemon(tmp_path, dns) as run:
            await published(stand, run)
            await until(lambda: (run.run_dir / "answers").exists())
        assert stand.gives() is not None  # nobody is there

        async with stand.daemon(tmp_path, dns) as run:
            assert stand.gives() is not None
            _, status = await run.control("status")
            assert status["kernel_answers"]["held"]["small"] == 1


@pytest.mark.parametrize("what", ["policy", "nobody knows"])
async def test_the_next_daemon_keeps_nothing_that_it_would_not_say(
    stand: Stand, tmp_path: Path, what: str
) -> None:
    async with NanoDns() as dns:
        dns.zone[WWW, "A"] = ["192.0.2.7"]
        async with stand.daemon(tmp_path, dns) as run:
            await published(stand, run)
            await until(lambda: (run.run_dir / "answers").exists())
        other = ALLOW_EXAMPLE
        if what == "policy":
            other = "version: 1\ndefault: deny\nrules: [allow: other.org]\n"
        else:
            (run.run_dir / "answers").unlink()

        async with stand.daemon(tmp_path, dns, other):
            assert stand.gives() is None


async def test_a_name_in_use_is_never_missed(stand: Stand, tmp_path: Path) -> None:
    """Row 86 beside it: its address changes at the upstream, and the new one is open first."""
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        dns.zone[WWW, "A"], dns.ttl = ["192.0.2.7"], 2
        await published(stand, run)
        dns.zone[WWW, "A"] = ["192.0.2.8"]
        missed, told = 0, set()

        end = boot_now() + 5_000_000_000
        while (now := boot_now()) < end:
            found = stand.gives()
            if found is None:
                missed += 1
            else:
                (one,) = (str(rr.rdata) for rr in found.rr)
                told.add(one)
                verdict, _ = run.kernel.sink.judge(HOST, addr_from(one), 6, 443, now)
                assert verdict.name == "ALLOW", f"{one} was told and is shut"
            await asyncio.sleep(0.01)

        assert missed == 0 and told == {"192.0.2.7", "192.0.2.8"}


async def test_a_name_that_nobody_uses_any_more_is_asked_for_no_more(
    stand: Stand, tmp_path: Path
) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        dns.zone[WWW, "A"], dns.ttl = ["192.0.2.7"], 1
        for _ in range(2):
            await run.query(WWW)
        heard = len(dns.heard)

        await asyncio.sleep(1.5)

        assert len(dns.heard) == heard and not stand.answers.keys()


async def test_names_made_up_at_random_do_not_fill_the_table(stand: Stand, tmp_path: Path) -> None:
    async with NanoDns() as dns, stand.daemon(tmp_path, dns) as run:
        for n in range(40):
            await run.query(f"r{n}.example.com")

        assert not stand.answers.keys()
