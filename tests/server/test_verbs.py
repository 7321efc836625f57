"""What the daemon can be asked, beyond what its views show."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.support.running import Running, running
from tests.support.until import until


async def watch(run: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(run.run_dir / "control.sock"))
    writer.write(b'{"do": "watch"}\n')
    assert json.loads(await reader.readline()) == {"row": {"kind": "watching"}}
    return reader, writer


async def test_watch_hears_a_refused_query(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        reader, writer = await watch(run)

        await run.query("tracker.evil.example")

        async with asyncio.timeout(5):
            row = json.loads(await reader.readline())["row"]
        assert (row["kind"], row["name"]) == ("refused", "tracker.evil.example")
        writer.close()


async def test_watch_hears_each_refusal_not_only_the_first(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        reader, writer = await watch(run)
        for _ in range(3):
            await run.query("tracker.evil.example")

        async with asyncio.timeout(5):
            rows = [json.loads(await reader.readline())["row"] for _ in range(3)]
        assert {row["name"] for row in rows} == {"tracker.evil.example"}
        writer.close()


async def test_a_watcher_that_left_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, writer = await watch(run)
        writer.close()
        await until(lambda: not run.daemon.watchers)


async def test_too_many_watchers_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        held = [await watch(run) for _ in range(16)]
        _, last = await run.control("watch")

        assert "too many" in last["error"]
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("state", ["", "maybe", None, 3, ["on"]])
async def test_a_lockdown_of_another_kind_is_a_mistake(tmp_path: Path, state: object) -> None:
    async with running(tmp_path) as run:
        _, last = await run.control("lockdown", state=state)

        assert last["exit"] == 2


async def test_confirm_without_a_trial_is_a_mistake(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, last = await run.control("confirm")

        assert last["exit"] == 2
        assert "--try" in last["error"]


async def test_what_was_refused_is_kept_for_learning(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.query("tracker.evil.example")
        await run.query("tracker.evil.example")

        (row,), _ = await run.control("observed")
        _, last = await run.control("observed", role="nobody")

        assert (row["name"], row["role"], row["count"]) == ("tracker.evil.example", "host", 2)
        assert last["exit"] == 2


@pytest.mark.parametrize(
    "request_", [{}, {"pid": "1", "role": "web"}, {"pid": -1, "role": "web"}, {"pid": 7}]
)
async def test_enrolling_needs_a_process_and_a_role(
    tmp_path: Path, request_: dict[str, object]
) -> None:
    async with running(tmp_path) as run:
        _, last = await run.control("enroll", **request_)

        assert last["exit"] == 2


async def test_enrolling_without_a_helper_says_what_is_missing(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, last = await run.control("enroll", pid=os.getpid(), role="host")

        assert last["exit"] == 3
        assert "without a helper" in last["error"]
