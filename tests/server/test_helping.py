"""The daemon beside its privileged helper: what it asks, hears, and lives without."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import DatapathError
from dnsfw.model import RoleId
from dnsfw.server import helping
from dnsfw.server.helper import Executable, NoHelper, Told
from tests.support.running import Running, make, running
from tests.support.until import until

ROLES = """\
version: 1
default: deny
rules: [{allow: a.example}]
roles:
  web:
    subjects: [{executable: /usr/sbin/nginx}, {uid: 4241}]
    default: deny
    rules: [{allow: b.example}]
"""


class FakeHelper(NoHelper):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("")
        self.alive = True
        self.asked: list[Any] = []
        self.waiting: deque[Told] = deque()
        self.gone_files: tuple[str, ...] = ()
        self.trouble = ""
        self.slow = threading.Event()
        self.slow.set()
        self._read, self._write = os.pipe()

    def fileno(self) -> int | None:
        return self._read if self.alive else None

    def tell(self, told: Told) -> None:
        self.waiting.append(told)
        self.alive = told.kind != "lost"
        os.write(self._write, b".")

    def told(self) -> Iterator[Told]:
        os.read(self._read, 100)
        while self.waiting:
            yield self.waiting.popleft()

    def tables(self, cgroups: int, socks: int, guarded: str | None = None) -> None:
        self.asked.append(("tables", cgroups, socks, guarded))

    def relabel(self, pids: Sequence[int], role: RoleId) -> Any:
        assert self.slow.wait(10)
        if self.trouble:
            raise DatapathError(self.trouble)
        self.asked.append(("relabel", tuple(pids), role))
        return ()

    def watch_executables(self, executables: Sequence[Executable]) -> tuple[str, ...]:
        self.asked.append(("watch", *(e.path for e in executables)))
        return self.gone_files

    def dissolve(self) -> None:
        self.asked.append(("dissolve",))

    def close(self) -> None:
        self.asked.append(("close",))


def helped(tmp_path: Path, helper: FakeHelper, **options: Any) -> Running:
    run = make(tmp_path, policy=ROLES, **options)
    run.daemon._helper = helper
    return run


async def started(run: Running) -> None:
    run.task = asyncio.ensure_future(run.daemon.run())
    await until(lambda: run.said or run.task.done())


async def test_it_gets_its_tables_and_the_programs_of_the_policy(tmp_path: Path) -> None:
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)

    assert helper.asked == [("tables", 98, 99, None), ("watch", "/usr/sbin/nginx")]
    run.policy.write_text(ROLES.replace("/usr/sbin/nginx", "/usr/bin/node"))
    await run.control("reload")
    assert helper.asked[-1] == ("watch", "/usr/bin/node")

    run.daemon.leave()
    await run.ended()
    assert helper.asked[-1] == ("close",)
    assert ("dissolve",) not in helper.asked  # the wall stays, and so do its cgroups


async def test_down_takes_everybody_out_of_the_cgroups_that_dnsfw_made(tmp_path: Path) -> None:
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)
    run.daemon.take_down()
    await run.ended()

    assert helper.asked[-2:] == [("dissolve",), ("close",)]


async def test_processes_that_ran_already_are_relabelled_by_it(tmp_path: Path) -> None:
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)
    assert run.kernel.relabel is not None

    run.kernel.relabel([11, 12], RoleId(77))
    await run.daemon.helping.relabelled()
    helper.trouble = "it is gone"
    run.kernel.relabel([13], RoleId(77))  # the wall must not suffer from it
    await run.daemon.helping.relabelled()

    assert ("relabel", (11, 12), 77) in helper.asked
    assert "trouble: it is gone" in run.log.text
    run.daemon.leave()
    await run.ended()


async def test_who_was_moved_while_he_waited_keeps_the_role_of_his_new_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {11: "0::/web", 12: "0::/web"}
    monkeypatch.setattr(helping, "_place", lambda pid: places.get(pid, ""))
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)
    assert run.kernel.relabel is not None

    run.kernel.relabel([11, 12], RoleId(77))
    places[12] = "0::/elsewhere"
    await run.daemon.helping.relabelled()

    assert [words[1:] for words in helper.asked if words[0] == "relabel"] == [((11,), 77)]
    run.daemon.leave()
    await run.ended()


async def test_the_loop_turns_while_sockets_get_their_role(tmp_path: Path) -> None:
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)
    assert run.kernel.relabel is not None
    helper.slow.clear()

    run.kernel.relabel(list(range(100, 300)), RoleId(77))
    run.kernel.relabel([100], RoleId(78))
    await asyncio.sleep(0.01)  # it does turn
    assert ("relabel", (100,), 78) not in helper.asked
    helper.slow.set()
    await run.daemon.helping.relabelled()

    asked = [words for words in helper.asked if words[0] == "relabel"]
    assert [len(words[1]) for words in asked] == [64, 64, 64, 8, 1]
    assert asked[-1] == ("relabel", (100,), 78)  # the later change has the last word
    run.daemon.leave()
    await run.ended()


async def test_its_death_is_told_once_and_shown_while_the_policy_needs_it(tmp_path: Path) -> None:
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)

    helper.lost = "the privileged helper has ended"
    helper.tell(Told("lost", "the privileged helper has ended"))
    await until(lambda: "helper has ended" in run.log.text)

    _, state = await run.control("status")
    assert state["helper"] == "the privileged helper has ended"
    assert run.log.text.count("helper has ended") == 1
    run.daemon.leave()
    await run.ended()


async def test_what_it_says_is_told(tmp_path: Path) -> None:
    helper = FakeHelper()
    run = helped(tmp_path, helper)
    await started(run)

    helper.tell(Told("enrolled", "nginx (4242) runs as web"))

    await until(lambda: "enrolled: nginx (4242) runs as web" in run.log.text)
    run.daemon.leave()
    await run.ended()


async def test_without_one_programs_are_told_to_be_nobodys(tmp_path: Path) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        _, state = await run.control("status")

        assert "without a helper" in run.log.text
        assert "without a helper" in state["helper"]


async def test_without_one_a_policy_that_needs_none_is_quiet(tmp_path: Path) -> None:
    text = ROLES.replace("{executable: /usr/sbin/nginx}, ", "")
    async with running(tmp_path, policy=text) as run:
        _, state = await run.control("status")

        assert "helper" not in run.log.text
        assert state["helper"] == ""


async def test_a_program_that_is_not_there_yet_is_shown(tmp_path: Path) -> None:
    helper = FakeHelper()
    helper.gone_files = ("/usr/sbin/nginx",)
    run = helped(tmp_path, helper)
    await started(run)

    _, state = await run.control("status")

    assert "executable /usr/sbin/nginx does not exist yet" in state["absent"]
    run.daemon.leave()
    await run.ended()
