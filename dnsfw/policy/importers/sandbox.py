"""The JSON of agent sandboxes: `allowedDomains` and `deniedDomains`, alone or under `network`.

What is not allowed is refused, and what is denied is refused whatever allows it. Their proxies
carry TCP, so an allowed domain is open for TCP alone; with a port, for that port.
"""

from __future__ import annotations

from dnsfw.model import Verdict
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.first_match import Entry, Fate, settle_order, trimmed
from dnsfw.policy.importers.outcome import Imported, Kept, Section
from dnsfw.policy.importers.rule_lines import rule_lines, said
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.ports import ANY, PROTOCOLS
from dnsfw.policy.problems import Problems, Wrong
from dnsfw.policy.syntax_yaml import Path

__all__ = ["FORMAT", "KEYS", "import_sandbox"]

FORMAT = "sandbox"
KEYS = ("allowedDomains", "deniedDomains")
_ELSEWHERE = "no matter of the network: dnsfw leaves it to the sandbox"
_NOTED = {
    "allowUnixSockets": _ELSEWHERE,
    "allowAllUnixSockets": _ELSEWHERE,
    "allowMachLookup": _ELSEWHERE,
    "httpProxyPort": "dnsfw needs no proxy",
    "socksProxyPort": "dnsfw needs no proxy",
    "allowLocalBinding": "what may be bound and reached on loopback: `inbound`, `loopback`",
    "strictAllowlist": "it is so always: nobody is asked",
    "allowManagedDomainsOnly": "it is so always: one file is the policy",
}
_Line = tuple[Entry, Section, Path, str]


def import_sandbox(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of such a file; None when the problems say why there is none."""
    document = read_json(text, file, problems)
    if document is None:
        return None
    top = Section(document, (), problems, [])
    network = _network(top)
    lines = [*_read(network, "deniedDomains", Verdict.DENY)]
    lines += _read(network, "allowedDomains", Verdict.ALLOW)
    if "allowedDomains" not in network:
        why = "whether the rest is open is not said; write \"allowedDomains\": []"
        network.found(Kept.LOST, (), "no allowedDomains", why)
    for key, why in _NOTED.items():
        network.note(key, why)
    network.rest_is_lost("dnsfw knows allowedDomains and deniedDomains only")
    if problems.errors:
        return None
    kept = _ordered(lines)
    broad = [e.what.text for e in kept if e.verdict is Verdict.ALLOW and _is_broad(e)]
    if broad:
        why = "strangers can register such names: `broad: true`"
        network.found(Kept.NOTED, ("allowedDomains",), ", ".join(broad), why)
    made = "# Made by `dnsfw import sandbox`.\nversion: 1\ndefault: deny\n"
    made += f"rules:\n{rule_lines(kept)}" if kept else ""
    findings = tuple(sorted(top.findings, key=lambda found: found.where))
    return Imported(FORMAT, made, findings)


def _is_broad(entry: Entry) -> bool:
    return isinstance(entry.what, Pattern) and entry.what.broad


def _network(top: Section) -> Section:
    """Where the domains stand: at the top, in `network`, or in `sandbox.network`."""
    section = top
    for key in ("sandbox", "network"):
        if key in section and not any(word in section for word in KEYS):
            inner = section.child(key)
            for other in section.value:
                if other != key:
                    section.note(other, _ELSEWHERE)
            section = inner
    return section


def _read(network: Section, key: str, verdict: Verdict) -> list[_Line]:
    found: list[_Line] = []
    listed = isinstance(network.value.get(key), list)
    for index, value in enumerate(network.items(key)):
        at: Path = (key, index) if listed else (key,)
        source = f"{key} {value}"
        try:
            entries = _entries(str(value), verdict)
        except Wrong as wrong:
            tail = f"; {wrong.remedy}" if wrong.remedy else ""
            network.found(Kept.LOST, at, source, wrong.message + tail)
            continue
        found += [(entry, network, at, source) for entry in entries]
    return found


def _entries(text: str, verdict: Verdict) -> list[Entry]:
    """One domain as an entry. Raises Wrong."""
    found = parse_destination(text)
    what, ports = found.what, found.ports
    if isinstance(what, Pattern) and what.kind not in (Kind.EXACT, Kind.BELOW):
        raise Wrong(f"{what.text} is neither a name nor '*.example.com'")
    if "/" in text:
        raise Wrong("a domain has no protocol and no length there")
    if verdict is Verdict.ALLOW or ports != ANY:
        ports = type(ports).of(r for r in ports.ranges if r.proto == PROTOCOLS["tcp"])
    return [Entry(verdict, what, ports)]


def _ordered(lines: list[_Line]) -> list[Entry]:
    """What stays when the most specific rule wins, and not always the denial."""
    # A proxy judges what it is asked for, a name or an address: neither speaks for the other.
    names = [line for line in lines if isinstance(line[0].what, Pattern)]
    rest = [line for line in lines if not isinstance(line[0].what, Pattern)]
    return _settled(names) + _settled(rest)


def _settled(lines: list[_Line]) -> list[Entry]:
    kept: list[Entry] = []
    entries = trimmed([line[0] for line in lines])
    order = zip(lines, entries, settle_order(entries), strict=True)
    for (_, section, at, source), entry, told in order:
        first = said(lines[told.because][0]) if told.because is not None else ""
        if told.fate is Fate.KEPT:
            kept.append(entry)
            section.found(Kept.READ, at, source, said(entry))
        elif told.fate is Fate.NEVER:
            section.found(Kept.NOTED, at, source, f"left out: '{first}' beats it")
        else:
            why = f"'{first}' beats it there; here the more specific rule would win"
            section.found(Kept.LOST, at, source, why)
    return kept
