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


class FlowCheck:
    """One walk over all flows, a few at a time where there are many: a table of 100,000 takes
    most of a second, and answers must not wait for it.
    """

    __slots__ = ("_judged_by", "_known", "in_use", "last")

    def __init__(self, *, last: bool = True) -> None:
        self.in_use: set[tuple[RoleId, Addr]] = set()  # places that flows stand on
        self.last = last  # no more flows are to come
        self._judged_by: tuple[Policy, Site, Lockdown] | None = None
        self._known: dict[tuple[object, ...], bool] = {}  # many flows lead to one place

    def sort(
        self, flows: Iterable[Flow], policy: Policy, ledger: Ledger, site: Site, lockdown: Lockdown
    ) -> list[Flow]:
        """The flows to end; the ledger keeps the names of the others. Who changes the policy
        in the middle of a walk walks anew.
        """
        if self._judged_by is None or any(
            a is not b for a, b in zip(self._judged_by, (policy, site, lockdown), strict=True)
        ):
            self._judged_by, self._known = (policy, site, lockdown), {}
        known, cut = self._known, []
        for flow in flows:
            where = (flow.role, flow.rule, flow.inbound, flow.reason, flow.remote)
            key = (*where, flow.proto, flow.local_port if flow.inbound else flow.remote_port)
            if key not in known:
                known[key] = stays(flow, policy, ledger, site, lockdown)
            if known[key]:
                self.in_use.add((flow.role, flow.remote))
            else:
                cut.append(flow)
        if self.last:
            ledger.in_use(self.in_use)
        return cut


Walk = FlowCheck | None


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
