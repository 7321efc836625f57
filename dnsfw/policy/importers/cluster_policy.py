"""ClusterNetworkPolicy and AdminNetworkPolicy: tiers, priorities, the first rule that matches.

`domainNames` is NPEP-133: `*.x` is one label or more. dnsfw has no order but the most specific
rule, so an entry that would decide otherwise is refused with its line; one that nothing ever
reaches is left out. A last Deny of every address becomes `default: deny`.
"""

from __future__ import annotations

from dataclasses import field, replace
from ipaddress import ip_network
from itertools import pairwise

from dnsfw.model import PortRange, PortSet, Verdict
from dnsfw.policy.first_match import Entry, Fate, settle_order, trimmed
from dnsfw.policy.importers.cilium_peers import network_of
from dnsfw.policy.importers.manifests import Manifest, manifests, role_name, selector_text
from dnsfw.policy.importers.outcome import Finding, Imported, Kept, Section
from dnsfw.policy.importers.rule_lines import holds_metadata, rule_lines, said
from dnsfw.policy.pattern import Kind, Pattern, parse_pattern
from dnsfw.policy.ports import ANY, LAST_PORT, PROTOCOLS
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position, Problems, Wrong
from dnsfw.policy.syntax_yaml import Path
from dnsfw.values import dataclass

__all__ = ["FORMAT", "KINDS", "import_cluster_policy"]

FORMAT = "cluster-policy"
KINDS = ("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
_VERDICTS = {"Accept": Verdict.ALLOW, "Allow": Verdict.ALLOW, "Deny": Verdict.DENY}
_EVERY = {Prefix.of(ip_network(text)): text for text in ("0.0.0.0/0", "::/0")}
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_NO_SUCH = "dnsfw knows no such key"
_LOWEST = 1000  # the last priority of the API; a baseline comes after


@dataclass(frozen=True, slots=True)
class _Line:
    """One peer of one rule, with its place in the order."""

    entry: Entry
    section: Section
    at: Path
    source: str


@dataclass(slots=True)
class _Policy:
    """One object, before it is put in order."""

    rank: tuple[int, int]  # tier, priority
    subject: str
    name: str
    section: Section
    lines: list[_Line] = field(default_factory=list)


def import_cluster_policy(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of such manifests; None when the problems say why there is none."""
    findings: list[Finding] = []
    found: list[_Policy] = []
    for one in manifests(text, file, problems, findings):
        if one.kind not in KINDS:
            one.top.found(Kept.LOST, ("kind",), f"kind: {one.kind}", "no such policy")
            continue
        found.append(_policy(one))
    if not any(policy.lines for policy in found) and not problems.errors:
        problems.error(Position(file, 1, 1), "no policy here says anything of what leaves")
    if problems.errors:
        return None
    mine = [policy for policy in found if policy.subject == found[0].subject]
    for policy in found:
        if policy not in mine:
            why = "another subject: what selects a pod twice goes by order, over both"
            policy.section.found(Kept.LOST, ("subject",), policy.subject or "everybody", why)
    mine.sort(key=lambda policy: policy.rank)
    _same_rank(mine)
    default, entries = _ordered([line for policy in mine for line in policy.lines])
    lines = "# Made by `dnsfw import cluster-policy`.\nversion: 1\n"
    lines += _text(mine[0], default, entries)
    return Imported(FORMAT, lines, tuple(sorted(findings, key=lambda one: one.where)))


def _policy(one: Manifest) -> _Policy:
    spec = one.top.child("spec")
    one.top.note("status", "the state of a cluster")
    one.top.rest_is_lost(_NO_SUCH)
    tier = spec.text("tier")
    baseline = one.kind == "BaselineAdminNetworkPolicy" or tier == "Baseline"
    if tier not in (None, "Admin", "Baseline"):
        spec.wrong(("tier",), f"tier {tier} is neither Admin nor Baseline")
    priority = spec.number("priority", _LOWEST)
    if priority is None and one.kind != "BaselineAdminNetworkPolicy":
        spec.wrong((), f"policy {one.name} has no priority", "write priority: 0 to 1000")
    subject = spec.child("subject")
    if "subject" not in spec:
        spec.wrong((), f"policy {one.name} has no subject", "write subject: {namespaces: {}}")
    who = ", ".join(
        f"{key}: {text}" for key in ("namespaces", "pods")
        if (text := selector_text(subject.items(key))[1:-1])
    )  # fmt: skip
    subject.rest_is_lost(_NO_SUCH)
    if spec.value.get("ingress"):
        why = "what others begin: `inbound: [PORT, …]` says it"
        spec.found(Kept.LOST, ("ingress",), f"ingress: {len(spec.items('ingress'))} rules", why)
    spec.items("ingress")
    policy = _Policy((int(baseline), priority or 0), who, one.name, spec)
    for rule in spec.sections("egress"):
        policy.lines += _rule(rule)
    spec.rest_is_lost(_NO_SUCH)
    return policy


def _rule(rule: Section) -> list[_Line]:
    rule.note("name", "kept for people")
    action = rule.text("action") or ""
    verdict = _VERDICTS.get(action)
    if verdict is None:
        why = "who comes next in the cluster would decide" if action == "Pass" else "no action"
        rule.found(Kept.LOST, ("action",), f"action: {action or '(none)'}", why)
    peers = [_peers(peer) for peer in rule.sections("to")]
    if not peers:
        rule.wrong((), "a rule without 'to'", "write to: [{networks: […]}]")
    ports = _ports(rule)
    rule.rest_is_lost(_NO_SUCH)
    if verdict is None or ports is None:
        return []
    return [
        _Line(Entry(verdict, what, ports), peer, at, source)
        for (peer, found) in zip(rule.sections("to"), peers, strict=True)
        for at, what, source in found
    ]


def _peers(peer: Section) -> list[tuple[Path, Pattern | Prefix, str]]:
    found: list[tuple[Path, Pattern | Prefix, str]] = []
    for index, value in enumerate(peer.items("networks")):
        at: Path = ("networks", index)
        if (network := network_of(peer, at, value)) is not None:
            found.append((at, Prefix.of(network), f"networks {value}"))
    for index, value in enumerate(peer.items("domainNames")):
        at = ("domainNames", index)
        try:
            what = parse_pattern(str(value))
            if what.kind not in (Kind.EXACT, Kind.BELOW) or what.text == "*":
                raise Wrong("a domain name is 'x.com' or '*.x.com'")
        except Wrong as wrong:
            peer.found(Kept.LOST, at, f"domainNames {value}", wrong.message)
            continue
        found.append((at, what, f"domainNames {value}"))
    for key in peer.value:
        if key not in ("networks", "domainNames"):  # an empty selector selects everything
            text = f"{key}: {selector_text(peer.value[key]) or '{}'}"
            why = "the cluster tells who that is: dnsfw knows names and addresses"
            peer.found(Kept.LOST, (key,), text, why)
    return found


def _ports(rule: Section) -> PortSet | None:
    """Of both spellings: `ports` (v1alpha1) and `protocols` (v1alpha2)."""
    if not rule.items("ports") and not rule.items("protocols"):
        return ANY
    ports, whole = PortSet(), True
    for one in rule.sections("ports"):
        found = _old_port(one)
        ports, whole = ports.union(found or PortSet()), whole and found is not None
    for one in rule.sections("protocols"):
        found = _protocol(one)
        ports, whole = ports.union(found or PortSet()), whole and found is not None
    if not whole:
        rule.found(Kept.LOST, (), "a rule", "left out whole: its ports cannot be said")
    return ports if whole else None


def _old_port(one: Section) -> PortSet | None:
    number, span = one.child("portNumber"), one.child("portRange")
    one.rest_is_lost("a port is a number here")
    if number.value:
        port = number.number("port", LAST_PORT)
        return _made(number, number.text("protocol"), port, port)
    if span.value:
        low, high = span.number("start", LAST_PORT), span.number("end", LAST_PORT)
        return _made(span, span.text("protocol"), low, high)
    return None


def _protocol(one: Section) -> PortSet | None:
    found: list[PortSet | None] = []
    for word in ("tcp", "udp", "sctp"):
        if word not in one.value:
            continue
        inner = one.child(word)
        port = inner.child("destinationPort")
        span = port.child("range")
        number = port.number("number", LAST_PORT)
        low, high = span.number("start", LAST_PORT), span.number("end", LAST_PORT)
        inner.rest_is_lost("dnsfw judges the destination's port only")
        if not inner.value:
            found.append(PortSet((PortRange(PROTOCOLS[word]),)))
        elif set(inner.value) == {"destinationPort"}:
            low, high = (number, number) if number is not None else (low, high)
            found.append(_made(port, word.upper(), low, high))
        else:
            found.append(None)
    one.rest_is_lost("a port is a number here")
    if len(found) != 1 or found[0] is None or set(one.value) - {"tcp", "udp", "sctp"}:
        return None
    return found[0]


def _made(section: Section, word: str | None, low: int | None, high: int | None) -> PortSet | None:
    name = _PROTOCOLS.get(word or "TCP")
    if name is None or low is None or high is None or not 1 <= low <= high:
        section.found(Kept.LOST, (), f"port {low} to {high}/{word}", "no ports of a protocol")
        return None
    return PortSet((PortRange(PROTOCOLS[name], low, high),))


def _same_rank(policies: list[_Policy]) -> None:
    """Two policies of one priority: nobody says which comes first."""
    for before, after in pairwise(policies):
        if before.rank == after.rank and before.lines and after.lines:
            why = f"{before.name} has it too: nobody says which comes first"
            after.section.found(Kept.LOST, ("priority",), f"priority: {after.rank[1]}", why)


def _ordered(lines: list[_Line]) -> tuple[Verdict, list[Entry]]:
    """The default and the rules; what order alone could say is lost."""
    default, lines = _last_deny(lines)
    kept: list[Entry] = []
    entries = trimmed([one.entry for one in lines])
    lines = [replace(line, entry=entry) for line, entry in zip(lines, entries, strict=True)]
    for line, told in zip(lines, settle_order(entries), strict=True):
        first = said(lines[told.because].entry) if told.because is not None else ""
        match told.fate:
            case Fate.KEPT:
                kept.append(line.entry)
                line.section.found(Kept.READ, line.at, line.source, said(line.entry))
            case Fate.STRICTER:
                kept.append(line.entry)
                why = f"{said(line.entry)}, also for addresses of names that '{first}' names"
                line.section.found(Kept.NOTED, line.at, line.source, why)
            case Fate.NEVER:
                why = f"left out: '{first}' comes first, and nothing reaches it"
                line.section.found(Kept.NOTED, line.at, line.source, why)
            case Fate.LOST:
                why = f"'{first}' comes first; here the more specific rule would win"
                line.section.found(Kept.LOST, line.at, line.source, why)
    return default, kept


def _last_deny(lines: list[_Line]) -> tuple[Verdict, list[_Line]]:
    """A Deny of every address, with nothing but its like after it, is the default."""
    end = len(lines)
    while end and _is_rest(lines[end - 1].entry):
        end -= 1
    rest = lines[end:]
    if not rest:
        return Verdict.ALLOW, lines
    for line in rest:
        line.section.found(Kept.READ, line.at, line.source, "default: deny")
    families = {line.entry.what for line in rest}
    for prefix, text in _EVERY.items():
        if prefix not in families:
            why = f"default: deny closes {text} too, which no rule here does"
            rest[0].section.found(Kept.NOTED, rest[0].at, rest[0].source, why)
    return Verdict.DENY, lines[:end]


def _is_rest(entry: Entry) -> bool:
    return entry.what in _EVERY and entry.verdict is Verdict.DENY and not ANY.minus(entry.ports)


def _text(policy: _Policy, default: Verdict, entries: list[Entry]) -> str:
    word = "deny" if default is Verdict.DENY else "allow"
    indent, head = "", ""
    if policy.subject:
        name = role_name(policy.name, ())
        became = f"role {name}, in which nobody is yet: write its subjects"
        indent, head = "    ", f"default: allow  # whoever has no role\nroles:\n  {name}:\n"
    else:
        became = "role host: everybody who is in no other"
    who = policy.subject or "everybody"
    policy.section.found(Kept.NOTED, ("subject",), f"subject {who}", became)
    lines = f"{head}{indent}default: {word}\n"
    if indent:
        lines += f"{indent}inbound: all\n"
    _remark(policy.section, default, entries)
    return lines + (f"{indent}rules:\n{rule_lines(entries, indent + '  ')}" if entries else "")


def _remark(section: Section, default: Verdict, entries: list[Entry]) -> None:
    allowed = [one.what for one in entries if one.verdict is Verdict.ALLOW]
    broad = [what.text for what in allowed if isinstance(what, Pattern) and what.broad]
    if broad:
        why = "strangers can register such names: `broad: true`"
        section.found(Kept.NOTED, (), ", ".join(broad), why)
    inside = [what.text for what in allowed if holds_metadata(what)]
    if inside and default is Verdict.DENY:
        why = "a metadata service inside stays closed until a rule names its address"
        section.found(Kept.NOTED, (), ", ".join(inside), why)
