"""The edge of the process: help, versions, exit codes, and no traceback for anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

import dnsfw as package
from dnsfw import __version__
from dnsfw.cli import main as edge
from dnsfw.cli.main import COMMANDS
from dnsfw.errors import ConfigError, DatapathError, PolicyError, WireError
from tests.support.commands import dnsfw

NAMES = [name for group in COMMANDS.values() for name in group]
GOLDEN = Path(__file__).resolve().parents[1] / "data" / "cli"


def test_the_version_is_one_line() -> None:
    done = dnsfw("--version")

    assert (done.code, done.out) == (0, f"dnsfw {__version__}\n")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag: str) -> None:
    done = dnsfw(flag)

    assert done.code == 0
    assert all(f"\n  {name} " in done.out for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_of_eighty_columns(name: str) -> None:
    done = dnsfw(name, "--help")

    assert done.code == 0
    assert done.out.startswith(f"Usage: dnsfw {name}")
    assert max(len(line) for line in done.out.splitlines()) <= 80
    assert done.err == ""


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_is_as_it_was_reviewed(name: str) -> None:
    """DNSFW_GOLDEN=write writes the files anew; read the difference before committing it."""
    path = GOLDEN / f"help{'-' if name else ''}{name}.txt"
    shown = dnsfw(*([name] if name else []), "--help").out
    if os.environ.get("DNSFW_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)

    assert shown == path.read_text()


def test_a_mistyped_command_is_told_what_was_meant() -> None:
    done = dnsfw("tset")

    assert done.code == 2
    assert "No such command 'tset'; did you mean 'test'?" in done.err


@pytest.mark.parametrize(
    "argv", [["nosuch"], ["status", "--nosuch"], ["lockdown", "maybe"], ["query"]]
)
def test_a_wrong_command_line_is_exit_2(argv: list[str]) -> None:
    done = dnsfw(*argv)

    assert done.code == 2
    assert "Usage:" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "name", ["status", "grants", "flows", "watch", "reload", "confirm", "query x.example"]
)
def test_without_a_daemon_the_remedy_is_named_and_exit_is_3(name: str, tmp_path: Path) -> None:
    done = dnsfw(*name.split(), "--run-dir", str(tmp_path))

    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "sudo dnsfw up" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("no such thing; do that"), 2, "dnsfw: no such thing; do that\n"),
        (WireError("label is too long"), 2, "dnsfw: label is too long\n"),
        (PolicyError("p.yaml:1:2: a\np.yaml:3:4: b"), 2, "p.yaml:1:2: a\np.yaml:3:4: b\n"),
        (DatapathError("cgroup2 is missing"), 3, "dnsfw: cgroup2 is missing\n"),
    ],
)
def test_whose_fault_it_is_decides_the_exit_code(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = raising(error, monkeypatch)

    assert (done.code, done.err) == (code, said)


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A command that ends with this error."""

    @click.command()
    def status() -> None:
        raise error

    module = ModuleType("fake")
    module.status = status  # type: ignore[attr-defined]
    monkeypatch.setattr(edge, "import_module", lambda name: module)
    return dnsfw("status")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_bug_is_one_line_and_no_traceback(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    error: BaseException = ZeroDivisionError("oops")
    if wrapped:
        error = BaseExceptionGroup("tasks", [error])

    done = raising(error, monkeypatch)

    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "internal error: ZeroDivisionError: oops" in done.err


def test_who_asks_for_the_traceback_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSFW_DEBUG", "1")

    assert "Traceback" in raising(ZeroDivisionError("oops"), monkeypatch).err


def test_ctrl_c_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done = raising(KeyboardInterrupt(), monkeypatch)

    assert (done.code, done.err.strip()) == (130, "")


@pytest.mark.parametrize("name", ["--help", "check --help", "status"])
def test_a_command_loads_neither_the_daemon_nor_the_kernels_libraries(name: str) -> None:
    """The root process imports what it uses; `check` runs where neither is installed."""
    script = (
        "import sys; from dnsfw.cli.main import _run; _run(sys.argv[1].split())\n"
        "heavy = {'dnsfw.datapath.attach', 'dnsfw.server.daemon', 'pyroute2', 'uvloop', 'dnslib'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
        "DNSFW_RUN_DIR": "/nonexistent",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, name], env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    command = [sys.executable, "-c", "from dnsfw.cli.main import main; main(['schema'])"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait(10) == 0
