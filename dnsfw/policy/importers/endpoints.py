"""The YAML of endpoints: on each listed interface, these users to these prefixes and nobody else.

A user's right is for one interface, so it becomes a role of the pair: `via` subjects say
what a role's sockets that send by an interface are judged as. A user has a role of their
own to be told apart by (open, for interfaces that are not listed stay open), and each
set of prefixes one that is closed but for them. The same set is one role, wherever it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network, ip_network

from dnsfw.model import SubjectKind
from dnsfw.policy.addresses import METADATA
from dnsfw.policy.compile_subjects import read_subject
from dnsfw.policy.importers.outcome import Imported, Kept, Section, quoted
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Problems, Wrong, shown
from dnsfw.policy.syntax_yaml import Path, read_document
from dnsfw.values import dataclass

__all__ = ["FORMAT", "KEYS", "import_endpoints"]

FORMAT = "endpoints"
KEYS = ("endpoints",)
_NO_SUCH = "dnsfw knows no such key of an endpoint"
_CLOSED = "closed"

Network = IPv4Network | IPv6Network
Rights = Mapping[tuple[str, str], frozenset[Network]]  # (user, interface) → where to


@dataclass(slots=True)
class _Read:
    """All entries of the file, taken together."""

    interfaces: dict[str, None] = field(default_factory=dict)  # in the file's order
    users: dict[str, None] = field(default_factory=dict)
    rights: dict[tuple[str, str], set[Network]] = field(default_factory=dict)

    def to(self, user: str, interface: str) -> frozenset[Network]:
        return frozenset(self.rights.get((user, interface), ()))


def import_endpoints(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of a file of endpoints; None when the problems say why there is none."""
    document = read_document(text, file, problems)
    if document is None:
        return None
    top, read = Section(document, (), problems, []), _Read()
    for index, entry in enumerate(top.sections("endpoints")):
        for name, section in entry.members().items():
            _endpoint(name, section, read)
        if not entry.value:
            top.wrong(("endpoints", index), "an endpoint without a name", "write '- NAME:'")
    if not read.interfaces and not problems.errors:
        top.wrong(("endpoints",), "no interface is listed", "write 'iface: [eth0]'")
    top.rest_is_lost(_NO_SUCH)
    named = ", ".join(read.interfaces)
    why = "has no user: what this host forwards is judged by `interface` and `source` subjects"
    top.found(Kept.NOTED, ("endpoints",), f"forwarded traffic by {named}", why)
    findings = tuple(sorted(top.findings, key=lambda found: found.where))
    return Imported(FORMAT, _policy(read), findings)


def _endpoint(name: str, section: Section, read: _Read) -> None:
    interfaces = list(_interfaces(section))
    networks = list(_networks(section))
    users = list(_users(section))
    section.rest_is_lost(_NO_SUCH)
    for what, found in (("iface", interfaces), ("range", networks), ("allow", users)):
        if not found and not section.items(what):
            section.wrong((), f"endpoint {shown(name)} has no '{what}'", f"write '{what}: […]'")
    read.interfaces |= dict.fromkeys(interfaces)
    read.users |= dict.fromkeys(users)
    for interface in interfaces:
        for user in users:
            read.rights.setdefault((user, interface), set()).update(networks)
    to = ", ".join(Prefix.of(network).text for network in networks)
    became = f"{', '.join(users)} by {', '.join(interfaces)} to {to}; nobody else"
    section.found(Kept.READ, (), f"endpoint {name}", became)


def _interfaces(section: Section) -> Iterator[str]:
    for at, value in _listed(section, "iface"):
        if value == "lo":
            section.found(Kept.LOST, at, "iface lo", "loopback is closed by `loopback`")
        elif (name := _subject(section, at, SubjectKind.VIA, value)) is not None:
            yield name


def _networks(section: Section) -> Iterator[Network]:
    for at, value in _listed(section, "range"):
        try:
            if "%" in str(value):
                raise ValueError("an address has no zone here")
            yield ip_network(str(value), strict=True)
        except ValueError as error:
            section.wrong(at, f"{shown(value)} is no prefix ({error})", "write 10.0.0.0/8")


def _users(section: Section) -> Iterator[str]:
    for at, value in _listed(section, "allow"):
        if (user := _subject(section, at, SubjectKind.UID, value)) is not None:
            yield user


def _subject(section: Section, at: Path, kind: SubjectKind, value: object) -> str | None:
    """As the policy writes it; None when the problems say why it is none."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Wrong(f"{shown(value)} is no {kind.value}")
        return read_subject(kind, str(value))
    except Wrong as wrong:
        section.problems.wrong(section.place(at), wrong)
        return None


def _listed(section: Section, key: str) -> Iterator[tuple[Path, object]]:
    values = section.items(key)
    for index, value in enumerate(values):
        yield ((key, index) if isinstance(section.value[key], list) else (key,)), value


def _policy(read: _Read) -> str:
    closed: dict[frozenset[Network], str] = {}  # prefixes → the role that opens them alone
    subjects: dict[str, list[str]] = {}
    users = {user: name for name, user in _names("user", read.users)}
    for interface in read.interfaces:
        name = closed.setdefault(frozenset(), _CLOSED)
        subjects.setdefault(name, []).append(f"{{via: {quoted(interface)}}}")
        for user in read.users:
            networks = read.to(user, interface)
            name = closed.setdefault(networks, f"to-{len(closed)}")
            via = f"{{via: {quoted(interface)}, role: {quoted(users[user])}}}"
            subjects.setdefault(name, []).append(via)
    lines = "# Made by `dnsfw import endpoints`. Guard the interfaces that it names.\n"
    lines += "version: 1\ndefault: allow  # by interfaces that are not listed\nroles:\n"
    for user, name in users.items():
        lines += f"  {name}:\n    default: allow\n    inbound: all\n"
        lines += f"    subjects: [{{uid: {quoted(user)}}}]\n"
    for networks, name in closed.items():
        lines += _closed(name, networks, subjects.get(name, []))
    return lines


def _closed(name: str, networks: frozenset[Network], subjects: list[str]) -> str:
    lines = f"  {name}:\n    default: deny\n    subjects:\n"
    lines += "".join(f"      - {subject}\n" for subject in subjects)
    prefixes = sorted(map(Prefix.of, networks), key=lambda prefix: (prefix.addr, prefix.bits))
    if prefixes:
        lines += "    rules:\n"
        lines += "".join(f"      - allow: {quoted(prefix.text)}\n" for prefix in prefixes)
    for prefix in METADATA:
        if prefix not in prefixes and any(around.holds(prefix) for around in prefixes):
            allow = f"      - allow: {quoted(prefix.text)}"
            lines += f"{allow}  # in a range above; a metadata service, closed unless named\n"
    return lines


def _names(lead: str, users: Mapping[str, None]) -> Iterator[tuple[str, str]]:
    """A role name for each user, told apart where two would be equal."""
    taken: set[str] = set()
    for user in users:
        stem = f"{lead}-{re.sub(r'[^a-z0-9_-]', '-', user.lower())}"[:28]
        name, count = stem, 1
        while name in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name)
        yield name, user
