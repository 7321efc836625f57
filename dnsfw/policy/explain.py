"""Why: the verdict on a destination, the rule behind it, and the rule that lost to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dnsfw.model import (
    DEFAULT_RULE,
    Addr,
    Grant,
    Loopback,
    Mode,
    Name,
    PortSet,
    Reason,
    Verdict,
)
from dnsfw.policy.asked import Asked, parse_asked
from dnsfw.policy.policy import Access, RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.policy.prefix import MAPPED
from dnsfw.policy.rule import Judgement, Rule, Share
from dnsfw.policy.why import why_lost, why_silent
from dnsfw.values import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the policy says of the ports that were asked for, and what names have opened.

    `best` is the share to credit or blame, `runner_up` the rule that would have decided
    in its place (or that looks as if it should), `why` the reason that it did not.
    """

    asked: Asked
    role: str
    verdict: Verdict
    best: Share
    shares: tuple[Share, ...]
    runner_up: Rule | None
    why: str
    notes: tuple[str, ...]

    def noting(self, note: str) -> Explanation:
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))


def explain(role: RolePolicy, text: str) -> Explanation:
    """Explain `HOST[:PORT][/PROTO]` for a role. ConfigError when that is none."""
    return explain_asked(role, parse_asked(text))


def explain_asked(role: RolePolicy, asked: Asked, grants: Iterable[Grant] = ()) -> Explanation:
    """The same for a destination that was read before. `grants` are what names hold open, or
    closed, on the address now: a file knows of none.
    """
    if asked.is_addr:
        return _explain_addr(role, asked, Addr(asked.to), tuple(grants))
    return _explain_name(role, asked, Name(asked.to))


def _explain_name(role: RolePolicy, asked: Asked, name: Name) -> Explanation:
    shares = _within(role.judge(name).shares, asked.ports)
    judgement = Judgement.of(shares)
    best = judgement.best
    matching = [rule for rule in role.ranked(name) if rule.ports.intersect(best.ports)]
    runner = next((rule for rule in matching if rule != best.rule), None)
    why = why_lost(best, runner) if runner else ""
    if best.reason is Reason.NAME_DEFAULT:
        runner, why = _nearest(role, name, asked.ports)
    notes = _notes(role, best)
    if any(rule.refuses_all for rule in role.rules):
        notes.append("a deny of every address beats names: see dnsfw check")
    return Explanation(asked, role.name, judgement.verdict, best, shares, runner, why, tuple(notes))


def _nearest(role: RolePolicy, name: Name, ports: PortSet) -> tuple[Rule | None, str]:
    """Where no rule speaks, the one that looks most as if it did."""
    near = [(rule, why) for rule in role.rules if (why := why_silent(rule, name, ports))]
    return max(near, key=lambda found: len(_suffix(found[0])), default=(None, ""))


def _explain_addr(
    role: RolePolicy, asked: Asked, addr: Addr, grants: tuple[Grant, ...]
) -> Explanation:
    ruled = role.addr_shares(addr)
    left = KNOWN
    for share in ruled:
        left = left.minus(share.ports)
    held = () if _is_loopback(addr) else _held(role, grants, left)
    for share in held:
        left = left.minus(share.ports)
    shares = _within((*ruled, *held, *_unruled(role, addr, left)), asked.ports)
    judgement = Judgement.of(shares)
    best = judgement.best
    covering = [r for r in role.addresses.covering(addr) if r and r.ports.intersect(best.ports)]
    runner = next((rule for rule in covering if rule != best.rule), None)
    if best.rule is None and best.reason is not Reason.BUILTIN:
        others = [r for r in role.addresses.covering(addr) if r]
        runner = others[0] if others else None
    why = why_lost(best, runner) if runner else ""
    notes = _notes(role, best)
    if best.reason is Reason.NEVER_RESOLVED:
        notes.append("it opens when an allowed name resolves to it: see dnsfw grants")
    elif best.reason is Reason.DEFAULT:
        notes.append("it closes while a denied name holds it: see dnsfw grants")
    elif best.reason is Reason.LOOPBACK_OTHER:
        notes.append(
            "it reaches dnsfw, and what the role itself listens on"
            if role.access.loopback is Loopback.OWN
            else f"of loopback it reaches {role.access.loopback_text} and dnsfw"
        )
    elif best.reason is Reason.BUILTIN:
        notes.append("metadata service: only a rule for a prefix inside lifts this")
    return Explanation(asked, role.name, judgement.verdict, best, shares, runner, why, tuple(notes))


def _held(role: RolePolicy, grants: tuple[Grant, ...], left: PortSet) -> tuple[Share, ...]:
    """What names do to the ports that no address rule judges, in the kernel's order."""
    shares: list[Share] = []
    for verdict in (Verdict.DENY, Verdict.ALLOW):
        for grant in grants:
            mine = grant.ports.intersect(left)
            if grant.verdict is not verdict or not mine:
                continue
            left = left.minus(mine)
            reason = Reason.NAME_DEFAULT if grant.rule == DEFAULT_RULE else Reason.BY_NAME
            shares.append(Share(mine, verdict, role.rules_by_id.get(grant.rule), reason))
    return tuple(shares)


def _unruled(role: RolePolicy, addr: Addr, left: PortSet) -> tuple[Share, ...]:
    """What happens to the ports of an address that no address rule, no built-in and no grant
    judges.
    """
    if _is_loopback(addr):
        return _on_loopback(role.access, left)
    if role.default is Verdict.DENY or role.resolved_only:
        return (Share(left, Verdict.DENY, None, Reason.NEVER_RESOLVED),)
    return (Share(left, Verdict.ALLOW, None, Reason.DEFAULT),)


def _on_loopback(access: Access, left: PortSet) -> tuple[Share, ...]:
    """Whose listener it is only the kernel knows: `own` says no here, and a note says when."""
    open_ports = left
    if access.loopback is Loopback.OWN:
        open_ports = PortSet()
    elif access.loopback is Loopback.PORTS:
        open_ports = left.intersect(access.loopback_ports)
    return (
        Share(open_ports, Verdict.ALLOW, None, Reason.LOOPBACK),
        Share(left.minus(open_ports), Verdict.DENY, None, Reason.LOOPBACK_OTHER),
    )


def _notes(role: RolePolicy, best: Share) -> list[str]:
    notes = [best.rule.note] if best.rule and best.rule.note else []
    if role.mode is Mode.AUDIT and best.verdict is Verdict.DENY:
        notes.append("mode audit: logged, and let pass")
    return notes


def _within(shares: Iterable[Share], ports: PortSet) -> tuple[Share, ...]:
    """The shares cut to the ports that were asked for."""
    return tuple(
        share._replace(ports=mine) for share in shares if (mine := share.ports.intersect(ports))
    )


def _suffix(rule: Rule) -> bytes:
    return getattr(rule.what, "suffix", b"")


def _is_loopback(addr: Addr) -> bool:
    """127.0.0.0/8 and ::1, judged by the role's `loopback`."""
    return addr[:13] == MAPPED[:12] + b"\x7f" or addr == bytes(15) + b"\x01"
