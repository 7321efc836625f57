"""What /proc says of a process, against the kernel's own word: real processes, no root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.cli import process_facts
from dnsfw.cli.process_facts import read_process
from dnsfw.errors import ConfigError
from dnsfw.model import NO_ROLE
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy

TEXT = "version: 1\ndefault: deny\nroles: {{web: {{subjects: [{0}]}}, db: {{default: deny}}}}"


def policy(subject: str = "uid: 1") -> Policy:
    return compile_text(TEXT.format(subject))


@pytest.fixture
def child() -> Iterator[int]:
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def test_a_process_is_its_real_user_group_and_cgroup(child: int) -> None:
    seen = read_process(child, policy(), via="eth0")
    line = next(x for x in Path(f"/proc/{child}/cgroup").read_text().splitlines() if x[:3] == "0::")

    assert (seen.pid, seen.facts.uid, seen.facts.gid) == (child, os.getuid(), os.getgid())
    assert seen.facts.cgroup == line[3:]
    assert seen.facts.via == "eth0"
    assert seen.facts.enrolled == NO_ROLE
    assert seen.program == os.path.realpath(sys.executable)
    assert seen.name


def test_an_executable_is_its_inode_whatever_its_path(child: int, tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(os.path.realpath(sys.executable))

    assert read_process(child, policy(f"executable: {link}")).facts.executable == str(link)
    assert read_process(child, policy("executable: /bin/true")).facts.executable == ""


@pytest.mark.parametrize(
    ("cgroup", "enrolled", "started"),
    [
        ("/system.slice/nginx.service/dnsfw-web", "web", None),
        ("/system.slice/nginx.service/dnsfw-web/below", "web", None),
        ("/dnsfw/db", "db", None),
        ("/a/dnsfw-exec.web", None, "web"),
        ("/dnsfw/exec.web", None, "web"),
        ("/a/dnsfw-exec.db/dnsfw-web", "web", "db"),
        ("/a/dnsfw-web/dnsfw-db", "db", None),
        ("/a/mydnsfw-web", None, None),
        ("/system.slice/dnsfw.service", None, None),
        ("/", None, None),
    ],
)
def test_a_cgroup_that_enroll_made_tells_the_role(
    cgroup: str, enrolled: str | None, started: str | None
) -> None:
    found = policy()
    notes: list[str] = []
    roles = process_facts._placed(cgroup, found, notes)

    assert roles == tuple(found.role_ids[n] if n else NO_ROLE for n in (enrolled, started))
    assert not notes


def test_a_cgroup_of_a_role_that_the_policy_has_not_is_told() -> None:
    notes: list[str] = []

    assert process_facts._placed("/dnsfw/old", policy(), notes) == (NO_ROLE, NO_ROLE)
    assert notes == ["its cgroup is one of a role 'old', which this policy has not"]


def test_a_process_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="there is no process 4194305"):
        read_process(4194305, policy())
