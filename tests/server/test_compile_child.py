"""The process that reads policies: one job, few rights."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from dnsfw.datapath import landlock
from dnsfw.policy.frozen import freeze, thaw
from dnsfw.policy.lists import store
from dnsfw.server import compile_apart, compile_child, compile_jobs
from dnsfw.server.compile_apart import command
from dnsfw.server.compile_child import MEMORY, MOST

_SEE = """
from dnsfw.server import compile_child, compile_jobs
compile_jobs.JOBS = {"see": lambda name: open("/proc/self/" + name).read()}
compile_child.main()
"""


_DO = """
from dnsfw.server import compile_child, compile_jobs
def do(text):
    try:
        return str(eval(text))
    except OSError as error:
        return f"OSError {error.errno}"
compile_jobs.JOBS = {"see": do}
compile_child.main()
"""


def see(file: str) -> str:
    """What stands in this file of its /proc directory while it works."""
    return _told(_SEE, file)


def does(call: str) -> str:
    """What comes of it there."""
    return _told(_DO, call)


def _told(program: str, argument: str) -> str:
    argv, environment = command()
    argv = [*argv[: argv.index("-m")], "-c", program]
    job = freeze(("see", (argument,), True))
    done = subprocess.run(argv, env=environment, input=job, capture_output=True, check=True)
    _, kind, text = thaw(done.stdout)
    assert kind == "value"
    return str(text)


@pytest.mark.needs_root
def test_its_rights_are_no_more_than_reading_files() -> None:
    status = dict(line.split(":", 1) for line in see("status").splitlines())

    reading = 1 << 2  # CAP_DAC_READ_SEARCH: not CAP_DAC_OVERRIDE, which writes
    assert int(status["CapPrm"], 16) & ~reading == 0 and int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no list of calls")
def test_it_can_call_nothing_but_what_reading_takes() -> None:
    status = dict(line.split(":", 1) for line in see("status").splitlines())

    assert status["Seccomp"].strip() == "2"
    for call in ("__import__('socket').socket()", "__import__('os').fork()",
                 "__import__('os').kill(1, 0)", "__import__('os').chmod('/', 0o755)"):  # fmt: skip
        assert does(call) == "OSError 38", call


@pytest.mark.skipif(not landlock.version(), reason="no Landlock")
def test_it_writes_to_the_cache_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / "cache"))
    (tmp_path / "policy.yaml").write_text("kept")

    assert does(f"open({str(tmp_path / 'cache' / 'a')!r}, 'w').write('x')") == "1"
    for name in ("policy.yaml", "new"):
        assert does(f"open({str(tmp_path / name)!r}, 'w')") == "OSError 13"
    assert does(f"__import__('os').unlink({str(tmp_path / 'policy.yaml')!r})") == "OSError 13"
    assert (tmp_path / "policy.yaml").read_text() == "kept"


def test_what_it_takes_is_bounded() -> None:
    limits = {line[:25].strip(): line[25:].split()[:2] for line in see("limits").splitlines()}

    assert limits["Max file size"] == [str(MOST)] * 2 == [str(compile_apart.MOST)] * 2
    assert limits["Max data size"] == [str(MEMORY)] * 2
    assert limits["Max core file size"] == ["0", "0"]


def test_where_memory_ends_it_is_the_first_to_go() -> None:
    """Else a reload in a container of 128 MB kills the daemon, which is the larger of the two."""
    assert see("oom_score_adj").strip() == "1000"


def test_a_mistake_of_ours_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> bytes:
        raise KeyError(str(path))

    monkeypatch.setitem(compile_jobs.FROZEN_JOBS, "load", fails)  # type: ignore[arg-type]

    kind, text = compile_child._answer("load", (Path("x"),))

    assert kind == "bug" and "KeyError: 'x'" in str(text)
    assert compile_child._answer("unknown", ())[0] == "bug"
