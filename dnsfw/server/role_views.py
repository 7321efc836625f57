"""The roles as `status` shows them: what each may, who has it, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dnsfw.datapath import abi
from dnsfw.model import HOST, Inbound, Loopback, PortSet, Subject, SubjectKind
from dnsfw.policy.policy import RolePolicy
from dnsfw.server.answer_views import by_role
from dnsfw.server.kernel import Hook

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["role_rows", "subject_text"]

_NOTHING = abi.Counter(0, 0, 0, 0)
_NO_ANSWERS = abi.RoleAnswers(0, 0, 0)
_REFUSED = "refused"  # the kinds of the engine's notes that a role's row counts
_AUDITED = "audited"
_GUEST = "guest_"  # what the hooks on a guest's device are called


def role_rows(daemon: Daemon, flows: Mapping[int, int]) -> list[dict[str, Any]]:
    """One row a role, `host` first, then in the order of the file."""
    counters, counts = daemon.kernel.sink.role_counters(), daemon.reporter.counts
    engine, policy, hooks = daemon.service.engine, daemon.reloader.policy, daemon.kernel.hooks()
    by_kernel = by_role(daemon.kernel)
    rows = []
    for number, role in policy.roles.items():
        mine = [s for s in policy.subjects if s.role == number]
        counter = counters.get(number, _NOTHING)
        said = by_kernel.get(number, _NO_ANSWERS)
        rows.append({
            "name": role.name,
            "id": int(number),
            "mode": role.mode.name.lower(),
            "default": role.default.name.lower(),
            "resolved_only": role.resolved_only,
            "takeover": role.takeover,
            "inbound": _word(role.access.inbound, role.access.inbound_ports),
            "loopback": _word(role.access.loopback, role.access.loopback_ports),
            "subjects": [subject_text(subject) for subject in mine],
            "hooks": list(_places(role, mine, hooks)),
            "queries": engine.asked(number) + said.answered + said.refused,
            "refused": counts[number, _REFUSED] + said.refused,
            "by_kernel": {"answered": said.answered, "refused": said.refused},
            "audited": counts[number, _AUDITED],
            "dropped": daemon.service.rates.dropped[number],
            "grants": engine.held(number),
            "flows": flows.get(number, 0),
            "packets": {
                "allowed": counter.allowed,
                "denied": counter.denied,
                "audited": counter.audited,
            },
        })  # fmt: skip
    return rows


def subject_text(subject: Subject) -> str:
    """A subject in a word and its value, as in `cgroup /system.slice/x.service`."""
    text = f"{subject.kind.value} {subject.value}"
    if subject.interface:
        text += f" on {subject.interface}"
    return text


def _places(role: RolePolicy, subjects: list[Subject], hooks: tuple[Hook, ...]) -> Iterator[str]:
    """Where packets of the role are judged: its guests' own devices, and for its sockets every
    guarded cgroup and device.
    """
    guests = {s.value if s.kind is SubjectKind.INTERFACE else s.interface for s in subjects}
    forwarded = {SubjectKind.INTERFACE, SubjectKind.SOURCE}
    sockets = role.role == HOST or any(s.kind not in forwarded for s in subjects)
    behind = any(s.kind is SubjectKind.SOURCE and not s.interface for s in subjects)
    seen: set[str] = set()
    for hook in hooks:
        # A device's hooks say which way: `eth0 egress`.
        where = hook.where if hook.how == "cgroup" else hook.where.partition(" ")[0]
        if hook.name.startswith(_GUEST):
            mine = where in guests
        else:
            mine = sockets or (behind and hook.how != "cgroup")
        if mine and where not in seen:
            seen.add(where)
            yield where


def _word(what: Inbound | Loopback, ports: PortSet) -> str:
    if what not in {Inbound.PORTS, Loopback.PORTS}:
        return what.name.lower()
    texts = [str(r.low) if r.low == r.high else f"{r.low}-{r.high}" for r in ports.ranges]
    return ",".join(dict.fromkeys(texts))
