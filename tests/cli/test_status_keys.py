"""The keys of `status --json`: all explained, and none lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnsfw.cli.status_keys import FALLS, KEYS, WORDS, key_lines
from dnsfw.datapath.abi import Fall
from dnsfw.server.answer_views import fall_text
from tests.cli.test_status import STATE
from tests.support.commands import dnsfw
from tests.support.https import Ca, Https
from tests.support.nanodns import NanoDns
from tests.support.running import running

POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.example.com"
  - deny: {{list: "{url}", ca: "{ca}", optional: true}}
log: {{names: all, history: true}}
"""
_BY_NAME = ("packets", "kernel_answers.passed_on", "kernel_answers.held", "kernel_answers.room")
_SELDOM = ("kernel_answers.", "packets.", "remotes[].", "hooks[]", "workers[].")
_ANYWHERE = {"running", "wall_stands", "armed"}


def keys_of(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            name = "*" if at in _BY_NAME else key
            yield from keys_of(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from keys_of(value[0], f"{at}[]")
    elif f"{at}[]" in KEYS:  # none of them now
        yield f"{at}[]"
    elif not (at.endswith("[]") or at == ""):
        yield at


async def state_of(tmp_path: Path) -> dict[str, Any]:
    """Of a daemon with as much to tell as one without a kernel can have."""
    ca = Ca.make(tmp_path / "ca")
    with Https(ca) as site:
        text = POLICY.format(url=site.put("/a", "a.example\n"), ca=ca.file)
        async with NanoDns() as dns, running(tmp_path, [dns.endpoint], text) as run:
            dns.zone["localhost", "A"] = ["127.0.0.1"]
            await run.control("temporary", word="allow", to=["b.example:443"], seconds=60)
            _, state = await run.control("status")
            state.pop("ok")
            return state


async def test_every_key_of_a_running_daemon_is_explained(tmp_path: Path) -> None:
    """A new one: explain it in cli/status_keys.py."""
    state = await state_of(tmp_path)
    found = {*keys_of(state), *keys_of({key: STATE[key] for key in ("packets", "kernel_answers")})}

    assert found - set(KEYS) == set()


async def test_no_key_was_renamed_or_taken_away(tmp_path: Path) -> None:
    state = await state_of(tmp_path)
    found = set(keys_of({**state, "packets": STATE["packets"]}))

    lost = {
        key for key in KEYS
        if key not in found and key not in _ANYWHERE and not key.endswith("[]")
        and not key.startswith(_SELDOM)
        and key not in ("log.names", "log.history")
    }  # fmt: skip
    assert lost == set()


def test_every_number_in_a_line_is_in_plain_words() -> None:
    plain = {"queries", "refused", "faults", "workers"}
    told = {key.partition(".")[2] for key in KEYS if key.startswith(("dns.", "server."))}

    assert {key for key in told - plain - set(WORDS) if not key.endswith("_bytes")} == set()
    assert {fall_text(fall) for fall in Fall if fall > Fall.REFUSED} - {"count"} == set(FALLS)


def test_the_table_is_printed_in_eighty_columns_without_a_daemon() -> None:
    done = dnsfw("status", "--keys")

    assert done.code == 0
    assert done.out.splitlines() == list(key_lines())
    assert max(map(len, done.out.splitlines())) <= 80
    assert json.loads(dnsfw("status", "--keys", "--json").out) == dict(KEYS)
