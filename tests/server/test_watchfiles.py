"""`up --watch`: a change of the policy's files is a reload; a mistake is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnsfw.server.watchfiles import LONGEST, QUIET, PolicyWatch
from tests.support.running import ALLOW_EXAMPLE, Running, running
from tests.support.until import until

MORE = ALLOW_EXAMPLE + "  - allow: more.example\n"


def rules(run: Running) -> list[str]:
    return [rule.text for rule in run.daemon.reloader.policy.host.rules]


async def reads(run: Running, rule: str) -> None:
    await until(lambda: rule in rules(run))


async def test_a_write_and_a_rename_are_reloads(tmp_path: Path) -> None:
    async with running(tmp_path, watch=True) as run:
        run.policy.write_text(MORE)
        await reads(run, "allow more.example")

        scratch = tmp_path / ".policy.yaml.swp"
        scratch.write_text(ALLOW_EXAMPLE + "  - allow: renamed.example\n")
        scratch.rename(run.policy)
        await reads(run, "allow renamed.example")


async def test_the_last_good_policy_stays_and_it_is_said(tmp_path: Path) -> None:
    async with running(tmp_path, watch=True) as run:
        run.policy.write_text("version: 1\ndefault: maybe\n")
        await until(lambda: bool(run.daemon.reloader.stale))

        assert rules(run) == ["allow *.example.com"]
        assert "reload failed, the old policy stays" in run.log.text
        _, status = await run.control("status")
        assert "'default'" in status["policy_stale"]

        run.policy.write_text(MORE)
        await reads(run, "allow more.example")
        await until(lambda: not run.daemon.reloader.stale)


async def test_a_directory_of_parts_that_appears_is_read(tmp_path: Path) -> None:
    async with running(tmp_path, watch=True) as run:
        parts = tmp_path / "policy.d"
        parts.mkdir()
        (parts / "x.yaml").write_text("rules: [{allow: part.example}]")
        await reads(run, "allow part.example")
        (parts / "x.yaml").write_text("rules: [{allow: other.example}]")
        await reads(run, "allow other.example")
        (parts / "x.yaml").unlink()
        await until(lambda: rules(run) == ["allow *.example.com"])


async def test_a_list_that_changes_is_a_reload(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "good.txt").write_text("one.example\n")
    policy = ALLOW_EXAMPLE + "  - allow: {list: lists/good.txt}\n"
    async with running(tmp_path, policy=policy, watch=True) as run:
        (lists / "new").write_text("one.example\ntwo.example\n")
        (lists / "new").rename(lists / "good.txt")

        def names() -> int:
            became = run.daemon.reloader.policy.host.lists[0].table.meta["became"]
            return int(sum(became.values()))

        await until(lambda: names() == 2)


async def test_the_swap_of_the_kubernetes_link_is_a_reload(tmp_path: Path) -> None:
    """A ConfigMap volume: policy.yaml -> ..data/policy.yaml, ..data -> ..one."""
    mount = tmp_path / "mount"
    for name, text in (("..one", ALLOW_EXAMPLE), ("..two", MORE)):
        (mount / name).mkdir(parents=True)
        (mount / name / "policy.yaml").write_text(text)
    (mount / "..data").symlink_to("..one")
    (mount / "policy.yaml").symlink_to("..data/policy.yaml")
    (tmp_path / "policy.yaml").symlink_to("mount/policy.yaml")
    async with running(tmp_path, watch=True) as run:
        assert rules(run) == ["allow *.example.com"]
        (mount / "..data_tmp").symlink_to("..two")
        (mount / "..data_tmp").rename(mount / "..data")

        await reads(run, "allow more.example")


async def test_other_files_beside_it_are_nobodys_business(tmp_path: Path) -> None:
    async with running(tmp_path, watch=True) as run:
        before = run.daemon.reloader.policy
        (tmp_path / "notes.txt").write_text("hello")
        run.policy.with_name("policy.yaml~").write_text("nonsense")
        (tmp_path / "policy.test.yaml").write_text("tests: [{deny: other.example}]")
        await until(lambda: "reloaded " in run.log.text)  # when that is over, not begun

        assert run.daemon.reloader.policy is not before
        assert len(run.daemon.reloader.policy.tests) == 1
        assert run.log.text.count("reloaded ") == 1


async def test_without_the_option_nothing_is_watched(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert run.daemon.policy_watch is None


class Hand:
    """An event loop whose clock is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hear: Callable[[], object] = lambda: None
        self.due: dict[Hand.Timer, tuple[float, Callable[[], object]]] = {}

    class Timer:
        def __init__(self, hand: Hand) -> None:
            self._hand = hand

        def cancel(self) -> None:
            self._hand.due.pop(self, None)

    def time(self) -> float:
        return self.now

    def add_reader(self, fd: int, hear: Callable[[], object]) -> None:
        self.hear = hear

    def remove_reader(self, fd: int) -> None:
        pass

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        timer = self.Timer(self)
        self.due[timer] = when, call
        return timer

    def move(self, seconds: float) -> None:
        """So much later; what is due on the way is called when it is."""
        end = self.now + seconds
        while ready := sorted((when, id(timer)) for timer, (when, _) in self.due.items()):
            if (when := ready[0][0]) > end:
                break
            timer = next(timer for timer in self.due if id(timer) == ready[0][1])
            self.now = when
            self.due.pop(timer)[1]()
        self.now = end


def written_at(file: Path, other: Path, later: int = 0) -> None:
    """Make a file that was written when the other one was, or so many nanoseconds later."""
    file.touch()
    at = other.stat().st_ctime_ns + later
    os.utime(file, ns=(at, at))


@contextmanager
def watching(*files: Path) -> Iterator[tuple[Hand, list[str]]]:
    """A watch of these files; what they said each time that it called them changed."""
    hand, seen = Hand(), []
    loop: Any = hand
    watch = PolicyWatch(lambda: files, lambda: seen.append(files[0].read_text()))
    watch.start(loop, files[0].with_name("older"))
    try:
        yield hand, seen
    finally:
        watch.close()


def test_half_of_a_file_is_not_read_while_somebody_writes_it(tmp_path: Path) -> None:
    names = tmp_path / "bad.txt"
    names.write_text("one.example\n")
    written_at(tmp_path / "older", names)
    with watching(names) as (hand, seen):
        with names.open("w") as file:
            file.write("one.example\n")
            file.flush()
            hand.hear()
            hand.move(5 * QUIET)
            assert seen == []
            file.write("two.example\n")
        hand.hear()
        hand.move(QUIET)

    assert seen == ["one.example\ntwo.example\n"]


def test_who_never_ends_to_write_beside_the_policy_delays_it_for_a_moment_only(
    tmp_path: Path,
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("old")
    written_at(tmp_path / "older", policy)
    with watching(policy) as (hand, seen), (tmp_path / "busy.log").open("w") as log:
        policy.write_text("new")
        for _ in range(int(LONGEST / 0.1) + 1):
            os.write(log.fileno(), b"x")
            hand.hear()
            hand.move(0.1)

    assert seen == ["new"]


def test_what_changed_while_the_daemon_started_is_read(tmp_path: Path) -> None:
    policy, older = tmp_path / "policy.yaml", tmp_path / "older"
    policy.write_text("new")
    written_at(older, policy, -1)
    with watching(policy) as (hand, seen):
        hand.move(QUIET)
    assert seen == ["new"]

    written_at(older, policy)
    with watching(policy) as (hand, seen):
        hand.move(QUIET)
    assert seen == []
