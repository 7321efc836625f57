"""What a change of policy means for names that hold addresses, remembered or folded away."""

from __future__ import annotations

from dnsfw.engine.filter import Site, needs_leave, pieces_for, pieces_of
from dnsfw.engine.ledger import Judge
from dnsfw.engine.places import Chain
from dnsfw.engine.slots import Piece
from dnsfw.model import DEFAULT_RULE, Addr, Name, RoleId, RuleId, Verdict
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.rule import Judgement


def judging(policy: Policy, site: Site) -> Judge:
    """Judges held names by a policy, each question once: names hold many addresses."""
    known: dict[tuple[RoleId, Name, Chain, bool], tuple[Piece, ...]] = {}
    # By judgement (kept, so that its id stays its own): a wildcard has one for all its names.
    alike: dict[tuple[RoleId, int, bool], tuple[Judgement, tuple[Piece, ...]]] = {}

    def judge(role: RoleId, addr: Addr, name: Name, chain: Chain) -> tuple[Piece, ...]:
        rules = policy.roles.get(role)
        if rules is None:
            return ()
        leave = needs_leave(addr, rules, site)
        if not chain:
            said = rules.judge(name)
            if (same := alike.get((role, id(said), leave))) is None:
                same = said, pieces_of(said.shares, rules, leave=leave)
                alike[role, id(said), leave] = same
            return same[1]
        key = (role, name, chain, leave)
        if (found := known.get(key)) is None:
            found = known[key] = pieces_for(name, chain, rules, leave=leave)
        return found

    return judge


def lives(policy: Policy, role: RoleId, piece: Piece) -> bool:
    """Whether a piece's rule is in the policy and says the same."""
    rules = policy.roles.get(role)
    if rules is None:
        return False
    if piece.rule == DEFAULT_RULE:
        return rules.default is piece.verdict
    rule = rules.rules_by_id.get(piece.rule)
    return rule is not None and rule.verdict is piece.verdict


def _says(role: RolePolicy) -> list[tuple[RuleId, bytes]]:
    """What its lists say: a list that has grown has the rule that it had."""
    return [(names.rule.id, names.table.seal) for names in role.lists]


def only_looser(old: Policy, new: Policy, role: RoleId) -> bool:
    """Whether a reload can have closed no name: nothing allowed went, nothing denied came."""
    before, after = old.roles.get(role), new.roles.get(role)
    if before is None or after is None or before.default is not after.default:
        return False
    if old.dns.private != new.dns.private or _says(before) != _says(after):
        return False
    kept = before.rules_by_id.keys() & after.rules_by_id.keys()
    if any(before.rules_by_id[i].private != after.rules_by_id[i].private for i in kept):
        return False
    gone = any(r.verdict is Verdict.ALLOW for r in before.rules_by_id.values() if r.id not in kept)
    came = any(r.verdict is Verdict.DENY for r in after.rules_by_id.values() if r.id not in kept)
    return not (gone or came)
