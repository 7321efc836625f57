"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: what endpoints may begin.

A name is `matchName`, or a `matchPattern` in which `*` stands for any characters of one label,
none among them, and a leading `**.` for one label or more. Rules of one endpoint add up; a rule
of `egressDeny` beats them all. A prefix with `except` becomes the prefixes that are left: a
`deny` would take the addresses of allowed names too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from dnsfw.model import Verdict
from dnsfw.policy.first_match import Entry, Fate, covers, settle_order, trimmed
from dnsfw.policy.importers.cilium_peers import (
    WORLD,
    Peer,
    names_of,
    patterns_of,
    ports_of,
    prefixes_of,
)  # fmt: skip
from dnsfw.policy.importers.manifests import Manifest, manifests, role_name, selector_text
from dnsfw.policy.importers.outcome import Finding, Imported, Kept, Section
from dnsfw.policy.importers.rule_lines import holds_metadata, rule_lines, said
from dnsfw.policy.pattern import Pattern, parse_pattern
from dnsfw.policy.problems import Position, Problems, Wrong
from dnsfw.policy.syntax_yaml import Path
from dnsfw.values import dataclass

__all__ = ["FORMAT", "KINDS", "import_cilium"]

FORMAT = "cilium"
KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
_CLUSTER = ("toEndpoints", "toEntities", "toServices", "toGroups", "toNodes", "toRequires")
_IN_CLUSTER = "the cluster tells who that is: dnsfw knows names and addresses"
_PRIVATE = "a private address in an answer is taken out: `private: true` on a rule lets it in"


@dataclass(slots=True)
class _Role:
    """What all policies of one selector say together."""

    name: str  # empty: host
    selector: str
    section: Section
    default: Verdict = Verdict.ALLOW
    entries: list[tuple[Entry, Section, Path]] = field(default_factory=list)
    asked: list[list[Pattern]] = field(default_factory=list)  # what each rule of DNS lets be asked


def import_cilium(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of Cilium's manifests; None when the problems say why there is none."""
    findings: list[Finding] = []
    roles: dict[str, _Role] = {}
    for one in manifests(text, file, problems, findings):
        if one.kind not in KINDS:
            one.top.found(Kept.LOST, ("kind",), f"kind: {one.kind}", "no policy of Cilium")
            continue
        for spec in _specs(one):
            _spec(spec, one, roles)
    if not roles and not problems.errors:
        problems.error(Position(file, 1, 1), "no policy here says anything of what leaves")
    if problems.errors:
        return None
    if len(roles) > 1:
        _several(roles.values())
    lines = "# Made by `dnsfw import cilium`.\nversion: 1\n"
    host = roles.pop("", None)
    lines += _role_text(host, "") if host else "default: allow  # whoever has no role\n"
    lines += "roles:\n" if roles else ""
    for role in roles.values():
        lines += f"  {role.name}:\n" + _role_text(role, "    ")
    return Imported(FORMAT, lines, tuple(sorted(findings, key=lambda found: found.where)))


def _specs(one: Manifest) -> list[Section]:
    one.top.note("status", "the state of a cluster")
    lone = [one.top.child("spec")] if "spec" in one.top else []
    specs = [*lone, *one.top.sections("specs")]
    one.top.rest_is_lost("dnsfw knows no such key of a policy of Cilium")
    return specs


def _several(roles: Iterable[_Role]) -> None:
    """An endpoint that two selectors fit obeys both there, and has one role here."""
    why = "whom several policies select obeys them all there; a role has its own rules alone"
    for role in roles:
        denies = any(entry.verdict is Verdict.DENY for entry, _, _ in role.entries)
        kept = Kept.LOST if denies or role.default is Verdict.ALLOW else Kept.NOTED
        role.section.found(kept, (), f"selector {role.selector or '{}'}", why)


def _spec(spec: Section, one: Manifest, roles: dict[str, _Role]) -> None:
    word = "nodeSelector" if spec.items("nodeSelector") else "endpointSelector"
    selector = selector_text(spec.items(word)[0]) if spec.items(word) else ""
    if len([one for one in ("nodeSelector", "endpointSelector") if spec.items(one)]) != 1:
        spec.wrong((), "a policy has one of endpointSelector and nodeSelector", "write which")
    key = "" if word == "nodeSelector" else selector
    role = roles.get(key)
    if role is None:
        taken = {role.name for role in roles.values()}
        role = _Role(role_name(one.name, taken) if key else "", selector, spec)
    became = "role host: everybody who is in no other"
    if key:
        became = f"role {role.name}, in which nobody is yet: write its subjects"
    spec.found(Kept.NOTED, (word,), f"{word} {selector or '{}'}", became)
    spec.note("description", "kept for people")
    spec.note("labels", "kept for people")
    for what in ("ingress", "ingressDeny"):
        if spec.value.get(what):
            count = len(spec.items(what))
            why = "what others begin: `inbound: [PORT, …]` says it"
            rules = "rule" if count == 1 else "rules"
            spec.found(Kept.LOST, (what,), f"{what}: {count} {rules}", why)
        spec.items(what)
    leaves = bool(spec.value.get("egress") or spec.value.get("egressDeny"))
    if _stays_open(spec):
        leaves = True
    elif leaves:
        role.default = Verdict.DENY
    for rule in spec.sections("egress"):
        _rule(rule, Verdict.ALLOW, role)
    for rule in spec.sections("egressDeny"):
        _rule(rule, Verdict.DENY, role)
    spec.rest_is_lost("dnsfw knows no such key of a policy of Cilium")
    if leaves:
        roles[key] = role
    else:
        spec.found(Kept.NOTED, (), f"policy {one.name}", "says nothing of what leaves")


def _stays_open(spec: Section) -> bool:
    """Whether the policy leaves open what it does not name."""
    defaults = spec.child("enableDefaultDeny")
    defaults.flag("ingress")
    egress = defaults.flag("egress")
    if egress is False and spec.value.get("egress"):
        why = "its rules of egress allow where nothing is refused: nobody can tell what is meant"
        spec.found(Kept.LOST, ("enableDefaultDeny",), "enableDefaultDeny: egress=false", why)
    return egress is False


def _rule(rule: Section, verdict: Verdict, role: _Role) -> None:
    """One rule of egress; an empty one names nobody and only closes the rest."""
    if not rule.value:
        rule.found(Kept.READ, (), "an empty rule", "default: deny")
        return
    ports, about_dns = ports_of(rule)
    if about_dns and verdict is Verdict.ALLOW and not rule.value.get("toFQDNs"):
        _visibility(rule, role)
        return
    peers = _peers(rule)
    there = [key for key in ("toFQDNs", "toCIDR", "toCIDRSet", *_CLUSTER) if key in rule]
    for key in [key for key in there if key in _CLUSTER]:
        who = selector_text(rule.items(key))[1:-1]
        rule.found(Kept.LOST, (key,), f"{key} {who}", _IN_CLUSTER)
    if "toFQDNs" in there and len(there) > 1:
        rule.wrong(("toFQDNs",), f"one rule with {', '.join(there)}", "Cilium wants one for each")
    rule.rest_is_lost("dnsfw knows no such key of a rule of Cilium")
    if ports is None:
        return
    if not there:
        world = WORLD if verdict is Verdict.ALLOW else WORLD[:2]
        role.entries += [(Entry(verdict, what, ports), rule, ()) for what in world]
        rule.found(Kept.READ, (), "toPorts alone", f"every destination: {said(_last(role))}")
        return
    if verdict is Verdict.DENY and "toFQDNs" in there:
        rule.found(Kept.LOST, ("toFQDNs",), "toFQDNs", "Cilium denies no names")
        return
    for at, what, source in peers:
        role.entries.append((Entry(verdict, what, ports), rule, at))
        rule.found(Kept.READ, at, source, said(_last(role)))


def _last(role: _Role) -> Entry:
    return role.entries[-1][0]


def _peers(rule: Section) -> list[Peer]:
    return [*names_of(rule), *prefixes_of(rule)]


def _visibility(rule: Section, role: _Role) -> None:
    """A rule that lets names be asked: dnsfw is asked, and answers what other rules allow."""
    patterns: list[Pattern] = []
    for one in rule.sections("toPorts"):
        for index, dns in enumerate(one.child("rules").sections("dns")):
            for key in ("matchName", "matchPattern"):
                if (text := dns.text(key)) is None:
                    continue
                try:
                    patterns += patterns_of(text)
                except Wrong as wrong:
                    at = ("rules", "dns", index)
                    one.found(Kept.LOST, at, f"dns {key} {text}", wrong.message)
    role.asked.append(patterns or [parse_pattern("*")])
    why = "nothing: dnsfw is asked, and answers the names that a rule allows"
    rule.found(Kept.NOTED, (), "a rule about DNS", why)


def _role_text(role: _Role, indent: str) -> str:
    """The lines of a role, with what of its rules can stand under most-specific-wins."""
    _check_asked(role)
    denies = [one for one in role.entries if one[0].verdict is Verdict.DENY]
    ordered = [*denies, *(one for one in role.entries if one[0].verdict is Verdict.ALLOW)]
    kept: list[Entry] = []
    entries = trimmed([one[0] for one in ordered])
    order = zip(ordered, entries, settle_order(entries), strict=True)
    for (_, section, at), entry, told in order:
        if told.fate is Fate.KEPT:
            kept.append(entry)
            continue
        beaten = f"egressDeny beats it: {said(ordered[told.because or 0][0])}"
        if told.fate is Fate.NEVER:
            section.found(Kept.NOTED, at, said(entry), f"left out, {beaten}")
        else:
            why = f"{beaten}; here the longer prefix would win"
            section.found(Kept.LOST, at, said(entry), why)
    _remark(role, kept)
    lines = f"{indent}default: {'deny' if role.default is Verdict.DENY else 'allow'}\n"
    if indent:
        lines += f"{indent}inbound: all  # Cilium was asked about what leaves\n"
    return lines + (f"{indent}rules:\n{rule_lines(kept, indent + '  ')}" if kept else "")


def _check_asked(role: _Role) -> None:
    """A name that may be reached but not asked for was never reached."""
    asked = [pattern for patterns in role.asked for pattern in patterns]
    if not asked:
        return
    for entry, section, at in role.entries:
        if isinstance(entry.what, Pattern) and not any(covers(one, entry.what) for one in asked):
            why = "no rule of DNS lets it be asked: dnsfw would answer it"
            section.found(Kept.LOST, at, entry.what.text, why)


def _remark(role: _Role, kept: Iterable[Entry]) -> None:
    """What is stricter here than there, once a role."""
    allowed = [entry.what for entry in kept if entry.verdict is Verdict.ALLOW]
    broad = [what.text for what in allowed if isinstance(what, Pattern) and what.broad]
    inside = [what.text for what in allowed if holds_metadata(what)]
    if broad:
        why = "strangers can register such names: `broad: true`"
        role.section.found(Kept.NOTED, (), ", ".join(broad), why)
    if any(isinstance(what, Pattern) for what in allowed):
        role.section.found(Kept.NOTED, (), "answers of allowed names", _PRIVATE)
    if inside and role.default is Verdict.DENY:
        why = "a metadata service inside stays closed until a rule names its address"
        role.section.found(Kept.NOTED, (), ", ".join(dict.fromkeys(inside)), why)
