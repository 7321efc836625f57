"""The JSON block list of names and addresses: `blocked_domains`, `blocked_ips`, `lockdown_mode`.

Everything that it does not name stays open, so it becomes `default: allow` with deny
rules. `lockdown_mode` becomes `default: deny` without an allow rule, so that a file that
is put in force directly (`dnsfw up --policy policy.json`, `dnsfw reload`) locks the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from ipaddress import IPv4Address, ip_address, ip_network

from dnsfw.policy.importers.outcome import Imported, Kept, Section, comment, quoted
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.pattern import Kind, parse_pattern
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Problems, Wrong, shown
from dnsfw.values import dataclass

__all__ = ["FORMAT", "KEYS", "import_blocklist"]

FORMAT = "blocklist"
KEYS = ("blocked_domains", "blocked_ips", "lockdown_mode")
# The old tool wanted no resolv.conf changed; a name that is looked up past dnsfw is not refused.
_TAKEOVER = "dns:\n  takeover: true  # names are judged whichever server is asked\n"
_Entry = tuple[str, str, bool]  # destination, comment, whether it is a name
_NO_SUCH = "dnsfw knows no such key of a block list"


@dataclass(slots=True)
class _Rules:
    """The deny rules in the file's order, each once."""

    lines: dict[str, str] = field(default_factory=dict)  # destination → its line of YAML
    names: bool = False  # some of them are names

    def add(self, text: str, note: str) -> bool:
        if text in self.lines:
            return False
        self.lines[text] = f"  - deny: {quoted(text)}{note}\n"
        return True


def import_blocklist(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of a block list; None when the problems say why there is none."""
    document = read_json(text, file, problems)
    if document is None:
        return None
    top = Section(document, (), problems, [])
    rules = _Rules()
    revision = top.number("revision")
    if revision is not None:
        top.found(Kept.READ, ("revision",), f"revision: {revision}", f"revision: {revision}")
    locked = bool(top.flag("lockdown_mode"))
    if locked:
        became = "default: deny, inbound: tcp: nothing leaves but replies to accepted TCP"
        top.found(Kept.READ, ("lockdown_mode",), "lockdown_mode: true", became)
    for key, what in (("blocked_domains", _name), ("blocked_ips", _address)):
        _take(top, key, what, rules)
    top.rest_is_lost(_NO_SUCH)
    if rules.names:
        why = "dns.takeover: whichever server is asked; public encrypted resolvers are closed"
        top.found(Kept.NOTED, ("blocked_domains",), "blocked_domains, refused in DNS", why)
    findings = tuple(sorted(top.findings, key=lambda found: found.where))
    return Imported(FORMAT, _policy(rules, revision, locked), findings, revision)


def _take(top: Section, key: str, what: Callable[[str], _Entry], rules: _Rules) -> None:
    for index, value in enumerate(top.items(key)):
        at = (key, index) if isinstance(top.value[key], list) else (key,)
        if not isinstance(value, str):
            top.wrong(at, f"{shown(value)} in '{key}' is no text", 'write it in quotes: "…"')
            continue
        try:
            text, note, named = what(value.strip())
        except Wrong as wrong:
            top.found(Kept.LOST, at, f"{key} {quoted(value)}", _said(wrong))
            continue
        new = rules.add(text, note)
        rules.names |= named
        became = f"deny: {quoted(text)}" if new else "the same as an entry above"
        top.found(Kept.READ, at, f"{key} {quoted(value)}", became)


def _name(text: str) -> _Entry:
    """The destination of a blocked name. Some lists have addresses among their names."""
    try:
        return _address(text)
    except Wrong:
        pattern = parse_pattern(text)
    if pattern.kind is Kind.EXACT:
        return pattern.text, "", True
    note = "  # `close: asked` would close the addresses of names below it too"
    return pattern.text, note, True


def _address(text: str) -> _Entry:
    """The destination of a blocked address or prefix: every protocol and port of it."""
    try:
        network = ip_network(text.strip("[]") if "/" not in text else text, strict=True)
        mapped = getattr(ip_address(network.network_address), "ipv4_mapped", None)
    except ValueError as error:
        raise Wrong(f"{shown(text)} is no address ({error})", "write 192.0.2.1") from None
    if isinstance(mapped, IPv4Address) and network.prefixlen >= 96:
        network = ip_network((mapped, network.prefixlen - 96))  # the kernel judges it as IPv4
    if getattr(network.network_address, "scope_id", None) is not None:
        raise Wrong(f"{shown(text)}: an address has no zone here", "leave the % part out")
    return Prefix.of(network).text, "", False


def _said(wrong: Wrong) -> str:
    return f"{wrong.message}; {wrong.remedy}" if wrong.remedy else wrong.message


def _policy(rules: _Rules, revision: int | None, locked: bool) -> str:
    lines = "# Made by `dnsfw import blocklist`.\nversion: 1\n"
    if revision is not None:
        lines += f"revision: {revision}  # only grows: dnsfw refuses to go back\n"
    if locked:
        lines += comment("lockdown_mode: true. For `false` write `default: allow` alone.")
        lines += "default: deny\ninbound: tcp\n"
    else:
        lines += "default: allow\n"
    if rules.lines:
        lines += "rules:\n" + "".join(rules.lines.values())
    return lines + (_TAKEOVER if rules.names else "")
