"""Which live flows the policy of now would not have let begin (promise 4)."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.engine.filter import Site, needs_leave, pieces_for
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.ranges import is_loopback
from dnsfw.model import (
    DEFAULT_RULE,
    Addr,
    Flow,
    Inbound,
    Lockdown,
    Mode,
    Reason,
    RoleId,
    RolePlan,
    Verdict,
)
from dnsfw.policy.policy import Policy

_TCP = 6
# Not begun by a name or an address: nothing to judge again.
_EXEMPT = frozenset({Reason.OWN_SOCKET, Reason.UPKEEP, Reason.LISTENER, Reason.LOOPBACK})


def sort_out(
    flows: Iterable[Flow], policy: Policy, ledger: Ledger, site: Site, lockdown: Lockdown
) -> tuple[list[Flow], set[tuple[RoleId, Addr]]]:
    """The flows to end, and the places that the others stand on."""
    known: dict[tuple[object, ...], bool] = {}  # many flows lead to one place
    in_use: set[tuple[RoleId, Addr]] = set()
    cut: list[Flow] = []
    for flow in flows:
        where = (flow.role, flow.rule, flow.inbound, flow.reason, flow.remote)
        key = (*where, flow.proto, flow.local_port if flow.inbound else flow.remote_port)
        if key not in known:
            known[key] = stays(flow, policy, ledger, site, lockdown)
        if known[key]:
            in_use.add((flow.role, flow.remote))
        else:
            cut.append(flow)
    return cut, in_use


def stays(flow: Flow, policy: Policy, ledger: Ledger, site: Site, lockdown: Lockdown) -> bool:
    """Whether a flow may go on, judged in the order of DESIGN.md, section 4."""
    if is_loopback(flow.remote) or flow.reason in _EXEMPT:
        return True
    if lockdown is not Lockdown.OFF:
        return flow.inbound and lockdown is not Lockdown.HARD
    role = policy.roles.get(flow.role)
    if role is None or role.mode is Mode.AUDIT:
        return role is not None
    if flow.inbound:
        return accepts(role.plan(), flow.proto, flow.local_port)
    fixed = role.judge_addr(flow.remote, flow.proto, flow.remote_port)
    if fixed is not None:
        return fixed.verdict is Verdict.ALLOW
    for grant in ledger.written(flow.role, flow.remote):
        if grant.verdict is Verdict.DENY and grant.ports.covers(flow.proto, flow.remote_port):
            return False
    names = list(ledger.names(flow.role, flow.remote))
    if names:
        leave = needs_leave(flow.remote, role, site)
        return any(
            piece.verdict is Verdict.ALLOW and piece.ports.covers(flow.proto, flow.remote_port)
            for name, chain in names
            for piece in pieces_for(name, chain, role, leave=leave)
        )
    if flow.rule == DEFAULT_RULE:
        return role.default is Verdict.ALLOW and not role.resolved_only
    # Its names are forgotten: the rule alone speaks for it.
    rule = role.rules_by_id.get(flow.rule)
    return rule is not None and rule.verdict is Verdict.ALLOW


def accepts(plan: RolePlan, proto: int, port: int) -> bool:
    """Whether a role's `inbound` lets a conversation begin from outside, as the kernel does."""
    match plan.inbound:
        case Inbound.ALL:
            return True
        case Inbound.TCP:
            return proto == _TCP
        case Inbound.PORTS:
            return plan.inbound_ports.covers(proto, port)
    return False
