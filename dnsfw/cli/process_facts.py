"""What /proc says of a process, in the words of the policy's subjects."""

from __future__ import annotations

import grp
import os
import pwd
import re
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from dnsfw.datapath.process import Process
from dnsfw.datapath.whose import owner_of
from dnsfw.errors import ConfigError
from dnsfw.model import NO_ROLE, RoleId, Subject, SubjectKind
from dnsfw.policy import subjects
from dnsfw.policy.policy import Policy
from dnsfw.values import dataclass

_PROC = Path("/proc")
# The cgroups that `enroll` and executables make: see datapath/enroll.py.
_MADE = re.compile(r"(?:^|/)dnsfw(?:-|/)(exec\.)?([a-z0-9][a-z0-9_-]*)(?=/|$)")


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as `explain --pid` shows it."""

    pid: int
    name: str
    facts: subjects.Process
    program: str = ""  # the path of what it runs; empty where we may not know
    notes: tuple[str, ...] = field(default=())


def read_process(pid: int, policy: Policy, via: str = "") -> Seen:
    """The facts of a process that lives now. ConfigError when there is none."""
    with Process(pid) as process:
        name = process.name
        cgroup = process.cgroup()
        owner = owner_of(pid)
        notes: list[str] = []
        program = _program(pid, notes)
        executable = _executable(pid, policy)
        process.check()
    if owner is None:
        raise ConfigError(f"there is no process {pid}; see `ps -e`")
    enrolled, started = _placed(cgroup, policy, notes)
    if not executable and started != NO_ROLE:
        executable = next((s.value for s in _executables(policy) if s.role == started), executable)
    user, group = owner
    facts = subjects.Process(
        cgroup=cgroup,
        uid=user,
        gid=group,
        executable=executable,
        user=_user(user),
        group=_group(group),
        enrolled=enrolled,
        via=via,
    )
    return Seen(pid, name, facts, program, tuple(notes))


def _placed(cgroup: str, policy: Policy, notes: list[str]) -> tuple[RoleId, RoleId]:
    """The roles that the path itself tells: enrolled by hand, and moved at exec; deepest last."""
    enrolled = started = NO_ROLE
    for found in _MADE.finditer(cgroup):
        role = policy.role_ids.get(found[2])
        if role is None:
            notes.append(f"its cgroup is one of a role '{found[2]}', which this policy has not")
        elif found[1]:
            started = role
        else:
            enrolled = role
    return enrolled, started


def _program(pid: int, notes: list[str]) -> str:
    try:
        return str((_PROC / str(pid) / "exe").readlink())
    except PermissionError:
        ask = "" if os.geteuid() == 0 else ": ask as root for executables"
        notes.append(f"what it runs is not for you to see{ask}")
    except OSError:  # a kernel thread, a zombie
        pass
    return ""


def _executable(pid: int, policy: Policy) -> str:
    """The subject whose file the process runs: the same inode, whatever it is called."""
    with suppress(OSError):
        mine = (_PROC / str(pid) / "exe").stat()
        for subject in _executables(policy):
            with suppress(OSError):
                if os.path.samestat(Path(subject.value).stat(), mine):
                    return subject.value
    return ""


def _executables(policy: Policy) -> list[Subject]:
    """Those that name a file: what an attribute says is seen in the cgroup."""
    named = (s for s in policy.subjects if s.kind is SubjectKind.EXECUTABLE)
    return [s for s in named if s.value.startswith("/")]


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return ""


def _group(number: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return ""
