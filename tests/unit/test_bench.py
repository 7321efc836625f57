"""The bench programs start anywhere: --help needs no root, no peer and no kernel part."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
PROGRAMS = sorted(
    path for path in BENCH.glob("*.py") if '__name__ == "__main__"' in path.read_text()
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_bench_program_says_what_it_measures_and_takes_rounds_and_json(program: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(program), "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout.split("options:")[0]
    assert "--rounds" in done.stdout
    assert "--json" in done.stdout


def test_there_is_a_program_for_each_question() -> None:
    found = {path.stem for path in PROGRAMS}

    assert found == {
        "answers", "cached", "capacity", "cold", "grant", "harm", "lists", "match", "packet",
        "refusals", "reload", "start", "where",
    }  # fmt: skip


def test_run_asks_every_question() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "run"), "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    asked = {path.stem for path in PROGRAMS} - {"where"}  # a profile, no contest
    assert {name for name in asked if name not in done.stdout} == set()


def test_run_goes_on_in_an_environment_that_has_what_dnsfw_needs(tmp_path: Path) -> None:
    """`sudo bench/run` has the distribution's Python, which has nothing of it."""
    loader = SourceFileLoader("bench_run", str(BENCH / "run"))
    spec = spec_from_loader("bench_run", loader)
    assert spec is not None
    run = module_from_spec(spec)
    loader.exec_module(run)
    made, gone = tmp_path / "made", tmp_path / "gone"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").touch()

    assert run.fitting([gone, Path(sys.prefix), made]) == str(made / "bin" / "python")
    with pytest.raises(SystemExit, match="contrib/test makes an environment"):
        run.fitting([gone, Path(sys.prefix)])


def test_readme_tells_how_to_run_each_program() -> None:
    text = (BENCH / "README.md").read_text()

    assert [path.name for path in PROGRAMS if f"bench/{path.name}" not in text] == []
