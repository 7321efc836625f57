"""The JSON of roles: `network_rules`, `exec_enrollments`, `cgroup_enrollments`.

Its rules speak of ports and never of destinations: a specific port beats port 0 (any), then
the role's `allow_network` decides. So the ports that a role may connect to are worked out
here, exactly, and become rules for every address and every name; the ports that it may
bind become `inbound`. What dnsfw does not enforce (files, exec, ptrace) stays as comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from dnsfw.model import Limit, PortSet, SubjectKind
from dnsfw.policy.compile_subjects import read_subject
from dnsfw.policy.importers.outcome import Imported, Kept, Section, comment, quoted
from dnsfw.policy.importers.role_ports import DIRECTIONS, Ports, open_ports, read_rules
from dnsfw.policy.importers.role_text import RoleLines, role_text
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.problems import Problems, Wrong, shown
from dnsfw.values import dataclass

__all__ = ["FORMAT", "KEYS", "import_roles"]

FORMAT = "roles"
KEYS = ("roles", "exec_enrollments", "cgroup_enrollments")
_NOT_OURS = "kept as a comment: dnsfw enforces the network part alone"
_NO_SUCH = "dnsfw has nothing like it"
_CGROUP_MOUNTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_LAST_ID = 2**32 - 1
_RESERVED = ("host", "probe")


@dataclass(slots=True)
class _Role:
    """One role, read."""

    section: Section
    name: str
    number: int | None = None
    allow_network: bool = False
    ports: dict[str, Ports] = field(default_factory=lambda: {d: Ports() for d in DIRECTIONS})
    notes: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)

    def allowed(self, direction: str) -> PortSet:
        return open_ports(self.ports[direction], self.allow_network)

    def lines(self) -> RoleLines:
        connect, bind = map(self.allowed, DIRECTIONS)
        return RoleLines(
            self.name, self.number, self.allow_network, connect, bind, self.notes, self.subjects
        )


def import_roles(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of a file of roles; None when the problems say why there is none."""
    document = read_json(text, file, problems)
    if document is None:
        return None
    top = Section(document, (), problems, [])
    roles: dict[str, _Role] = {}  # by the name in the old file
    for key, section in top.child("roles").members().items():
        roles[key] = _role(key, section, roles)
    if not roles:
        top.wrong(("roles",), "the file has no role", 'write "roles": {"web": {…}}')
    numbers = {role.number: role for role in roles.values() if role.number is not None}
    enrolled = _Enrolments(top, roles, numbers)
    pods = [f"# {line}\n" for line in enrolled.pods()]
    enrolled.read("exec_enrollments", "executable_path", "executable")
    enrolled.read("cgroup_enrollments", "cgroup_path", "cgroup")
    top.rest_is_lost(_NO_SUCH)
    findings = tuple(sorted(top.findings, key=lambda found: found.where))
    names = {number: role.name for number, role in numbers.items()}
    return Imported(FORMAT, _policy(roles, pods), findings, role_names=names)


def _role(key: str, section: Section, others: Mapping[str, _Role]) -> _Role:
    name = key if _NAME.fullmatch(key) else re.sub(r"[^a-z0-9_-]+", "-", key.lower()).strip("-_")
    role = _Role(section, name, section.number("id", _LAST_ID))
    if not _NAME.fullmatch(name) or name in _RESERVED:
        section.wrong((), f"{shown(key)} is no name for a role", "rename it: a-z, 0-9, - and _")
    elif name != key:
        section.found(Kept.NOTED, (), f"role {key}", f"called {name}")
    if any(name == other.name for other in others.values()):
        section.wrong((), f"two roles would be called {name}", "rename one")
    if role.number is not None and role.number in {other.number for other in others.values()}:
        section.wrong(("id",), f"two roles have the id {role.number}", "number each role once")
    section.text("name")  # people's; enrolments say the key
    _flags(role)
    read_rules(section.sections("network_rules"), role.ports, role.allow_network)
    for kept in ("file_paths", "execution_rules", "require_signed_binary"):
        if section.note(kept, _NOT_OURS):
            role.notes.append(f"not enforced by dnsfw: {kept}, see the old file")
    section.rest_is_lost(_NO_SUCH)
    if not role.allow_network and role.allowed("connect"):
        why = "169.254.169.254 and its cousins stay closed; name one in a rule to open it"
        section.found(Kept.NOTED, (), f"role {role.name}, metadata services", why)
    for direction in DIRECTIONS:
        if len(role.allowed(direction).ranges) > Limit.PORT_RANGES:
            told = f"{len(role.allowed(direction).ranges)} port ranges to {direction}"
            section.found(Kept.LOST, (), f"role {role.name}", f"{told}, {Limit.PORT_RANGES:d} fit")
    return role


def _flags(role: _Role) -> None:
    flags = role.section.child("flags")
    said = flags.flag("allow_network")
    role.allow_network = bool(role.section.flag("allow_network") if said is None else said)
    others = [key for key in flags.value if key != "allow_network"]
    for key in others:
        flags.note(key, _NOT_OURS)
    if others:
        told = ", ".join(f"{key}={str(flags.value[key]).lower()}" for key in others)
        role.notes.append(f"not enforced by dnsfw: {told}")
    became = "default: allow" if role.allow_network else "default: deny"
    where = ("allow_network",) if said is not None else ()
    flags.found(
        Kept.READ, where, f"role {role.name}, allow_network: {str(role.allow_network).lower()}",
        became,
    )  # fmt: skip


@dataclass(slots=True)
class _Enrolments:
    """Who is put into which role: becomes `subjects`."""

    top: Section
    roles: Mapping[str, _Role]
    numbers: Mapping[int, _Role]
    taken: dict[tuple[str, str], _Role] = field(default_factory=dict)  # (kind, value) → whose

    def read(self, key: str, path_key: str, kind: str) -> None:
        for entry in self.top.sections(key):
            path, role = entry.text(path_key), self._role_of(entry)
            pod = entry.number("pod_id")
            entry.rest_is_lost(_NO_SUCH)
            if not path or not path.startswith("/"):
                entry.wrong((), f"'{path_key}' is no path", f'write "{path_key}": "/…"')
                continue
            if role is None:
                continue
            source = f"{kind} {path}"
            try:
                plain = re.sub("//+", "/", path)
                plain = _below_the_mount(plain) if kind == "cgroup" else plain
                value = read_subject(SubjectKind(kind), plain)
            except Wrong as wrong:
                entry.found(Kept.LOST, (path_key,), source, wrong.message)
                continue
            if self.taken.setdefault((kind, value), role) is not role:
                other = self.taken[kind, value].name
                entry.wrong((path_key,), f"{source} is in the role {other}", "one role for each")
            note = f"  # pod {pod}" if pod is not None else ""
            role.subjects.append(f"      - {kind}: {quoted(value)}{note}\n")
            became = f"role {role.name}, subject {kind}: {value}"
            entry.found(Kept.READ, (), source, became)

    def pods(self) -> Iterator[str]:
        """Pods were told to the old daemon by its socket: what they are stays as comments."""
        for entry in self.top.sections("pods"):
            pod, role = entry.number("id"), self.numbers.get(entry.number("role_id") or -1)
            entry.number("stack_depth")
            entry.rest_is_lost(_NO_SUCH)
            line = f"pod {pod} is of role {role.name if role else 'unknown'}"
            entry.found(Kept.NOTED, (), f"pod {pod}", f"kept as a comment: {line}")
            yield line

    def _role_of(self, entry: Section) -> _Role | None:
        name, number = entry.text("role"), entry.number("role_id")
        role = self.roles.get(name) if name is not None else self.numbers.get(number or -1)
        if role is None:
            said = name if name is not None else number
            entry.wrong((), f"there is no role {shown(said)}", f"there are {', '.join(self.roles)}")
        return role


def _below_the_mount(path: str) -> str:
    """`/sys/fs/cgroup/sandbox` is `/sandbox`, wherever the tree is mounted."""
    for mount in _CGROUP_MOUNTS:
        if path == mount or path.startswith(f"{mount}/"):
            return path[len(mount) :] or "/"
    return path


def _policy(roles: Mapping[str, _Role], pods: list[str]) -> str:
    lines = "# Made by `dnsfw import roles`.\nversion: 1\ndefault: allow  # whoever has no role\n"
    lines += "".join(pods)
    lines += comment(
        "The attribute user.bpfjailer.role_id of executables is not read: "
        "`setfattr -n user.dnsfw.role -v ROLE FILE` says the same."
    )
    lines += comment(
        "Names are asked of dnsfw where resolv.conf names it, or with `dns: {takeover: true}`."
    )
    return lines + "roles:\n" + "".join(role_text(role.lines()) for role in roles.values())
