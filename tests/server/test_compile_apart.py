"""Policies are read by another process: the same policies, the same words, fewer rights."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import RoleId, Verdict
from dnsfw.policy.compile import load
from dnsfw.policy.digest import digest
from dnsfw.policy.files import shipped
from dnsfw.policy.frozen import freeze
from dnsfw.policy.lists import store
from dnsfw.policy.rule import Ttl
from dnsfw.policy.temporary import Wanted
from dnsfw.server import compile_apart
from dnsfw.server.compile_apart import NoChild, ask, command

POLICY = "version: 1\ndefault: allow\nrules: [{deny: {list: ads.txt}}]\n"


@pytest.fixture(name="file")
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / "cache"))
    (tmp_path / "ads.txt").write_text("ads.example\n")
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def test_it_is_the_policy_that_we_would_have_compiled(file: Path) -> None:
    for path in (file, shipped() / "seven-roles.yaml"):
        made = ask("load", path, {}, None, True)

        assert digest(made) == digest(load(path))
        assert made.texts == load(path).texts


def test_what_is_wrong_is_said_in_the_same_words(file: Path) -> None:
    file.write_text(POLICY.replace("allow", "alow"))
    with pytest.raises(PolicyError) as here:
        load(file)

    with pytest.raises(PolicyError) as there:
        ask("load", file, {}, None, True)
    assert str(there.value) == str(here.value)

    with pytest.raises(ConfigError, match="No such file"):
        ask("load", file.with_name("none.yaml"), {}, None, True)


def test_temporary_rules_are_made_there_too() -> None:
    wanted = [Wanted("deny", to, RoleId(1), "n", Verdict.ALLOW, Ttl()) for to in ("a.b", "a..b")]

    good, bad = ask("rules", wanted, frozenset())

    assert good.text == "deny a.b" and "a..b" in bad


def test_code_that_was_replaced_on_disk_is_not_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_apart, "shape", lambda: b"of another version")

    with pytest.raises(ConfigError, match="restart it, and the wall stays"):
        ask("load", file, {}, None, True)


@pytest.mark.parametrize("said", [b"", b"nonsense", freeze(("x", "value", 1)), freeze(7)])
def test_an_answer_that_is_none_is_not_believed(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "said").write_bytes(said)
    monkeypatch.setattr(compile_apart, "command", lambda: (["cat", str(tmp_path / "said")], {}))

    with pytest.raises(ConfigError, match="restart it"):
        ask("load", Path("x"), {}, None, True)


def test_a_process_that_dies_is_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(compile_apart, "command", lambda: (argv, {}))

    with pytest.raises(ConfigError, match="too little memory"):
        ask("load", Path("x"), {}, None, True)


_HANGS = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""
# Asks a child whose job waits at the other end of a pipe.
_ASKS = """
import sys
sys.path.insert(0, sys.argv[1])
from dnsfw.server import compile_apart
argv, environment = compile_apart.command()
argv = [*argv[: argv.index("-m")], "-c", sys.argv[3]]
compile_apart.command = lambda: (argv, environment)
compile_apart.ask("wait", sys.argv[2])
"""
_WAITS = """
from dnsfw.server import compile_child, compile_jobs
compile_jobs.JOBS = {"wait": lambda fifo: open(fifo).read()}
compile_child.main()
"""


def test_one_that_hangs_is_ended_and_nobody_does_it_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hung there would hang here."""
    note = tmp_path / "pid"
    monkeypatch.setattr(
        compile_apart, "command", lambda: ([sys.executable, "-c", _HANGS, str(note)], {})
    )
    monkeypatch.setattr(compile_apart, "LONGEST", 1.0)

    with pytest.raises(ConfigError, match="was ended after 1 s"):
        ask("load", Path("x"), {}, None, True)
    assert not note.exists() or not Path(f"/proc/{note.read_text() or 'none'}").exists()


def test_who_says_more_than_any_policy_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [sys.executable, "-c", "import os; os.write(1, bytes(100))"]
    monkeypatch.setattr(compile_apart, "command", lambda: (argv, {}))
    monkeypatch.setattr(compile_apart, "MOST", 99)

    with pytest.raises(ConfigError, match="more than 99 bytes"):
        ask("load", Path("x"), {}, None, True)


def test_with_us_it_ends_however_we_end(tmp_path: Path) -> None:
    home = str(Path(sys.modules["dnsfw"].__file__ or "").parents[1])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    asker = subprocess.Popen([sys.executable, "-P", "-c", _ASKS, home, str(fifo), _WAITS])
    with fifo.open("w"):  # it has opened it, and reads
        child = next(
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _parent(stat) == asker.pid
        )
        watched = os.pidfd_open(child)
        poll = select.poll()
        poll.register(watched, select.POLLIN)

        asker.kill()
        asker.wait()

        assert poll.poll(20_000)
    os.close(watched)


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def test_without_a_process_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_apart, "command", lambda: (["/nonexistent"], {}))

    with pytest.raises(NoChild):
        ask("load", Path("x"), {}, None, True)


def test_it_is_our_own_code_wherever_we_are(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dnsfw").mkdir()
    (tmp_path / "dnsfw" / "__init__.py").write_text("raise SystemExit('somebody else')\n")
    monkeypatch.chdir(tmp_path)

    assert ask("load", file, {}, None, True).sources == (str(file),)
    argv, environment = command()
    assert "-P" in argv and environment["PATH"] == os.environ["PATH"]
