"""The log of names in front of its thread: bounded, out of the way, and honest about losses."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnsfw.engine import notes
from dnsfw.engine.effects import Client, Effect, OpenThenReply, Reply, Transport
from dnsfw.engine.refusals import refusal
from dnsfw.model import HOST, SECOND, Nanos, Reason, RoleId
from dnsfw.policy.compile import compile_text
from dnsfw.server.asklog import BURST, AskLog
from dnsfw.server.asklog_file import LIVE
from dnsfw.server.kernel_refusals import Refused
from dnsfw.server.veil import CLEAR
from dnsfw.server.who_asks import CgroupPaths, Who
from dnsfw.wire.message import read_query
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query, write_reply
from tests.support.play import rr

HEAD = "version: 1\ndefault: deny\nrules: [allow: '*.x.com']\nroles: {kids: {default: allow}}\n"
KIDS = compile_text(HEAD).role_id("kids")


class Clock:
    def __init__(self) -> None:
        self.now = Nanos(5 * SECOND)

    def __call__(self) -> Nanos:
        return self.now


class Logged:
    """A log over a directory, and its rows when it is closed."""

    def __init__(self, directory: Path, log: str = "{names: all}") -> None:
        policy = compile_text(f"{HEAD}log: {log}")
        self.clock = Clock()
        self.directory = directory
        self.log = AskLog(
            policy.log, directory, CLEAR, self.clock, lambda: policy,
            lambda client: Who(client.address if client else "", "udp"),
            CgroupPaths(self.clock, directory),
        )  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        self.log.close()
        try:
            text = (self.directory / LIVE).read_text()
        except OSError:
            return []
        return [json.loads(line) for line in text.splitlines()]


def client(role: RoleId = HOST, address: str = "10.0.0.2") -> Client:
    return Client(None, role, Transport.UDP, address)


def answered(name: str, role: RoleId = HOST, qtype: int = 1) -> list[Effect]:
    query = read_query(write_query(7, from_text(name), qtype))
    wire = write_reply(query, 0, [rr(name, "A", "192.0.2.7")], (), limit=65_535)
    return [OpenThenReply((), (), (Reply(client(role), wire),))]


def refused(name: str, role: RoleId = HOST) -> list[Effect]:
    query = read_query(write_query(7, from_text(name), 1))
    wire = refusal(from_text(name), 1, "nxdomain", Reason.NAME_DEFAULT, None).render(query)
    note = notes.refused(role, from_text(name), Reason.NAME_DEFAULT, None)
    return [Reply(client(role), wire), note]


def test_allowed_and_refused_names_are_written_with_who_asked(tmp_path: Path) -> None:
    logged = Logged(tmp_path)
    logged.log.told(answered("www.x.com"))
    logged.log.told(refused("evil.example"))

    rows = logged.rows()

    assert [(row["name"], row["verdict"], row["client"]) for row in rows] == [
        ("www.x.com", "allow", "10.0.0.2"),
        ("evil.example", "deny", "10.0.0.2"),
    ]


@pytest.mark.parametrize(
    ("log", "names"),
    [
        ("{names: refused}", ["evil.example", "bad.example"]),
        ("{names: all, without: [kids]}", ["www.x.com", "evil.example"]),
        ("{names: all, askers: false}", ["www.x.com", "evil.example", "ok.example", "bad.example"]),
    ],
)
def test_row_137_only_what_the_policy_wants_is_written(
    tmp_path: Path, log: str, names: list[str]
) -> None:
    logged = Logged(tmp_path, log)
    logged.log.told(answered("www.x.com"))
    logged.log.told(refused("evil.example"))
    logged.log.told(answered("ok.example", KIDS))
    logged.log.told(refused("bad.example", KIDS))

    rows = logged.rows()

    assert [row["name"] for row in rows] == names
    assert all(("client" in row) == ("askers" not in log) for row in rows)


def test_what_repeats_within_a_window_is_one_line_and_a_count(tmp_path: Path) -> None:
    logged = Logged(tmp_path)
    for _ in range(10):
        logged.log.told(answered("www.x.com"))
    logged.log.told(answered("www.x.com", qtype=28))
    logged.clock.now = Nanos(logged.clock.now + 61 * SECOND)
    logged.log.flush()

    rows = logged.rows()

    assert [(row["qtype"], row["count"]) for row in rows] == [("A", 1), ("AAAA", 1), ("A", 9)]


def test_row_136_a_flood_of_names_costs_few_lines_and_says_what_was_lost(tmp_path: Path) -> None:
    logged = Logged(tmp_path)
    for n in range(3 * BURST):
        logged.log.told(refused(f"r{n}.evil.example"))

    rows = logged.rows()

    assert len([row for row in rows if row["kind"] == "name"]) <= BURST
    assert logged.log.lost >= 2 * BURST
    assert any(row["kind"] == "lost" and row["count"] > 0 for row in rows)


def test_row_136_a_disk_that_takes_nothing_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.asklog._PAUSE", 0.01)
    (tmp_path / "log").write_text("a file where a directory should be")
    logged = Logged(tmp_path / "log")
    logged.log.told(answered("www.x.com"))

    assert logged.rows() == []
    assert logged.log.lost == 1
    assert logged.log.row()["wrong"] == "File exists"


def test_a_connection_that_was_refused_is_a_line_once_a_window(tmp_path: Path) -> None:
    logged = Logged(tmp_path)
    row: Callable[[], dict[str, Any]] = lambda: {  # noqa: E731
        "kind": "denied", "verdict": "deny", "role": "host", "names": ["x.com"], "rule": "",
        "address": "192.0.2.1", "port": 443, "protocol": "tcp", "pid": 7, "command": "curl",
    }  # fmt: skip
    logged.log.event(HOST, "key", row)
    logged.log.event(HOST, "key", row)

    (found,) = logged.rows()

    assert (found["kind"], found["names"], found["port"]) == ("connection", ["x.com"], 443)
    assert (found["pid"], found["command"]) == (7, "curl")


def test_a_refusal_of_the_kernel_is_a_line_too(tmp_path: Path) -> None:
    logged = Logged(tmp_path)
    for _ in range(2):
        note = notes.refused(HOST, from_text("evil.example"), Reason.NAME_DEFAULT, None)
        logged.log.refused(Refused(note, 28, Who("127.0.0.1", "udp", 1000)))
    logged.clock.now = Nanos(logged.clock.now + 61 * SECOND)
    logged.log.flush()

    first, more = logged.rows()

    assert (first["name"], first["qtype"], first["verdict"]) == ("evil.example", "AAAA", "deny")
    assert (first["rcode"], first["client"], first["uid"]) == ("NXDOMAIN", "127.0.0.1", 1000)
    assert more["count"] == 1


def test_no_key_of_it_grows_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsfw.server.asklog._ALIKE_KEPT", 10)
    logged = Logged(tmp_path)
    for n in range(100):
        logged.log.told(answered(f"n{n}.x.com"))

    assert len(logged.log._alike) == 10
    logged.rows()


def test_row_136_after_a_full_disk_it_goes_on_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.asklog._PAUSE", 0.01)
    full = True
    write = os.write

    def writes(fd: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr("dnsfw.server.asklog_file.os.write", writes)
    logged = Logged(tmp_path)
    logged.log.told(answered("one.x.com"))
    wait_for(lambda: logged.log.lost == 1)
    told = logged.log.row()["wrong"]
    full = False
    logged.log.told(answered("two.x.com"))

    rows = logged.rows()

    assert told == "No space left on device"
    assert [(row["kind"], row.get("name"), row["count"]) for row in rows] == [
        ("name", "two.x.com", 1),
        ("lost", None, 1),
    ]
    assert logged.log.row()["wrong"] == ""


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)
