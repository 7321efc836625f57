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
from dnsfw.server.helper import Privileged, start_helper
from tests.support.netlab import wait_until

pytestmark = pytest.mark.needs_root
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


def test_it_settles_before_anybody_asks(helper: Privileged) -> None:
    wait_until(lambda: named(helper) == "dnsfw-helper")
    wait_until(lambda: "NoNewPrivs:\t1" in Path(f"/proc/{helper.pid}/status").read_text())

    opened = {str(p.readlink()) for p in Path(f"/proc/{helper.pid}/fd").iterdir()}
    assert len(opened) == 3 and "/dev/null" in opened
    assert helper.watch_executables([]) == ()  # nothing to ask for


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
    root = str(Path(__file__).resolve().parents[2])
    text = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from dnsfw.server.helper import start_helper\n"
        "print(start_helper().inhabited([1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", text, root], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert done.stdout == "frozenset()\n", done.stderr
