"""`contrib/quickstart --uninstall` and `--purge`, over directories of a mount namespace's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIRECTORIES = ("/var/lib", "/var/cache", "/var/log", "/opt", "/run")
MADE = ("/var/lib/dnsfw/remote", "/var/cache/dnsfw", "/var/log/dnsfw", "/run/dnsfw", "/opt/dnsfw")

pytestmark = pytest.mark.needs_root


def undone(option: str, before: str = "true") -> tuple[str, set[str]]:
    """What it says, and what of dnsfw is there afterwards."""
    covered = [*DIRECTORIES, *(path for path in ("/etc/systemd/system", "/usr/local/bin")
                               if Path(path).is_dir())]  # fmt: skip
    mounts = " && ".join(f"mount -t tmpfs none {path}" for path in covered)
    listing = " ".join(f"{path}/dnsfw" for path in DIRECTORIES)
    script = (
        f"{mounts} && mkdir -p {' '.join(MADE)} && {before} "
        f"&& sh {ROOT}/contrib/quickstart {option} && echo == && ls -d {listing} 2>/dev/null"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    said, mark, left = done.stdout.partition("==\n")
    assert mark, done.stderr
    return said, set(left.split())


def test_uninstall_names_what_it_leaves() -> None:
    said, left = undone("--uninstall")

    assert left == {"/var/lib/dnsfw", "/var/log/dnsfw"}
    assert all(f"kept: {path}: " in said for path in left)


def test_purge_leaves_nothing_that_dnsfw_wrote() -> None:
    said, left = undone("--purge")

    assert left == set()
    assert "/etc/dnsfw, your policies, stay" in said


def test_a_command_of_somebody_else_stays_and_is_not_called_gone() -> None:
    said, _ = undone("--uninstall", "echo x >/usr/local/bin/dnsfw")

    assert "not ours, so it stays: /usr/local/bin/dnsfw\n" in said
    assert "gone: /opt/dnsfw, " in said
