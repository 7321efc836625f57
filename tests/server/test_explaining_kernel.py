"""What `explain` says of the kernel: what it holds, what it refuses, and why it has nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dnsfw.model import HOST, Lockdown
from dnsfw.server.clock import boot_now
from dnsfw.wire.message import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.memory_answers import MemoryAnswers
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import Running, running

WWW = "www.example.com"
POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.example.com"
  - deny: [bad.example.com, "a*z.example.com"]
roles:
  watched:
    default: deny
    mode: audit
"""


@asynccontextmanager
async def daemon(tmp_path: Path, policy: str = POLICY) -> AsyncIterator[tuple[Running, Any]]:
    kernel, answers = MemoryKernel(), MemoryAnswers()
    kernel.answers = answers.table()
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy, kernel) as run:
        dns.zone[WWW, "A"] = ["192.0.2.7"]
        yield run, answers


async def told(run: Running, name: str = WWW, **more: str) -> Any:
    _, row = await run.control("explain", destination=name, **more)
    return row["kernel"]


async def test_what_the_kernel_holds_is_told_with_its_time_and_its_hits(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (run, answers):
        before = await told(run)
        for _ in range(2):
            await run.query(WWW)
            await run.query("evil.example")
        for name in (WWW, WWW, "evil.example"):
            assert answers.ask(write_query(7, from_text(name), A), HOST, boot_now()) is not None
        now, refused = await told(run), await told(run, "evil.example")
        of_address = await told(run, "192.0.2.7")

    assert before["held"] == [] and "asked for twice" in before["why"]
    (held,) = now["held"]
    assert (held["type"], held["hits"], held["refusal"]) == ("A", 2, False)
    assert 0 < held["seconds"] <= 60 and not now["why"] and not now["unasked"]
    assert [(h["hits"], h["refusal"], h["seconds"]) for h in refused["held"]] == [(1, True, None)]
    assert of_address is None


async def test_why_it_holds_nothing(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (run, _):
        watched = await told(run, role="watched")
        await run.control("lockdown", state="on")
        locked = await told(run)
        assert run.kernel.sink.locked is not Lockdown.OFF
    off = POLICY.replace("default: deny\n", "default: deny\ndns: {kernel_answers: off}\n", 1)
    async with daemon(tmp_path, off) as (run, _):
        switched_off = await told(run)
    async with running(tmp_path) as run:
        nowhere = await told(run)

    assert "audit" in watched["why"] and "lockdown" in locked["why"]
    assert "kernel_answers is off" in switched_off["why"] and "nothing answers" in nowhere["why"]


class Suffixes:
    """A table of refusals that is in force."""

    bytes = 1728
    trouble = ""

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "unasked"),
    [
        ("evil.example", True),  # the default
        ("bad.example.com", True),
        ("abz.example.com", False),  # a glob: what it covers is not to be seen by suffixes
        (WWW, False),
        ("9.2.0.192.in-addr.arpa", False),  # may be open by then
        ("x.localhost", False),
        (".".join("a" * 40), False),
    ],
)
async def test_a_name_that_is_refused_by_its_suffix_is_refused_unasked(
    tmp_path: Path, name: str, unasked: bool
) -> None:
    async with daemon(tmp_path) as (run, _):
        run.daemon.service.refusing = Suffixes()  # type: ignore[assignment]
        row = await told(run, name)
        await asyncio.sleep(0)

    assert row["unasked"] is unasked
    assert bool(row["why"]) is not unasked
