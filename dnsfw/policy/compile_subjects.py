"""The `subjects` of roles: each one checked, and none in two roles."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_interface
from typing import TYPE_CHECKING

from dnsfw.model import HOST, NO_ROLE, Limit, RoleId, Subject, SubjectKind
from dnsfw.policy.problems import Position, Problems, Wrong, shown

if TYPE_CHECKING:  # a daemon describes subjects; to read them takes pydantic
    from dnsfw.policy.syntax_check import CheckedRole
    from dnsfw.policy.syntax_roles import SubjectSection
    from dnsfw.policy.syntax_yaml import Document, Path

MAX_INTERFACE = 15  # IFNAMSIZ, with its zero
_LAST_ID = 2**32 - 2  # the last value means "no such user" (chown(2))
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,248}\.(service|scope|slice)")  # systemd.unit(5)
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?")
_MOUNT = re.compile(r"/sys/fs/cgroup(/unified)?(?=/|$)")
_PATH_MAX = 4095
_BY_ATTRIBUTE = "xattr"  # whatever file carries a role's name: see datapath/executables.py
_WAYS = ("cgroup", "executable", "uid", "gid", "source", "interface", "via")
# Which of the kernel's tables a subject takes a row of (executables: a cgroup of their own).
_ROOM = {
    SubjectKind.CGROUP: ("cgroups", int(Limit.MAX_CGROUPS)),
    SubjectKind.UID: ("users and groups", int(Limit.MAX_IDS)),
    SubjectKind.GID: ("users and groups", int(Limit.MAX_IDS)),
    SubjectKind.SOURCE: ("sources", int(Limit.MAX_SOURCES)),
    SubjectKind.INTERFACE: ("interfaces", int(Limit.MAX_DEVICES)),
    SubjectKind.VIA: ("via", int(Limit.MAX_DEVICES)),
}


def compile_subjects(
    roles: Iterable[CheckedRole],
    ids: Mapping[str, RoleId],
    document: Document,
    problems: Problems,
) -> dict[Subject, Position]:
    """Every subject of every role with its place, in the file's order."""
    found: dict[Subject, Position] = {}
    owners: dict[tuple[object, ...], tuple[str, Position]] = {}
    for role in roles:
        for index, section in role.subjects:
            at: Path = ("roles", role.name, "subjects", index)
            where = document.place(at)
            if document.keys(at) - section.model_fields_set:
                continue  # a key that could not be read is told already
            try:
                subject = _subject(section, role.name, ids)
            except Wrong as wrong:
                problems.wrong(document.place((*at, wrong.key)) if wrong.key else where, wrong)
                continue
            # Where files say their role themselves, each role has them for itself.
            whose = role.name if subject.value == _BY_ATTRIBUTE else ""
            key = (subject.kind, subject.value, subject.interface, subject.base, whose)
            if key in owners:
                _twice(subject, where, role.name, *owners[key], problems)
                continue
            owners[key] = (role.name, where)
            found[subject] = where
    _check_room(found, problems)
    _warn_of_units(found, problems)
    return found


def describe(subject: Subject, names: Mapping[RoleId, str] | None = None) -> str:
    """A subject as the policy writes it: `uid www-data`, `source 10.0.0.0/8 on lan0`."""
    text = f"{subject.kind.value} {subject.value}"
    if subject.interface:
        text += f" on {subject.interface}"
    if subject.kind is SubjectKind.VIA:
        base = "host" if subject.base == HOST else (names or {}).get(subject.base)
        text += f" of {base or int(subject.base)}"
    return text


def read_subject(kind: SubjectKind, text: str) -> str:
    """The canonical value of a subject of this kind. Raises Wrong with a suggestion."""
    return _READERS[kind](text)


def is_unit(value: str) -> bool:
    """Whether a cgroup is written as a systemd unit."""
    return "/" not in value


def _subject(section: SubjectSection, role: str, ids: Mapping[str, RoleId]) -> Subject:
    written = [way for way in _WAYS if getattr(section, way) is not None]
    if section.role is not None and section.via is None:
        raise Wrong("'role' belongs to via", "write '{role: web, via: eth0}'", "role")
    if len(written) > 1 and written != ["source", "interface"]:
        told = f"a subject says one thing, not {' and '.join(written)}"
        raise Wrong(told, "make two subjects")
    kind = SubjectKind(written[0])
    value = _read(section, kind)
    interface = ""
    if kind is SubjectKind.SOURCE and section.interface is not None:
        interface = _read(section, SubjectKind.INTERFACE)
    base = _base(section.role, role, ids) if kind is SubjectKind.VIA else NO_ROLE
    return Subject(ids[role], kind, value, interface, base)


def _read(section: SubjectSection, kind: SubjectKind) -> str:
    """The canonical value of one key. Raises Wrong that names it."""
    try:
        return _READERS[kind](getattr(section, kind.value))
    except Wrong as wrong:
        wrong.key = kind.value
        raise


def _cgroup(text: str) -> str:
    if _MOUNT.match(text):
        inside = _MOUNT.sub("", text, count=1) or "/…"
        raise Wrong(f"{shown(text)} is a folder, not a cgroup", f"write '{inside}'")
    if "/" not in text:
        if not _UNIT.fullmatch(text):
            told = f"{shown(text)} is neither a path nor a unit"
            raise Wrong(told, f"write '/{text}' or '{text.split('.')[0] or 'nginx'}.service'")
        return text
    return _path(text, "a cgroup")


def _executable(text: str) -> str:
    if text == _BY_ATTRIBUTE:
        return text
    if text.endswith("/"):
        raise Wrong(f"{shown(text)} is a folder", "name the file: '/usr/sbin/nginx'")
    return _path(text, "an executable")


def _path(text: str, what: str) -> str:
    if not text.startswith("/"):
        raise Wrong(f"{shown(text)}: {what} has its whole path", f"write '/{text}'")
    if "*" in text:
        raise Wrong(f"{shown(text)}: no wildcard here", "name the folder around it")
    if not text.isprintable() or len(text.encode()) > _PATH_MAX:
        raise Wrong(f"{shown(text)} is no path")
    plain = posixpath.normpath(text).replace("//", "/")
    if plain == "/":
        raise Wrong(f"{shown(text)} is every process: the role 'host'", "name one below")
    if plain != text.rstrip("/"):
        raise Wrong(f"{shown(text)} goes round", f"write '{plain}'")
    return plain


def _account(text: str) -> str:
    if text.isascii() and text.isdecimal():
        if int(text) > _LAST_ID:
            raise Wrong(f"{shown(text)} is no id", f"ids end at {_LAST_ID}")
        return str(int(text))
    if not _ACCOUNT.fullmatch(text):
        raise Wrong(f"{shown(text)} is neither a name nor a number", "write 'www-data' or 33")
    return text


def _source(text: str) -> str:
    """The canonical prefix, always with its length: what `ip_network` reads."""
    bare = re.sub(r"^\[([^\]]*)\]", r"\1", text)
    try:
        written = ip_interface(bare)
    except ValueError:
        raise Wrong(f"{shown(text)} is no prefix", "write '10.1.0.0/16' or 'fd00::/8'") from None
    net: IPv4Network | IPv6Network = written.network
    if "%" in bare:
        raise Wrong(f"{shown(text)}: an address has no zone here", "add 'interface: eth0'")
    if written.ip != net.network_address:
        remedy = f"write '{net}' or '{written.ip}'"
        raise Wrong(f"{shown(text)} has bits beyond its length", remedy)
    if isinstance(net, IPv6Network) and net.network_address.ipv4_mapped is not None:
        mapped = net.network_address.ipv4_mapped
        bits = f"/{net.prefixlen - 96}" if net.prefixlen >= 96 else ""
        raise Wrong(f"{shown(text)} is IPv4", f"write '{mapped}{bits}'")
    return str(net)


def device_name(text: str) -> str:
    # dev_valid_name() in net/core/dev.c
    if text in ("", ".", "..") or re.search(r"[/:\s]", text) or not text.isprintable():
        raise Wrong(f"{shown(text)} is no interface", "write its name: 'eth0'")
    if len(text.encode()) > MAX_INTERFACE:
        raise Wrong(f"{shown(text)} is no interface", f"a name has at most {MAX_INTERFACE} bytes")
    if text == "lo":
        raise Wrong("'lo' has no guests", "what a role reaches there is its 'loopback'")
    return text


_READERS = {
    SubjectKind.CGROUP: _cgroup,
    SubjectKind.EXECUTABLE: _executable,
    SubjectKind.UID: _account,
    SubjectKind.GID: _account,
    SubjectKind.SOURCE: _source,
    SubjectKind.INTERFACE: device_name,
    SubjectKind.VIA: device_name,
}


def _base(written: str | None, role: str, ids: Mapping[str, RoleId]) -> RoleId:
    """The role whose packets a `via` judges otherwise."""
    if written is None or written == "host":
        return HOST
    if written == role:
        raise Wrong(f"{shown(role)} is judged as itself everywhere", "name another role", "role")
    if written not in ids:
        others = ["host", *(name for name in ids if name != role)]
        from difflib import get_close_matches  # only who errs pays for it

        near = get_close_matches(written, others, n=1, cutoff=0.6)
        remedy = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(others)}"
        raise Wrong(f"no role is called {shown(written)}", remedy, "role")
    return ids[written]


def _twice(
    subject: Subject, where: Position, role: str, owner: str, first: Position, problems: Problems
) -> None:
    told = f"{describe(subject)!r}"
    if owner == role:
        problems.error(where, f"{told} stands twice, first at {first}", "take one out")
    else:
        problems.error(
            where,
            f"{told} is in the role '{owner}' already, at {first}",
            "a subject has one role: take one out",
        )


def _check_room(found: Mapping[Subject, Position], problems: Problems) -> None:
    """The kernel's tables have a size; users and groups share one."""
    counts: Counter[str] = Counter()
    for subject, where in found.items():
        table, room = _ROOM.get(subject.kind, ("", len(found)))
        counts[table] += 1
        if counts[table] == room + 1:
            remedy = "name the slice, group or prefix around them"
            problems.error(where, f"more than {room} {table}", remedy)


def _warn_of_units(found: Mapping[Subject, Position], problems: Problems) -> None:
    """`nginx.service` and a path that ends in it may be one cgroup, which has one role."""
    units = {
        subject.value: (subject, where)
        for subject, where in found.items()
        if subject.kind is SubjectKind.CGROUP and is_unit(subject.value)
    }
    for subject, where in found.items():
        last = subject.value.rpartition("/")[2]
        if subject.kind is not SubjectKind.CGROUP or is_unit(subject.value) or last not in units:
            continue
        unit, first = units[last]
        if unit.role != subject.role:
            told = f"'{subject.value}' may be the unit '{last}' of another role, at {first}"
            problems.warn(where, told, "name it in one way")
