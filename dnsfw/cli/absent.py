"""What a policy names and this host has not: notes, because another host may have it, or this
one later. Needs no root.
"""

from __future__ import annotations

import grp
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

from dnsfw.cli.role_view import subject_text, subjects_of
from dnsfw.datapath import cgroup
from dnsfw.errors import DatapathError
from dnsfw.model import HOST, Subject, SubjectKind
from dnsfw.policy.compile_subjects import is_unit
from dnsfw.policy.policy import Policy

# Where a system's units are, systemd.unit(5).
UNITS = tuple(
    Path(place) / "systemd/system"
    for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
_LATER = "judged so once it is there"


def absent(policy: Policy) -> list[str]:
    """`place: what is missing; what that means`, in the file's order."""
    notes = [
        f"{policy.places[subject]}: {told}"
        for subject in policy.subjects
        if (told := _missing(policy, subject))
    ]
    return [*notes, *_same(policy), *_empty(policy)]


def _same(policy: Policy) -> Iterator[str]:
    """A user or group that is named in one role and numbered in another."""
    seen: dict[tuple[SubjectKind, int], Subject] = {}
    for subject in policy.subjects:
        if (number := _number(subject)) is None:
            continue
        first = seen.setdefault((subject.kind, number), subject)
        if first.role != subject.role:
            yield (
                f"{policy.places[subject]}: {subject_text(policy, subject)} is "
                f"{subject_text(policy, first)} of the role '{policy.role_names[first.role]}' "
                f"({policy.places[first]}); a subject has one role: take one out"
            )


def _number(subject: Subject) -> int | None:
    value = subject.value
    if subject.kind not in (SubjectKind.UID, SubjectKind.GID):
        return None
    if value.isdecimal():
        return int(value)
    try:
        if subject.kind is SubjectKind.UID:
            return pwd.getpwnam(value).pw_uid
        return grp.getgrnam(value).gr_gid
    except KeyError:
        return None


def _empty(policy: Policy) -> Iterator[str]:
    bases = {subject.base for subject in policy.subjects}
    for number, role in policy.roles.items():
        if number != HOST and number not in bases and not subjects_of(policy, role):
            yield (
                f"{policy.sources[0]}: nobody is in the role '{role.name}': it has no subjects; "
                f"`dnsfw enroll --role {role.name} --pid P` puts a process into it"
            )


def _missing(policy: Policy, subject: Subject) -> str | None:
    if _exists(subject):
        return None
    return f"there is no {subject_text(policy, subject)} here; {_LATER}"


def _exists(subject: Subject) -> bool:
    value = subject.value
    match subject.kind:
        case SubjectKind.UID | SubjectKind.GID:
            return _number(subject) is not None
        case SubjectKind.EXECUTABLE:
            return Path(value).exists()
        case SubjectKind.INTERFACE | SubjectKind.VIA:
            return _interface(value)
        case SubjectKind.SOURCE:
            return not subject.interface or _interface(subject.interface)
        case SubjectKind.CGROUP:
            return _cgroup(value)


def _interface(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _cgroup(value: str) -> bool:
    """A unit that is installed counts: its cgroup comes when it starts."""
    if is_unit(value):
        name = _template(value)
        if any((place / unit).exists() for place in UNITS for unit in (value, name)):
            return True
    try:
        top = cgroup.root()
    except DatapathError:
        return True  # nobody knows
    if not is_unit(value):
        return (top / value.lstrip("/")).is_dir()
    return any((top / place / value).is_dir() for place in ("", "system.slice"))


def _template(unit: str) -> str:
    """`getty@tty1.service` is made from `getty@.service`."""
    head, at, tail = unit.partition("@")
    return f"{head}@.{tail.rpartition('.')[2]}" if at else unit
