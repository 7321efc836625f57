"""Fuzz one target for some seconds, or all of them in turn: `python -m tests.fuzz.run [-h]`.

With atheris where it is installed, which sees what code an input reaches; else with
hypothesis, hundreds of examples at a time. What breaks a target, or makes it take far longer
than its size explains, is kept in tests/data/fuzz/TARGET and is a test from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.growth import STEEPEST, steepness
from tests.fuzz.targets import FINDINGS, TARGETS, Target, findings

_TARGETS = "tests.fuzz.targets"
_LOOKED_AT = 200  # every so many inputs one is stretched, and its times are compared
_EXAMPLES = 200  # of hypothesis, between two looks at the clock
_SLACK = 60.0  # seconds over its time until a child is ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for all targets together")
    parser.add_argument("target", nargs="*", help=f"of: {', '.join(TARGETS)} (default all)")
    parser.add_argument("--here", action="store_true", help="one target, in this process")
    options = parser.parse_args()
    if unknown := set(options.target) - set(TARGETS):
        parser.error(f"no target: {', '.join(sorted(unknown))}")
    chosen = options.target or list(TARGETS)
    if options.here:
        _fuzz(chosen[0], options.seconds)
        return 0
    share = max(1.0, options.seconds / len(chosen))
    failed = [name for name in chosen if not _child(name, share)]
    for name in failed:
        print(f"{name}: findings in {FINDINGS / name}")
    return 1 if failed else 0


def _child(name: str, seconds: float) -> bool:
    """A process of its own: atheris ends the one it runs in, and a hang ends with it."""
    argv = [sys.executable, "-m", "tests.fuzz.run", "--here", "--seconds", f"{seconds:g}", name]
    before = findings(name)
    print(f"fuzzing {name} for {seconds:g} s with {_tool()}", flush=True)
    with tempfile.TemporaryFile() as said:
        try:
            code = subprocess.run(
                argv, stdout=said, stderr=said, timeout=seconds + _SLACK, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        said.seek(0)
        text = said.read().decode(errors="replace")
    new = [path for path in findings(name) if path not in before]
    if code == 0 and not new:
        last = [line for line in text.splitlines() if line.startswith(("Done ", "stat::number_of"))]
        print("  " + (last[-1] if last else "done"))
        return True
    print(text[-4000:])
    return False


def _tool() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "hypothesis"


class _Watched:
    """A target whose findings are kept."""

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target
        self.count = 0

    def __call__(self, data: bytes) -> None:
        self.count += 1
        try:
            self.target.run(data)
        except Exception:
            self.keep(data)
            raise
        if self.target.grows and self.count % _LOOKED_AT == 0 and data:
            found = steepness(self.target.run, data)
            if found > STEEPEST:
                self.keep(data)
                raise AssertionError(f"{found:.0f} times as long for sixteen times the input")

    def keep(self, data: bytes) -> None:
        place = FINDINGS / self.name
        place.mkdir(parents=True, exist_ok=True)
        (place / hashlib.blake2s(data, digest_size=8).hexdigest()).write_bytes(data)
        traceback.print_exc()


def _fuzz(name: str, seconds: float) -> None:
    os.environ["DNSFW_CACHE_DIR"] = tempfile.gettempdir() + "/dnsfw-fuzz"
    target = TARGETS[name]
    watched = _Watched(name, target)
    if _tool() == "atheris":
        _with_atheris(watched, seconds)
    else:
        _with_hypothesis(watched, seconds)


def _with_atheris(watched: _Watched, seconds: float) -> None:
    import atheris  # type: ignore[import-not-found]

    target = watched.target
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate([*target.seeds, *_kept(watched.name)]):
            (corpus / str(number)).write_bytes(seed)
        words = Path(scratch) / "words"
        quoted = ("".join(f"\\x{octet:02x}" for octet in word) for word in target.words)
        words.write_text("".join(f'"{word}"\n' for word in quoted))
        place = FINDINGS / watched.name
        place.mkdir(parents=True, exist_ok=True)
        watched.target = _instrumented(atheris, watched.name)
        atheris.Setup(
            [
                sys.argv[0], str(corpus), f"-max_total_time={max(1, int(seconds))}",
                f"-max_len={target.longest}", f"-dict={words}", "-timeout=10",
                "-rss_limit_mb=2048", f"-artifact_prefix={scratch}/", "-print_final_stats=1",
            ],
            watched,
        )  # fmt: skip
        atheris.Fuzz()


def _instrumented(atheris: Any, name: str) -> Target:
    """The target anew, from modules that report which branches they take."""
    for module in [m for m in sys.modules if m.split(".")[0] == "dnsfw" or m == _TARGETS]:
        del sys.modules[module]
    with atheris.instrument_imports(include=["dnsfw"]):
        found: Target = importlib.import_module(_TARGETS).TARGETS[name]
    return found


def _with_hypothesis(watched: _Watched, seconds: float) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    target = watched.target
    piece = st.one_of(
        st.sampled_from([*target.words, *target.seeds, *_kept(watched.name)]),
        st.binary(max_size=8),
    )
    inputs = st.lists(piece, max_size=30).map(b"".join).map(lambda data: data[: target.longest])
    end = time.monotonic() + seconds

    @settings(
        max_examples=_EXAMPLES, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs)
    def fuzz(data: bytes) -> None:
        if time.monotonic() < end:
            watched(data)

    while time.monotonic() < end:
        fuzz()
    print(f"Done {watched.count} examples")


def _kept(name: str) -> list[bytes]:
    return [path.read_bytes() for path in findings(name)]


if __name__ == "__main__":
    sys.exit(main())
