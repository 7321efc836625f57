"""Fewer rights, in every thread and for good; and words for those that are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server import capabilities
from dnsfw.server.capabilities import (
    HELPER,
    KEPT,
    TO_START,
    Cap,
    Missing,
    check,
    drop,
    drop_all,
    hand_on,
)

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "contrib" / "systemd"


def in_child(work: Callable[[], str]) -> str:
    """What `work` says in a process that may spoil itself."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(theirs, work().encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(pid, 0)
    with os.fdopen(ours) as pipe:
        return pipe.read()


def sets(status: str) -> dict[str, int]:
    return {k: int(v, 16) for k, v in re.findall(r"^(Cap\w+|NoNewPrivs):\s+(\w+)$", status, re.M)}


@pytest.mark.needs_root
def test_dropped_is_dropped_for_good() -> None:
    def work() -> str:
        assert drop() == KEPT
        child = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True)
        return Path("/proc/self/status").read_text() + "=" * 9 + child.stdout

    mine, _, childs = in_child(work).partition("=" * 9)

    mask = sum(1 << cap for cap in KEPT)
    assert sets(mine) == {
        "CapInh": 0, "CapPrm": mask, "CapEff": mask, "CapBnd": 0, "CapAmb": 0, "NoNewPrivs": 1,
    }  # fmt: skip
    assert sets(childs)["CapEff"] == 0  # a program that it starts has nothing, uid 0 or not


@pytest.mark.needs_root
def test_the_program_that_a_service_user_becomes_has_what_was_handed_on() -> None:
    """Started without root by systemd, with capabilities that are not ambient."""
    keep_capabilities = 8

    def work() -> str:
        capabilities._prctl(keep_capabilities, 1)
        os.setresuid(65534, 65534, 65534)
        low = sum(1 << cap for cap in HELPER if cap < 32)
        high = sum(1 << cap - 32 for cap in HELPER if cap >= 32)
        sets = capabilities._SETS.pack(low, low, 0, high, high, 0)
        assert capabilities._libc.capset(capabilities._HEADER.pack(0x20080522, 0), sets) == 0
        hand_on({Cap.SYS_ADMIN, Cap.BPF})
        child = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True)
        return child.stdout

    assert sets(in_child(work))["CapEff"] == 1 << Cap.SYS_ADMIN | 1 << Cap.BPF


@pytest.mark.needs_root
def test_a_thread_that_kept_its_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_LOOKS", 3)

    def work() -> str:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        try:
            drop()
        except DatapathError as error:
            return str(error)
        return "dropped"

    assert "have more privileges than they should" in in_child(work)


@pytest.mark.needs_root
def test_a_thread_that_gave_up_its_own_is_fine() -> None:
    def work() -> str:
        ready, over = threading.Event(), threading.Event()

        def thread() -> None:
            drop_all()
            ready.set()
            over.wait()

        threading.Thread(target=thread, daemon=True).start()
        ready.wait()
        drop()
        return "dropped"

    assert in_child(work) == "dropped"


@pytest.mark.needs_root
def test_what_was_never_held_is_not_gained() -> None:
    def work() -> str:
        drop({Cap.BPF})
        return str(drop(KEPT) == {Cap.BPF})

    assert in_child(work) == "True"


def test_every_missing_capability_is_listed_with_what_it_is_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capabilities, "held", lambda: frozenset({Cap.NET_ADMIN}))

    with pytest.raises(Missing) as caught:
        check(TO_START)

    assert set(caught.value.wanted) == {Cap.BPF, Cap.PERFMON}
    for cap in (Cap.BPF, Cap.PERFMON):
        assert f"{cap.title} ({TO_START[cap]})" in str(caught.value)


def test_cap_sys_admin_stands_for_what_was_split_off_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "held", lambda: frozenset({Cap.NET_ADMIN, Cap.SYS_ADMIN}))

    check(TO_START)


def test_the_unit_gives_what_is_used_and_no_more() -> None:
    """The unit, its unprivileged form, and the code name the same capabilities."""
    used = {Cap.SETPCAP, Cap.CHOWN, Cap.NET_RAW, *KEPT, *TO_START, *HELPER}
    unit = (UNITS / "dnsfw.service").read_text()
    without_root = (UNITS / "unprivileged.conf").read_text()

    assert _named(unit, "CapabilityBoundingSet") == {cap.title for cap in used}
    needed = {cap.title for cap in {*KEPT, *TO_START}}
    assert _named(without_root, "AmbientCapabilities") == needed
    assert _named(without_root, "CapabilityBoundingSet") == needed


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", ["dnsfw.service", "dnsfw-arm.service", "unprivileged.conf"])
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    for source in UNITS.glob("*.service"):
        text = source.read_text().replace("/usr/local/bin/dnsfw", "/bin/true")
        (tmp_path / source.name).write_text(text)
    if unit.endswith(".conf"):
        (tmp_path / "dnsfw.service.d").mkdir()
        shutil.copy(UNITS / unit, tmp_path / "dnsfw.service.d" / unit)
        unit = "dnsfw.service"

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}, capture_output=True, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


def _named(unit: str, key: str) -> set[str]:
    return set(" ".join(re.findall(rf"^{key}=(.*)$", unit, re.M)).split())
