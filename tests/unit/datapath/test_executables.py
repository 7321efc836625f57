"""Execs that are held, with real programs in a directory of the test's own."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnsfw.datapath.executables import XATTR, Executable, ExecWatch
from dnsfw.datapath.process import Gone
from dnsfw.errors import DatapathError
from dnsfw.model import RoleId

pytestmark = pytest.mark.needs_root
WEB, JOBS = RoleId(20), RoleId(21)


@pytest.fixture(autouse=True)
def _no_vfork(monkeypatch: pytest.MonkeyPatch) -> None:
    """After vfork(2) this process stands still, with the interpreter's lock, until the child has
    executed its program: nobody could answer for it.
    """
    monkeypatch.setattr(subprocess, "_USE_VFORK", False)


class Watching:
    """A watch that answers in a thread, and remembers whom it was to move."""

    def __init__(self, watch: ExecWatch, move: Callable[[int, Executable], None]) -> None:
        self.watch = watch
        self.moved: list[tuple[int, Executable]] = []
        self.said: list[str] = []
        self._move = move
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _note(self, pid: int, executable: Executable) -> None:
        self._move(pid, executable)
        self.moved.append((pid, executable))

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self.watch.fileno(), select.POLLIN)
        while not self._over.is_set():
            if poll.poll(20):
                self.said += self.watch.answer(self._note)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def watching(move: Callable[[int, Executable], None] = lambda pid, e: None) -> Iterator[Watching]:
    watch = ExecWatch()
    running = Watching(watch, move)
    try:
        yield running
    finally:
        running.close()
        watch.close()


def program(path: Path, source: str = "/bin/true") -> Path:
    path.write_bytes(Path(source).resolve().read_bytes())
    path.chmod(0o755)
    return path


def run(path: Path) -> int:
    """The pid that ran it; PermissionError if it was not let."""
    with subprocess.Popen([str(path)]) as process:
        return process.pid


def test_each_run_is_told_with_its_process(tmp_path: Path) -> None:
    path = program(tmp_path / "program")
    wanted = Executable(str(path), WEB, "web")
    with watching() as seen:
        assert seen.watch.watch([wanted]) == ()
        first, second = run(path), run(path)
        run(program(tmp_path / "copy"))

    assert seen.moved == [(first, wanted), (second, wanted)]


def test_a_hard_link_is_the_same_program_and_a_symbolic_one_leads_to_it(tmp_path: Path) -> None:
    path = program(tmp_path / "program")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to(path)
    with watching() as seen:
        seen.watch.watch([Executable(str(path), WEB, "web")])
        pids = [run(tmp_path / "hard"), run(tmp_path / "soft")]

    assert [pid for pid, _ in seen.moved] == pids


def test_a_script_is_a_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    with watching() as seen:
        seen.watch.watch([Executable(str(script), WEB, "web")])
        pid = run(script)

    assert [p for p, _ in seen.moved] == [pid]


def test_what_cannot_be_moved_is_not_run(tmp_path: Path) -> None:
    path = program(tmp_path / "program")

    def fail(pid: int, executable: Executable) -> None:
        raise DatapathError("no room")

    with watching(fail) as seen:
        seen.watch.watch([Executable(str(path), WEB, "web")])
        with pytest.raises(PermissionError):
            run(path)

    assert "exec refused" in seen.said[0] and "no room" in seen.said[0]


def test_who_was_killed_while_it_was_held_is_nobodys_trouble(tmp_path: Path) -> None:
    path = program(tmp_path / "program")

    def gone(pid: int, executable: Executable) -> None:
        raise Gone(pid)

    with watching(gone) as seen:
        seen.watch.watch([Executable(str(path), WEB, "web")])
        with pytest.raises(PermissionError):
            run(path)

    assert seen.said == []


def test_the_first_role_of_a_file_counts(tmp_path: Path) -> None:
    path = program(tmp_path / "program")
    (tmp_path / "hard").hardlink_to(path)
    with watching() as seen:
        seen.watch.watch([
            Executable(str(path), WEB, "web"), Executable(str(tmp_path / "hard"), JOBS, "jobs"),
        ])  # fmt: skip
        run(tmp_path / "hard")

    assert [e.role for _, e in seen.moved] == [WEB]


def test_a_file_that_is_no_subject_any_more_runs_freely(tmp_path: Path) -> None:
    path = program(tmp_path / "program")
    with watching() as seen:
        seen.watch.watch([Executable(str(path), WEB, "web")])
        seen.watch.watch([])
        run(path)

    assert seen.moved == []


def test_a_file_that_comes_later_is_found_by_a_look(tmp_path: Path) -> None:
    path = tmp_path / "program"
    with watching() as seen:
        assert seen.watch.watch([Executable(str(path), WEB, "web")]) == (str(path),)
        program(tmp_path / "new").rename(path)
        assert select.select([seen.watch.changes], [], [], 5)[0]  # it is told
        assert seen.watch.look() == ()
        run(path)
        program(tmp_path / "new").rename(path)  # an upgrade: another inode
        seen.watch.look()
        run(path)

    assert len(seen.moved) == 2


def test_when_the_watch_ends_execs_go_on(tmp_path: Path) -> None:
    path = program(tmp_path / "program")
    watch = ExecWatch()
    watch.watch([Executable(str(path), WEB, "web")])
    held = subprocess.Popen(["sh", "-c", f"exec {path}"])
    assert select.select([watch.fileno()], [], [], 5)[0]  # it is held

    watch.close()

    assert held.wait(5) == 0


@pytest.fixture
def filesystem(tmp_path: Path) -> Iterator[Path]:
    """One of the test's own: marked whole, it says nothing of the machine's programs."""
    place = tmp_path / "fs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        path = program(place / "program")
        try:
            os.setxattr(path, "user.dnsfw.test", b"x")
        except OSError:
            pytest.skip("tmpfs has no user attributes here (Linux 6.6)")
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


BY_ATTRIBUTE = (
    Executable(XATTR, WEB, "web", number=3), Executable(XATTR, JOBS, "jobs", number=7),
)  # fmt: skip


@pytest.mark.parametrize(
    ("attribute", "value", "role"),
    [
        ("user.dnsfw.role", b"web", WEB),
        ("user.dnsfw.role", b"jobs\n", JOBS),
        ("user.dnsfw.role", b"nobody", None),
        ("user.dnsfw.role", b"\xff\xfe", None),
        ("user.bpfjailer.role_id", (7).to_bytes(4, "little"), JOBS),
        ("user.bpfjailer.role_id", (9).to_bytes(4, "little"), None),
        ("user.other", b"web", None),
    ],
)
def test_a_file_of_roots_says_its_role(
    filesystem: Path, attribute: str, value: bytes, role: RoleId | None
) -> None:
    path = filesystem / "program"
    os.setxattr(path, attribute, value)
    with watching() as seen:
        seen.watch.watch(BY_ATTRIBUTE, [str(filesystem)])
        run(path)

    assert [e.role for _, e in seen.moved] == ([] if role is None else [role])


@pytest.mark.parametrize(("owner", "mode"), [(1000, 0o755), (0, 0o775), (0, 0o757)])
def test_a_file_that_others_can_write_says_nothing(
    filesystem: Path, owner: int, mode: int
) -> None:
    path = filesystem / "program"
    os.setxattr(path, "user.dnsfw.role", b"web")
    os.chown(path, owner, 0)
    path.chmod(mode)
    with watching() as seen:
        seen.watch.watch(BY_ATTRIBUTE, [str(filesystem)])
        run(path)

    assert seen.moved == []


def test_no_file_system_is_marked_that_nobody_asked_for(filesystem: Path) -> None:
    path = filesystem / "program"
    os.setxattr(path, "user.dnsfw.role", b"web")
    with watching() as seen:
        seen.watch.watch([Executable("/nowhere/at/all", WEB, "web")], [str(filesystem)])
        run(path)
        seen.watch.watch(BY_ATTRIBUTE, [str(filesystem)])
        seen.watch.watch([], [str(filesystem)])
        run(path)

    assert seen.moved == []
