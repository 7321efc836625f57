"""The notes of the engine, one function a kind: what `watch` and the summary show."""

from __future__ import annotations

from dnsfw.engine.effects import Note
from dnsfw.engine.filter import Blocked, rule_id
from dnsfw.engine.places import Left
from dnsfw.model import DEFAULT_RULE, Addr, Name, Reason, RoleId, RuleId, Verdict
from dnsfw.policy.rule import Rule
from dnsfw.wire.codes import type_text
from dnsfw.wire.name import to_text


def refused(role: RoleId, name: Name, reason: Reason, rule: Rule | None) -> Note:
    """A query was refused."""
    return Note("refused", Verdict.DENY, reason, role, name, rule_id(rule))


def chain_refused(role: RoleId, asked: Name, by: Blocked) -> Note:
    """An answer was refused for a name that it leads to."""
    text = f"leads to {to_text(by.name)}"
    return Note("refused", Verdict.DENY, by.reason, role, asked, rule_id(by.rule), text)


def audited(
    role: RoleId, name: Name, reason: Reason, rule: Rule | None, by: Name | None = None
) -> Note:
    """A query would have been refused, were it not for `mode: audit`."""
    text = reason.name.lower().replace("_", "-")
    if by is not None:
        text += f": leads to {to_text(by)}"
    return Note("audited", Verdict.ALLOW, Reason.AUDITED, role, name, rule_id(rule), text)


def type_refused(
    role: RoleId, name: Name, rule: Rule | None, qtype: int, *, audited: bool = False
) -> Note:
    """A type of an allowed name that its `qtypes` leave out."""
    text = f"{type_text(qtype)} is not asked for: `qtypes`"
    if audited:
        return Note("audited", Verdict.ALLOW, Reason.AUDITED, role, name, rule_id(rule), text)
    return Note("refused", Verdict.DENY, Reason.QTYPE, role, name, rule_id(rule), text)


def guarded(role: RoleId, name: Name, rule: Rule | None, text: str, *, held: bool) -> Note:
    """Names below a domain say too much (`guard`); `held`: this one did not go upstream."""
    kind, verdict = ("refused", Verdict.DENY) if held else ("guarded", Verdict.ALLOW)
    return Note(kind, verdict, Reason.GUARDED, role, name, rule_id(rule), text)


def filtered(role: RoleId, name: Name, rule: Rule | None, addr: Addr, why: Reason) -> Note:
    """An address was taken out of an answer."""
    return Note("filtered", Verdict.DENY, why, role, name, rule_id(rule), addr=addr)


def left_out(role: RoleId, name: Name, rule: Rule | None, addr: Addr, why: Left) -> Note:
    """An address could not be opened, so it was not told."""
    if why is Left.CLOSED:
        kind, reason = "shared", Reason.CLOSED
    else:
        kind, reason = "table-full", Reason.TABLE_FULL
    return Note(kind, Verdict.DENY, reason, role, name, rule_id(rule), why.value, addr)


def cut_short(role: RoleId, name: Name, rule: Rule | None, count: int) -> Note:
    """An answer had more addresses than one answer may open."""
    text = f"{count} addresses over the limit of one answer"
    return Note("table-full", Verdict.DENY, Reason.TABLE_FULL, role, name, rule_id(rule), text)


def shared(
    role: RoleId, name: Name, rule: Rule | None, addr: Addr, other: Name, verdict: Verdict
) -> Note:
    """An allowed and a denied name hold one address."""
    text = f"also held by {to_text(other)}"
    return Note("shared", verdict, Reason.BY_NAME, role, name, rule_id(rule), text, addr)


def upstream_failed(role: RoleId, name: Name, upstream: int, why: str) -> Note:
    """An upstream did not answer; others, or the same again, will be asked."""
    kind, reason = "upstream-failed", Reason.BY_NOTHING
    return Note(kind, Verdict.DENY, reason, role, name, DEFAULT_RULE, why, upstream=upstream)


def not_opened(role: RoleId, name: Name, rule: RuleId, addr: Addr) -> Note:
    """The kernel refused a grant, so its answer became SERVFAIL."""
    text = "the kernel refused the grant"
    return Note("table-full", Verdict.DENY, Reason.TABLE_FULL, role, name, rule, text, addr)


def not_kept(role: RoleId, name: Name, count: int) -> Note:
    """Names with `keep` over the limit: they open when they are asked for."""
    text = f"{count} names with `keep` over the limit: they are looked up when asked for"
    return Note("table-full", Verdict.ALLOW, Reason.TABLE_FULL, role, name, DEFAULT_RULE, text)


def not_closed(role: RoleId, name: Name, rule: Rule | None, count: int) -> Note:
    """Denied names over the limit: their addresses stay open."""
    text = f"{count} denied names over the limit: their addresses are not looked up"
    return Note("table-full", Verdict.ALLOW, Reason.TABLE_FULL, role, name, rule_id(rule), text)
