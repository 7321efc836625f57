"""Which connections end with an enrolment, and what who asked hears."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Addr, Grant, Nanos, PortRange, PortSet, RoleId, RuleId, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.server.enrollments import Enrollments, refused, wanted
from dnsfw.server.helper import Enrolled, HeldSocket, NoHelper

POLICY = compile_text("""\
version: 1
default: deny
roles:
  web: {default: deny, rules: [{allow: "192.0.2.1:443"}]}
  open: {default: allow, rules: [{deny: 192.0.2.2}]}
  quiet: {default: deny, mode: audit}
  strict: {default: allow, resolved_only: true}
""")
ROLES = {role.name: role for role in POLICY.roles.values()}


def held(remote: str, port: int = 443, **more: Any) -> HeldSocket:
    return HeldSocket(7, 3, 1, more.pop("proto", 6), remote, port, **more)


def nothing(role: RolePolicy, addr: Addr) -> Iterable[Grant]:
    return ()


@pytest.mark.parametrize(
    ("role", "socket", "ends"),
    [
        ("web", held("192.0.2.1"), False),
        ("web", held("192.0.2.1", 80), True),
        ("web", held("192.0.2.9"), True),
        ("web", held("2001:db8::1"), True),
        ("web", held("192.0.2.9", outgoing=False), False),
        ("web", held("", 0), False),
        ("web", held("127.0.0.1"), False),
        ("web", held("::1"), False),
        ("open", held("192.0.2.9"), False),
        ("open", held("192.0.2.2"), True),
        ("quiet", held("192.0.2.9"), False),
        ("strict", held("192.0.2.9"), True),
    ],
)
def test_a_connection_ends_where_the_role_would_not_begin_it(
    role: str, socket: HeldSocket, ends: bool
) -> None:
    assert refused(socket, ROLES[role], nothing) is ends


@pytest.mark.parametrize(
    ("role", "verdict", "port", "ends"),
    [
        ("web", Verdict.ALLOW, 443, False),
        ("web", Verdict.ALLOW, 80, True),
        ("open", Verdict.DENY, 443, True),
        ("strict", Verdict.ALLOW, 443, False),
    ],
)
def test_what_names_opened_for_the_role_counts(
    role: str, verdict: Verdict, port: int, ends: bool
) -> None:
    grant = Grant(Nanos(1), RuleId(300), PortSet((PortRange(6, port, port),)), verdict)

    assert refused(held("192.0.2.9"), ROLES[role], lambda r, a: [grant]) is ends


class Helper(NoHelper):
    """Enrols everybody at once."""

    def __init__(self, *sockets: HeldSocket) -> None:
        super().__init__("")
        self.sockets = sockets
        self.asked: list[object] = []
        self.ended: list[HeldSocket] = []

    def enroll(self, pid: int, role: RoleId, name: str, *, force: bool = False) -> Enrolled:
        self.asked.append((pid, role, name, force))
        return Enrolled("/x/dnsfw-" + name, 9, role, (pid, pid + 1), self.sockets, ("a note",))

    def unenroll(self, pid: int) -> Enrolled:
        self.asked.append(pid)
        return Enrolled("/x", 8, HOST, (pid,), self.sockets, ())

    def end_sockets(self, sockets: Sequence[HeldSocket]) -> int:
        self.ended += sockets
        return len(sockets)


def enrollments(helper: Helper, said: list[str] | None = None) -> Enrollments:
    lines = said if said is not None else []
    return Enrollments(helper, lambda: POLICY, nothing, lambda kind, text: lines.append(text))


async def test_who_asked_hears_what_became_of_it() -> None:
    keep, end = held("192.0.2.1"), held("192.0.2.9")
    helper, said = Helper(keep, end), list[str]()

    done = await enrollments(helper, said).enroll(7, "web", force=True)

    assert helper.asked == [(7, ROLES["web"].role, "web", True)] and helper.ended == [end]
    assert done.row() == {
        "role": "web", "cgroup": "/x/dnsfw-web", "pids": (7, 8), "sockets": 2, "ended": 1,
        "notes": ("a note",),
    }  # fmt: skip
    assert said == ["process 7 and 1 of its children: role web, cgroup /x/dnsfw-web"]


async def test_host_is_the_way_back() -> None:
    helper = Helper()

    done = await enrollments(helper).enroll(7, "host")

    assert helper.asked == [7] and done.role == "host"


async def test_a_role_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="no role 'jobs'; there are: host, web, open"):
        await enrollments(Helper()).enroll(7, "jobs")


async def test_a_number_is_a_role_of_the_imported_policy() -> None:
    helper = Helper()
    web = ROLES["web"].role
    numbered = replace(POLICY, numbers={3: web})
    made = Enrollments(helper, lambda: numbered, nothing, lambda kind, text: None)

    await made.enroll_number(7, 3)
    await made.enroll_number(7, "web")

    assert helper.asked == [(7, web, "web", False)] * 2
    with pytest.raises(ConfigError, match=r"no role 4; there are: 3 \(web\)"):
        await made.enroll_number(7, 4)


@pytest.mark.parametrize(
    "request_",
    [{}, {"pid": 0, "role": "web"}, {"pid": "7", "role": "web"}, {"pid": True, "role": "web"},
     {"pid": 1 << 40, "role": "web"}, {"pid": 7}, {"pid": 7, "role": 3}],
)  # fmt: skip
def test_a_request_that_is_none(request_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"--pid|--role"):
        wanted(request_)


def test_only_true_is_force() -> None:
    assert wanted({"pid": 7, "role": "web", "force": True}) == (7, "web", True)
    assert wanted({"pid": 7, "role": "web", "force": "no"}) == (7, "web", False)
