"""Which role a process or a packet has, and why: the order that the kernel keeps, here for
`explain`, for tests, and for whoever must know it without a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from dnsfw.model import HOST, NO_ROLE, RoleId, Subject, SubjectKind
from dnsfw.values import dataclass

ORDER = (
    "enrolled",
    "deepest cgroup",
    "executable",
    "uid",
    "gid",
    "longest source prefix",
    "interface",
    "host",
)
_RANKS = {
    kind: rank
    for rank, kind in enumerate(
        (
            SubjectKind.CGROUP,
            SubjectKind.EXECUTABLE,
            SubjectKind.UID,
            SubjectKind.GID,
            SubjectKind.SOURCE,
            SubjectKind.INTERFACE,
        )
    )
}
_SLICE = ".slice"


@dataclass(frozen=True, slots=True)
class Process:
    """What the host knows of a process; names may be missing, numbers never are."""

    cgroup: str
    uid: int
    gid: int
    executable: str = ""  # as the policy names it: the reader compares inodes
    user: str = ""
    group: str = ""
    enrolled: RoleId = NO_ROLE  # by hand: its cgroup lies in one of a role
    via: str = ""  # the interface that it sends by


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that is forwarded, or that a guest sends: no process of this host is behind it."""

    source: IPv4Address | IPv6Address
    interface: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """The role, the subject that decided (None: enrolled, or nothing fits), and the subjects
    that fit as well but lost, best first.
    """

    role: RoleId
    by: Subject | None
    lost: tuple[Subject, ...] = ()
    enrolled: bool = False


def role_of(subjects: Iterable[Subject], facts: Process | Packet) -> Assignment:
    """Decide by DESIGN's order: enrolled > deepest cgroup > executable > uid > gid > longest
    source prefix > interface > `host`. A `via` judges what the role so found sends by that
    interface.
    """
    listed = tuple(subjects)
    fitting = sorted(
        (subject for subject in listed if _fits(subject, facts)),
        key=lambda subject: _rank(subject, facts),
    )
    if isinstance(facts, Process) and facts.enrolled != NO_ROLE:
        found = Assignment(facts.enrolled, None, tuple(fitting), enrolled=True)
    elif fitting:
        found = Assignment(fitting[0].role, fitting[0], tuple(fitting[1:]))
    else:
        found = Assignment(HOST, None)
    return _by_interface(listed, facts, found)


def why_lost(winner: Assignment, loser: Subject) -> str:
    """Why a subject that fits did not decide: one clause."""
    if winner.by is None:
        return "enrolling by hand comes first"
    won, lost = winner.by.kind, loser.kind
    if won is SubjectKind.VIA:
        return f"what it sends by {winner.by.value} is judged so"
    if won is not lost:
        return f"{_article(won)} comes before {_article(lost)}"
    if won is SubjectKind.CGROUP:
        return "the deeper cgroup wins"
    if won is not SubjectKind.SOURCE:
        return "they name the same, and the first counts"
    if winner.by.interface and not loser.interface:
        return "a source that names its interface comes first"
    return "the longer prefix wins"


def inside(cgroup: str, value: str) -> int | None:
    """How deep the subject's cgroup lies, when `cgroup` is it or below it.

    A unit is one of the system's manager: everything above it is a slice. A user's own unit
    of the same name is not it.
    """
    parts = [part for part in cgroup.split("/") if part]
    if value.startswith("/"):
        wanted = [part for part in value.split("/") if part]
        return len(wanted) if parts[: len(wanted)] == wanted else None
    for depth, part in enumerate(parts, start=1):
        if part == value:
            return depth
        if not part.endswith(_SLICE):
            return None
    return None


def _fits(subject: Subject, facts: Process | Packet) -> bool:
    if isinstance(facts, Packet):
        return _fits_packet(subject, facts)
    match subject.kind:
        case SubjectKind.CGROUP:
            return inside(facts.cgroup, subject.value) is not None
        case SubjectKind.EXECUTABLE:
            return subject.value == facts.executable
        case SubjectKind.UID:
            return subject.value in (str(facts.uid), facts.user)
        case SubjectKind.GID:
            return subject.value in (str(facts.gid), facts.group)
        case _:
            return False


def _fits_packet(subject: Subject, facts: Packet) -> bool:
    if subject.kind is SubjectKind.INTERFACE:
        return subject.value == facts.interface
    if subject.kind is not SubjectKind.SOURCE:
        return False
    net = _network(subject.value)
    return (
        net.version == facts.source.version
        and facts.source in net
        and subject.interface in ("", facts.interface)
    )


def _rank(subject: Subject, facts: Process | Packet) -> tuple[int, bool, int]:
    """Best first. A source that names the interface is looked up before one that does not."""
    depth = 0
    if subject.kind is SubjectKind.CGROUP and isinstance(facts, Process):
        depth = inside(facts.cgroup, subject.value) or 0
    elif subject.kind is SubjectKind.SOURCE:
        depth = _network(subject.value).prefixlen
    return (_RANKS[subject.kind], not subject.interface, -depth)


def _by_interface(
    subjects: tuple[Subject, ...], facts: Process | Packet, found: Assignment
) -> Assignment:
    if isinstance(facts, Packet) or not facts.via:
        return found
    for subject in subjects:
        if (
            subject.kind is SubjectKind.VIA
            and subject.value == facts.via
            and subject.base == found.role
        ):
            lost = ((found.by,) if found.by else ()) + found.lost
            return Assignment(subject.role, subject, lost, enrolled=found.enrolled)
    return found


def _article(kind: SubjectKind) -> str:
    return f"an {kind.value}" if kind.value[0] in "ei" else f"a {kind.value}"


@lru_cache(maxsize=4096)  # as many as the kernel's table holds
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)
