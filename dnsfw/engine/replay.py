"""What a policy says of things that were seen: the judgement of explain, test and the DNS path.

Every role is judged as if it enforced: `mode: audit` would let all of it pass, and nobody
asks for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace

from dnsfw.engine.explain import explain_for
from dnsfw.engine.rehearsal import open_ports, rehearse
from dnsfw.model import (
    DEFAULT_RULE,
    Addr,
    Grant,
    Mode,
    Name,
    Nanos,
    PortSet,
    Verdict,
    addr_text,
)
from dnsfw.policy.explain import Explanation
from dnsfw.policy.explained import reason_word
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.policy.rule import Rule
from dnsfw.policy.seen import Seen
from dnsfw.values import dataclass

__all__ = ["Judge", "Outcome"]

_LATER = Nanos(1 << 62)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of it, and because of what; `open` says for each of its addresses (once,
    where none is known) which of the ports that were wanted are open.
    """

    verdict: Verdict
    open: tuple[PortSet, ...]
    rule: Rule | None
    reason: str

    @property
    def ports(self) -> PortSet:
        """Of any of its addresses."""
        found = PortSet()
        for ports in self.open:
            found = found.union(ports)
        return found


class Judge:
    """A policy, asked about many things; what it said of one it says again at once."""

    def __init__(self, policy: Policy, role: str | None = None) -> None:
        """`role` judges everything, whoever it was. ConfigError when the policy has it not."""
        roles = {number: _enforcing(found) for number, found in policy.roles.items()}
        self._policy = replace(policy, roles=roles)
        self._by_name = {found.name: found for found in roles.values()}
        self._only = None if role is None else roles[policy.role_id(role)]
        self._known: dict[tuple[object, ...], Outcome] = {}

    def judge(self, seen: Seen) -> Outcome | None:
        """None for a role that the policy has not."""
        role = self._only or self._by_name.get(seen.role)
        if role is None:
            return None
        known = self._known.get(seen.key)
        if known is None:
            known = self._known[seen.key] = self._judge(seen, role)
        return known

    def _judge(self, seen: Seen, role: RolePolicy) -> Outcome:
        if seen.asked.is_addr:
            return _outcome(explain_for(role, seen.asked, _grants(role, seen.names)))
        found = explain_for(role, seen.asked)
        outcome = _outcome(found)
        if not seen.addresses or outcome.verdict is Verdict.DENY:
            return outcome
        return self._with_answer(seen, role, outcome)

    def _with_answer(self, seen: Seen, role: RolePolicy, judged: Outcome) -> Outcome:
        """Allowed when every address of the answer is told, and where a port was wanted it is
        open on every one.
        """
        name, wanted = Name(seen.asked.to), seen.asked.ports
        found = rehearse(self._policy, role.role, name, seen.chain, seen.addresses)
        ports = [open_ports(role, a, found.entries.get(a), wanted) for a in seen.addresses]
        for addr, mine in zip(seen.addresses, ports, strict=True):
            if addr not in found.told or (wanted != KNOWN and not mine):
                return _taken_out(role, seen, addr)
        return replace(judged, open=tuple(ports))


def _taken_out(role: RolePolicy, seen: Seen, addr: Addr) -> Outcome:
    """The name is allowed, its answer is not: who on the way is to blame."""
    shut = (PortSet(),) * len(seen.addresses)
    for link in seen.chain:
        said = role.judge(link)
        if not said.answered and said.rule is not None:
            return Outcome(Verdict.DENY, shut, said.rule, "chain-denied")
    for share in role.addr_shares(addr):
        if share.verdict is Verdict.DENY and share.ports.intersect(seen.asked.ports):
            return Outcome(Verdict.DENY, shut, share.rule, "address-rule")
    return Outcome(Verdict.DENY, shut, None, f"filtered: {addr_text(addr)}")


def _outcome(found: Explanation) -> Outcome:
    ports = PortSet()
    for share in found.shares:
        if share.verdict is Verdict.ALLOW:
            ports = ports.union(share.ports)
    return Outcome(found.verdict, (ports,), found.best.rule, reason_word(found.best.reason))


def _grants(role: RolePolicy, names: Iterable[Name]) -> list[Grant]:
    """What these names would hold on an address: an allowed one reopens what a denied one
    closes, unless the rule says `shared: deny`.
    """
    allowed = list(_held(role, names, Verdict.ALLOW))
    closing = list(_held(role, names, Verdict.DENY))
    if allowed:
        strict = {id_ for id_, rule in role.rules_by_id.items() if rule.shared == "deny"}
        closing = [grant for grant in closing if grant.rule in strict]
    return allowed + closing


def _held(role: RolePolicy, names: Iterable[Name], verdict: Verdict) -> Iterator[Grant]:
    for name in names:
        for share in role.judge(name).shares:
            by_default = share.rule is None
            if share.verdict is not verdict or (by_default and role.default is Verdict.ALLOW):
                continue  # what is open anyway, nobody opens
            if by_default and verdict is Verdict.DENY:
                continue
            rule = share.rule.id if share.rule is not None else DEFAULT_RULE
            yield Grant(_LATER, rule, share.ports, verdict)


def _enforcing(role: RolePolicy) -> RolePolicy:
    made = copy(role)
    made.mode = Mode.ENFORCE
    return made
