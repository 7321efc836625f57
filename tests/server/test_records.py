"""A daemon that keeps what its policy wants kept, and no more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsfw.datapath import abi
from dnsfw.model import HOST, addr_from
from dnsfw.policy.compile_log import LogSettings
from dnsfw.server.options import DEFAULT_RUN_DIR
from dnsfw.server.records import log_directory
from dnsfw.wire.name import from_text
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import Running, running
from tests.support.until import until

POLICY = """\
version: 1
default: deny
rules: [allow: "*.example.com:443"]
"""


class Asked(list[abi.AskedEvent]):
    """A ring that holds these; its descriptor is that of a pipe with something in it."""

    def __init__(self, events: list[abi.AskedEvent]) -> None:
        super().__init__(events)
        self._read, write = os.pipe()
        os.write(write, b"x")
        os.close(write)

    def fileno(self) -> int:
        return self._read

    def read(self) -> Iterator[abi.AskedEvent]:
        while self:
            yield self.pop(0)


def lines(run: Running) -> list[dict[str, Any]]:
    found = []
    for path in sorted((run.run_dir / "log").glob("names*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


async def test_names_that_were_asked_are_in_the_log_with_verdict_and_asker(tmp_path: Path) -> None:
    policy = POLICY + "log: {names: all}\n"
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        await run.query("evil.example")
        await run.query("www.example.com")  # from the cache: it was asked for before
        await until(lambda: len(lines(run)) >= 2)
        _, status = await run.control("status")

    first, second = lines(run)
    assert (first["name"], first["verdict"], first["rule"]) == (
        "www.example.com", "allow", "allow *.example.com:443",
    )  # fmt: skip
    assert first["addresses"] == ["192.0.2.7"] and first["client"] == "127.0.0.1"
    assert (second["name"], second["verdict"]) == ("evil.example", "deny")
    assert status["log"]["names"]["written"] >= 2


async def test_row_137_a_policy_that_says_nothing_keeps_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.query("evil.example")
        _, status = await run.control("status")

    assert not (run.run_dir / "log").exists()
    assert status["log"] == {"names": None, "history": None, "wrong": ""}


async def test_row_137_a_reload_begins_ends_and_veils_it(tmp_path: Path) -> None:
    async with running(tmp_path, policy=POLICY) as run:
        await run.query("one.example")
        run.policy.write_text(POLICY + "log: {names: refused, hash: true, history: true}\n")
        await run.control("reload")
        await run.query("two.example")
        await until(lambda: lines(run))
        run.policy.write_text(POLICY)
        await run.control("reload")
        await run.query("three.example")
        await until(lambda: not (run.run_dir / "log" / "history.sqlite").exists())

    (line,) = lines(run)
    assert line["name"].startswith("h:") and line["verdict"] == "deny"
    files = (run.run_dir / "log").iterdir()
    assert not any(b"two" in path.read_bytes() for path in files)


async def test_history_survives_a_restart_and_its_events_keep_their_numbers(
    tmp_path: Path,
) -> None:
    policy = POLICY + "log: {history: true}\n"
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        await run.query("evil.example")
    async with running(tmp_path, policy=policy) as run:
        _, allowed = await run.control("explain", destination="192.0.2.7:443")
        _, denied = await run.control("explain", destination="evil.example")
        _, event = await run.control("explain", event=1)
        await run.query("evil.example")
        _, twice = await run.control("explain", destination="evil.example")
        _, second = await run.control("explain", event=2)

    (learnt,) = allowed["learnt"]
    assert (learnt["name"], learnt["address"]) == ("www.example.com", "192.0.2.7")
    assert learnt["asker"].startswith("127.0.0.1 by udp")
    assert denied["refused"]["count"] == 1
    assert denied["refused"]["asker"].startswith("127.0.0.1 by udp")
    assert (event["destination"], event["verdict"]) == ("evil.example", "deny")
    assert twice["refused"]["count"] >= 1
    assert second["event"]["id"] == 2


async def test_row_137_a_veiled_history_answers_whoever_knows_the_name(tmp_path: Path) -> None:
    policy = POLICY + "log: {history: true, hash: true}\n"
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        await run.query("evil.example")
    async with running(tmp_path, policy=policy) as run:
        _, name = await run.control("explain", destination="www.example.com")
        _, address = await run.control("explain", destination="192.0.2.7")
        _, denied = await run.control("explain", destination="evil.example")
        _, event = await run.control("explain", event=1)

    assert name["learnt"][0]["name"] == "www.example.com"
    assert name["learnt"][0]["address"].startswith("h:")
    assert address["learnt"][0]["name"].startswith("h:")
    assert denied["refused"]["count"] == 1
    assert event["exit"] == 2 and "only a hash is kept" in event["error"]
    assert not any(b"example" in path.read_bytes() for path in (run.run_dir / "log").iterdir())


async def test_row_137_without_a_key_nothing_is_kept_and_it_is_said(tmp_path: Path) -> None:
    log = tmp_path / "run" / "log"
    log.mkdir(parents=True)
    (log / "log.key").write_bytes(b"short")
    policy = POLICY + "log: {names: all, hash: true}\n"
    async with running(tmp_path, policy=policy) as run:
        await run.query("evil.example")
        _, status = await run.control("status")

    assert lines(run) == []
    assert "no key to hide names with" in status["log"]["wrong"]


async def test_row_136_a_log_that_cannot_be_written_stops_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = f"{{names: all, history: true, directory: {tmp_path}/file/log}}"
    async with running(tmp_path, policy=f"{POLICY}log: {log}\n") as run:
        reply = await run.query("evil.example")
        await until(lambda: run.daemon.records.names and run.daemon.records.names.wrong)
        run.daemon.records.flush()
        told = run.log.text

    assert reply.header.rcode == 3
    assert "the log of names cannot be written" in told


@pytest.mark.parametrize(
    ("settings", "environment", "run_dir", "where"),
    [
        (LogSettings(directory="/x"), "/y", DEFAULT_RUN_DIR, "/x"),
        (LogSettings(), "/y:/z", DEFAULT_RUN_DIR, "/y"),
        (LogSettings(), None, DEFAULT_RUN_DIR, "/var/log/dnsfw"),
        (LogSettings(), None, "/tmp/own", "/tmp/own/log"),
    ],
)
def test_where_the_log_belongs(
    monkeypatch: pytest.MonkeyPatch,
    settings: LogSettings,
    environment: str | None,
    run_dir: str,
    where: str,
) -> None:
    monkeypatch.delenv("LOGS_DIRECTORY", raising=False)
    if environment is not None:
        monkeypatch.setenv("LOGS_DIRECTORY", environment)

    assert log_directory(settings, Path(run_dir)) == Path(where)


async def test_a_refusal_that_the_kernel_gave_is_in_the_log_and_the_history(
    tmp_path: Path,
) -> None:
    name = from_text("by.kernel.example")
    event = abi.AskedEvent(
        at=0, netns=0, role=HOST, generation=1, outcome=1, pid=0, addr=addr_from("127.0.0.1"),
        port=9, qtype=1, length=len(name), comm=bytes(16), name=name.ljust(256, b"\0"),
    )  # fmt: skip
    kernel = MemoryKernel()
    kernel.asked = Asked([event])
    policy = POLICY + "log: {names: refused}\n"
    async with running(tmp_path, policy=policy, kernel=kernel) as run:
        await until(lambda: lines(run))
        _, row = await run.control("explain", destination="by.kernel.example")
        _, status = await run.control("status")

    (line,) = lines(run)
    assert (line["name"], line["verdict"], line["client"]) == (
        "by.kernel.example", "deny", "127.0.0.1",
    )  # fmt: skip
    assert row["refused"]["count"] == 1
    assert row["refused"]["asker"].startswith("127.0.0.1 by udp")
    assert status["roles"][0]["refused"] == 0, "the kernel has counted it already"
