"""`dnsfw top`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsfw.cli import top as module
from dnsfw.cli.client import Client
from dnsfw.cli.top import Sample, compare, lines
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))


def role(
    name: str, asked: int, kernel: int = 0, refused: int = 0, denied: int = 0
) -> dict[str, Any]:
    return {
        "name": name, "mode": "enforce", "queries": asked, "refused": refused, "grants": 3,
        "by_kernel": {"answered": kernel, "refused": 0}, "packets": {"denied": denied},
    }  # fmt: skip


def wanted(count: int, last: float = NOON) -> dict[str, Any]:
    return {"count": count, "last": int(last)}


def key(what: str, command: str = "") -> tuple[str, ...]:
    return "host", what, "name-default", command


BEFORE = Sample(
    NOON, (role("host", 100, 50), role("web", 10)),
    {key("a.example"): wanted(7), key("b.example"): wanted(90)},
)  # fmt: skip
NOW = Sample(
    NOON + 2, (role("host", 120, 60, denied=4), role("web", 210, 150, 3)),
    {
        key("a.example"): wanted(27), key("b.example"): wanted(90),
        key("c.example", "curl"): wanted(1),
    },
)  # fmt: skip


def test_the_busiest_is_first_by_what_happened_since_the_last_look() -> None:
    view = compare(BEFORE, NOW)

    assert [(row["name"], row["asked"], row["in_kernel"]) for row in view["roles"]] == [
        ("web", 200, 150), ("host", 20, 10),
    ]  # fmt: skip
    assert [(row["what"], row["new"], row["times"]) for row in view["refused"]] == [
        ("a.example", 20, 27), ("c.example", 1, 1), ("b.example", 0, 90),
    ]  # fmt: skip


def test_a_screen_has_rates_and_who_it_was() -> None:
    assert list(lines(compare(BEFORE, NOW))) == [
        "dnsfw top, 12:00:02, the last 2.0 s, 2 roles",
        "ROLE  ASKED/S  KERNEL  REFUSED/S  DENIED/S  GRANTS",
        "web   100.0    75%     1.5        0.0       3",
        "host  10.0     50%     0.0        2.0       3",
        "",
        "NEW  TIMES  LAST      ROLE  WHY           WHAT, BY",
        "20   27     12:00:00  host  name-default  a.example",
        "1    1      12:00:00  host  name-default  c.example, curl",
        "0    90     12:00:00  host  name-default  b.example",
    ]


def test_no_screen_is_longer_than_the_terminal_is_high() -> None:
    roles = tuple(role(f"r{number}", number) for number in range(40))
    refused = {key(f"n{number}.example"): wanted(number + 1) for number in range(200)}
    view = compare(Sample(NOON, (), {}), Sample(NOON + 1, roles, refused))

    for height in (10, 24, 60):
        found = list(lines(view, height))
        assert len(found) < height
        assert any(line.startswith("and ") and line.endswith("roles more") for line in found)
        assert found[-1].endswith(".example")


def test_a_daemon_that_was_started_anew_begins_at_nothing() -> None:
    view = compare(NOW, Sample(NOON + 4, (role("host", 5, 1),), {key("a.example"): wanted(2)}))

    assert view["roles"][0]["asked"] == 5 and view["roles"][0]["in_kernel"] >= 0
    assert view["refused"][0]["new"] == 2


def test_nothing_refused_is_said() -> None:
    assert list(lines(compare(BEFORE, Sample(NOON + 1, BEFORE.roles, {}))))[-1] == (
        "nothing has been refused"
    )


async def test_of_a_running_daemon_once_and_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    async with running(tmp_path) as run:
        await run.query("evil.example")
        words = ("top", "--once", "--run-dir", str(run.run_dir))
        plain, row = await dnsfw_beside(*words), await dnsfw_beside(*words, "--json")
        other = await dnsfw_beside(*words, "--role", "nobody")

    assert plain.code == 0, plain.err
    assert "\x1b" not in plain.out, "no terminal, no codes"
    assert "evil.example" in plain.out and "host" in plain.out
    (refused,) = json.loads(row.out)["refused"]
    assert (refused["what"], refused["reason"], refused["times"]) == (
        "evil.example", "name-default", 1,
    )  # fmt: skip
    assert other.code == 2 and "there is no role of that name" in other.err


def test_it_goes_on_until_ctrl_c_and_asks_only_for_what_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    def rows(self: Client, do: str, *, since: float, **more: Any) -> Iterator[dict[str, Any]]:
        asked.append(since)
        if len(asked) > 2:
            raise KeyboardInterrupt
        yield {
            "role": "host", "name": "a.example", "addresses": [], "port": 0, "protocol": "",
            "reason": "name-default", "command": "", **wanted(len(asked)),
        }  # fmt: skip

    monkeypatch.setattr(Client, "rows", rows)
    monkeypatch.setattr(Client, "ask", lambda self, do, **more: {"roles": [role("host", 1)]})
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    done = dnsfw("top")

    assert done.code == 0 and done.out.count("dnsfw top, ") == 1
    assert "1    2      " in done.out
    assert asked == [0, int(NOON), int(NOON)]


@pytest.mark.parametrize("interval", ["0s", "x", "0.5s"])
def test_a_time_that_is_none_is_a_mistake(interval: str) -> None:
    assert dnsfw("top", "--interval", interval).code == 2
