"""The helper while nobody asks it for anything: small, alone, and ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server import helper as module
from dnsfw.server import helper_main
from dnsfw.server.capabilities import HELPER, Cap, held
from dnsfw.server.helper import Privileged, start_helper
from tests.support.netlab import wait_until

pytestmark = pytest.mark.needs_root
ROOT = str(Path(__file__).resolve().parents[2])
_SERVES = ("dataclasses", "inspect", "json", "pathlib", "socket", "dnsfw.datapath", "dnsfw.model")


@pytest.fixture(name="helper")
def started() -> Iterator[Privileged]:
    made = start_helper()
    assert isinstance(made, Privileged)
    yield made
    made.close()


def named(helper: Privileged) -> str:
    return Path(f"/proc/{helper.pid}/comm").read_text().strip()


def test_it_imports_nothing_that_serves() -> None:
    argv, environment = helper_main.command(0, 0, 0)
    text = "import sys, dnsfw.server.helper_main; print(*sys.modules)"
    done = subprocess.run(
        [*argv[: argv.index("-c")], "-c", text], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert set(done.stdout.split()) & set(_SERVES) == set()


def status(helper: Privileged, key: str) -> str:
    text = Path(f"/proc/{helper.pid}/status").read_text()
    return text.partition(f"{key}:\t")[2].partition("\n")[0]


def waits(helper: Privileged) -> bool:
    """Whether it has become what waits, and says so."""
    said = Path(f"/proc/{helper.pid}/cmdline").read_bytes()
    return said.startswith(b"sh\0-c\0") and named(helper) == "dnsfw-helper"


def test_it_waits_as_a_shell_alone_and_with_no_more_than_it_will_need(helper: Privileged) -> None:
    wait_until(lambda: waits(helper))

    opened = {str(p.readlink()) for p in Path(f"/proc/{helper.pid}/fd").iterdir()}
    assert len(opened) == 3 and "/dev/null" in opened
    assert Path(f"/proc/{helper.pid}/exe").resolve() == Path("/bin/sh").resolve()
    network = Path(f"/proc/{helper.pid}/ns/net").stat().st_ino
    assert network != Path("/proc/self/ns/net").stat().st_ino
    wanted = sum(1 << cap for cap in {*HELPER, Cap.SETPCAP} & held())
    assert int(status(helper, "CapPrm"), 16) == int(status(helper, "CapBnd"), 16) == wanted
    assert status(helper, "NoNewPrivs") == "1"
    assert helper.watch_executables([]) == ()  # nothing to ask for
    assert waits(helper)


def test_asked_for_something_it_becomes_our_python_with_less_still(helper: Privileged) -> None:
    helper.inhabited([1])

    assert named(helper) == "dnsfw-helper"
    assert int(status(helper, "CapPrm"), 16) == sum(1 << cap for cap in HELPER & held())
    assert int(status(helper, "CapBnd"), 16) == 0
    assert status(helper, "NoNewPrivs") == "1"


def test_without_a_shell_it_waits_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_main, "_SHELL", "/nonexistent")
    made = start_helper()
    assert isinstance(made, Privileged)
    try:
        wait_until(lambda: named(made) == "dnsfw-helper")
        wait_until(lambda: status(made, "NoNewPrivs") == "1")
        assert made.inhabited([1]) == frozenset()
    finally:
        made.close()


@pytest.mark.parametrize("asked", ["", "print(helper.inhabited([1]), flush=True);"])
def test_it_ends_with_who_started_it_however_that_ends(asked: str) -> None:
    text = (
        "import os, signal; from dnsfw.server.helper import start_helper;"
        f"helper = start_helper(); {asked} print(helper.pid, flush=True);"
        "signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {ROOT!r}); {text}"],
        stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        while not (line := parent.stdout.readline()).strip().isdigit():
            assert line
        there = Path(f"/proc/{int(line)}")
        if not asked:
            wait_until(lambda: (there / "cmdline").read_bytes().startswith(b"sh\0-c\0"))
        parent.kill()

    wait_until(lambda: not there.exists() or "State:\tZ" in (there / "status").read_text())


def test_the_first_request_is_served(helper: Privileged) -> None:
    number = Path("/proc/self/ns/net").stat().st_ino

    assert helper.inhabited([number, 1]) == frozenset({number})


def test_a_death_before_the_first_request_is_told(helper: Privileged) -> None:
    os.kill(helper.pid, signal.SIGKILL)
    wait_until(lambda: [told.kind for told in helper.told()] == ["lost"])

    assert not helper.alive


def test_code_of_another_version_gets_no_tables(
    helper: Privileged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "code", lambda: "0.0.9 1")
    with open(os.devnull) as null:  # noqa: PTH123
        helper.tables(null.fileno(), null.fileno())
        for _ in range(2):
            with pytest.raises(DatapathError, match="not the one that runs: restart"):
                helper.wake()


def test_it_is_our_own_code_wherever_we_are(tmp_path: Path) -> None:
    (tmp_path / "dnsfw").mkdir()
    (tmp_path / "dnsfw" / "__init__.py").write_text("raise SystemExit('somebody else')\n")
    text = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from dnsfw.server.helper import start_helper\n"
        "print(start_helper().inhabited([1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", text, ROOT], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert done.stdout == "frozenset()\n", done.stderr
