"""Who asked for what, over a real wall: in the log, over kill -9, and judged again."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
    pytest.mark.needs_peers,
]

RULES = [{"allow": "*.example.com:80"}]
PATIENCE = 10.0


def wait_for(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lines(directory: Path) -> list[dict[str, Any]]:
    found = []
    for path in directory.glob("names*.jsonl"):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def written(file: Path) -> bool:
    """Whether another process would find something of each kind there."""
    tables = ("events", "learnt", "refused")
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        try:
            rows = [database.execute(f"select 1 from {one} limit 1") for one in tables]
            return all(row.fetchone() for row in rows)
        except sqlite3.OperationalError:  # not made yet, or just being written
            return False


def test_row_137_names_and_connections_are_logged_with_who_wanted_them(world: World) -> None:
    daemon = world.guard(policy_of(RULES, log={"names": "all"}))
    directory = Path(daemon.environment["DNSFW_RUN_DIR"]) / "log"
    assert world.addresses("www.example.com")
    assert not world.addresses("www.example.net")
    world.connect("203.0.113.11", 8080)
    wait_for(lambda: len(lines(directory)) >= 3)

    rows = {row.get("name") or row["address"]: row for row in lines(directory)}
    allowed, refused = rows["www.example.com"], rows["www.example.net"]
    packet = rows["203.0.113.11"]

    assert (allowed["verdict"], allowed["addresses"]) == ("allow", ["203.0.113.11"])
    assert (refused["verdict"], refused["reason"]) == ("deny", "name-default")
    assert allowed["uid"] == 0 and allowed["cgroup"].startswith("/")
    assert refused["client"] == "127.0.0.1"
    assert (packet["names"], packet["port"]) == (["www.example.com"], 8080)
    assert packet["command"].startswith("python")
    same = daemon.command("replay", str(directory), "--fail-on", "any")
    assert same.returncode == 0, same.stdout + same.stderr


def test_history_survives_kill_9_and_says_who_asked(world: World) -> None:
    daemon = world.guard(policy_of(RULES, log={"history": True}))
    assert world.addresses("www.example.com")
    assert not world.addresses("www.example.net")
    file = Path(daemon.environment["DNSFW_RUN_DIR"]) / "log" / "history.sqlite"
    wait_for(lambda: file.exists() and written(file))

    daemon.kill()
    daemon.start()
    learnt = json.loads(daemon.command("explain", "--json", "203.0.113.11:80").stdout)
    refused = json.loads(daemon.command("explain", "--json", "www.example.net").stdout)
    event = daemon.command("explain", "--event", "1")

    assert learnt["verdict"] == "allow"
    assert learnt["learnt"][0]["name"] == "www.example.com"
    assert "uid 0, /" in learnt["learnt"][0]["asker"]
    assert refused["refused"]["asker"].startswith("127.0.0.1 by udp")
    assert refused["refused"]["count"] >= 1
    assert event.stdout.splitlines()[1].startswith("event 1 at ")


def test_commands_say_that_the_wall_stands_after_a_crash(world: World) -> None:
    daemon = world.guard(policy_of(RULES))
    daemon.kill()

    for command in ("grants", "reload"):
        done = daemon.command(command)
        assert done.returncode == 3
        assert "the wall it left stands and opens nothing new" in done.stderr


def test_a_name_that_the_kernel_refuses_is_told_with_who_asked(world: World) -> None:
    daemon = world.guard(policy_of(RULES, log={"names": "refused"}))
    directory = Path(daemon.environment["DNSFW_RUN_DIR"]) / "log"
    asked = [f"n{n}.example.org" for n in range(8)]

    def by_kernel() -> int:
        found: int = daemon.show("status")["roles"][0]["by_kernel"]["refused"]
        return found

    wait_for(lambda: (world.dig("+short", "first.example.org"), by_kernel())[1])
    for name in asked:
        assert "NXDOMAIN" in world.dig(name)
    wait_for(lambda: {*asked} <= {row["name"] for row in lines(directory)})

    rows = [row for row in lines(directory) if row["name"] in asked]
    assert {row["verdict"] for row in rows} == {"deny"}
    assert all(row["client"] == "127.0.0.1" for row in rows)
    found = json.loads(daemon.command("explain", "--json", asked[3]).stdout)
    assert found["refused"]["count"] >= 1 and "127.0.0.1 by udp" in found["refused"]["asker"]
