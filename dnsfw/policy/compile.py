"""From a policy file to a compiled policy: all errors at once, or a policy with its warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath

from dnsfw.model import HOST, Mode, RuleId, Verdict, abi
from dnsfw.policy.conflicts import find_conflicts, find_warnings
from dnsfw.policy.destination import Destination, parse_destination
from dnsfw.policy.difference import diff
from dnsfw.policy.endpoints import DEFAULT_LISTEN, parse_endpoint, parse_upstream
from dnsfw.policy.files import find_policy, read_policy
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import DnsSettings, Endpoint, Policy, RolePolicy
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position, Problems, Wrong, shown
from dnsfw.policy.rule import MIN_GRACE, Rule, Ttl, rule_id
from dnsfw.policy.syntax import DnsSection, RuleSection, TtlSection
from dnsfw.policy.syntax_check import Checked, check_document
from dnsfw.policy.syntax_yaml import Document, Path, read_document

__all__ = ["compile_text", "diff", "find_policy", "load"]

HOST_NAME = "host"
METADATA_WORD = "metadata"
_VERDICTS = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}
_MODES = {"enforce": Mode.ENFORCE, "audit": Mode.AUDIT}
_LONGEST_TTL = 7 * 86400  # RFC 8767 section 4: no cache should believe a TTL beyond a week


def load(path: FilePath) -> Policy:
    """The policy in a file. PolicyError holds everything that is wrong with it."""
    return compile_text(read_policy(path), str(path))


def compile_text(text: str, file: str = "<text>") -> Policy:
    """The policy in a text; `file` is what positions call it."""
    problems = Problems()
    document = read_document(text, file, problems)
    checked = check_document(document, problems) if document else None
    if document is None or checked is None:
        problems.stop_if_any()
        raise AssertionError("a document that cannot be read has a problem")
    policy = _Compiler(document, checked, problems).policy(file)
    problems.stop_if_any()
    return policy


class _Compiler:
    """One compilation; its parts share the document, for positions, and the problems."""

    def __init__(self, document: Document, checked: Checked, problems: Problems) -> None:
        self.document = document
        self.checked = checked
        self.problems = problems
        self.ids: set[RuleId] = set()
        self.rules: list[Rule] = []
        self.metadata: Position | None = None
        self.default = _VERDICTS[checked.top.default]

    def policy(self, file: str) -> Policy:
        top = self.checked.top
        ttl = self._ttl(top.ttl, Ttl(), ("ttl",))
        for index, section in self.checked.rules:
            self._rule(section, ("rules", index), ttl)
        rules = tuple(self.rules)
        find_conflicts(rules, self.problems)
        dns = self._dns(top.dns or DnsSection())
        role = RolePolicy(
            HOST,
            HOST_NAME,
            self.default,
            rules,
            mode=_MODES[top.mode],
            resolved_only=top.resolved_only,
            metadata=self.metadata is not None,
            ttl=ttl,
        )
        self._check_lists(role)
        self._check_settings()
        find_warnings(role, self.problems)
        return Policy(
            roles={HOST: role},
            dns=dns,
            sources=(file,),
            warnings=tuple(sorted(set(self.problems.warnings))),
            degraded=top.degraded == "allow",
            containers=bool(top.host and top.host.containers),
        )

    def _rule(self, section: RuleSection, at: Path, default_ttl: Ttl) -> None:
        written = {key for key in ("allow", "deny") if getattr(section, key) is not None}
        raw = self._raw(at)
        if not written:
            if not set(raw) & {"allow", "deny"} and set(raw) <= set(RuleSection.model_fields):
                self._error(at, "a rule needs allow or deny", "write '- allow: example.com:443'")
            return
        if len(written) > 1:
            self.problems.error(
                self.document.key_place((*at, "deny")),
                "a rule says allow or deny, not both",
                "make two rules",
            )
            return
        key = written.pop()
        ttl = self._ttl(section.ttl, default_ttl, (*at, "ttl"))
        single = isinstance(raw.get(key), str)
        for index, text in enumerate(getattr(section, key)):
            path = (*at, key) if single else (*at, key, index)
            self._destination(section, key, text, at, path, ttl)

    def _destination(
        self, section: RuleSection, key: str, text: str, at: Path, path: Path, ttl: Ttl
    ) -> None:
        where = self.document.place(path)
        if text == METADATA_WORD:
            self._metadata(section, key, where)
            return
        try:
            destination = parse_destination(text)
        except Wrong as wrong:
            self.problems.wrong(where, wrong)
            return
        self._check_options(section, key, destination, at)
        self._check_name(section, key, text, destination, where)
        rule_text = f"{key} {destination.text}"
        found = rule_id(HOST_NAME, rule_text, self.ids)
        self.ids.add(found)
        self.rules.append(
            Rule(
                id=found,
                role=HOST,
                verdict=_VERDICTS[key],
                text=rule_text,
                what=destination.what,
                ports=destination.ports,
                where=where,
                ttl=ttl,
                private=bool(section.private),
                shared=section.shared or "allow",
                close=section.close,
                note=section.note or "",
            )
        )

    def _metadata(self, section: RuleSection, key: str, where: Position) -> None:
        if key == "allow":
            self.problems.error(
                where,
                "'metadata' is a word for deny only",
                "name the address: 'allow: 169.254.169.254'",
            )
            return
        for option in sorted(section.model_fields_set - {key, "note"}):
            self.problems.error(where, f"'{option}' says nothing about metadata", "take it out")
        self.metadata = where
        if self.default is Verdict.DENY:
            self.problems.warn(where, "'deny: metadata' changes nothing under default: deny")

    def _check_options(
        self, section: RuleSection, key: str, destination: Destination, at: Path
    ) -> None:
        """Options that say nothing here are mistakes, not decoration."""
        address = isinstance(destination.what, Prefix)
        for option in ("private", "ttl", "shared", "close", "broad"):
            if getattr(section, option) in (None, False):
                continue
            place = self.document.key_place((*at, option))
            if address:
                self.problems.error(
                    place, f"'{option}' says nothing about an address", "take it out"
                )
            elif option in ("private", "broad") and key == "deny":
                self.problems.error(place, f"'{option}' is for allow", "take it out")
            elif option in ("shared", "close") and key == "allow":
                self.problems.error(place, f"'{option}' is for deny", "take it out")
            elif option in ("shared", "close") and self.default is Verdict.DENY:
                self.problems.warn(place, f"'{option}' changes nothing under default: deny")
        what = destination.what
        if section.close and isinstance(what, Pattern) and what.kind is Kind.EXACT:
            place = self.document.key_place((*at, "close"))
            self.problems.warn(place, "'close' changes nothing for an exact name: it is closed")

    def _check_name(
        self, section: RuleSection, key: str, text: str, destination: Destination, where: Position
    ) -> None:
        what = destination.what
        if not isinstance(what, Pattern):
            return
        if key == "allow" and what.broad and not section.broad:
            self.problems.error(
                where,
                f"{shown(what.text)} is open to names that anybody can register",
                "name what is meant ('*.example.com'), or add 'broad: true'",
            )
        if not text.isascii():
            self.problems.warn(where, f"{shown(text)} is {what.text} on the wire")

    def _ttl(self, section: TtlSection | None, default: Ttl, at: Path) -> Ttl:
        if section is None:
            return default
        given = {k: v for k in ("min", "max", "grace") if (v := getattr(section, k)) is not None}
        ttl = replace(default, **given)
        if ttl.grace < MIN_GRACE:
            self._error((*at, "grace"), f"grace is at least {MIN_GRACE}s", "write 10s")
        if ttl.min > ttl.max:
            told = f"min ({ttl.min}s) is above max ({ttl.max}s)"
            self._error((*at, "min" if "min" in given else "max"), told, "set both")
        if ttl.max < 1:
            self._error((*at, "max"), "max is at least 1s", "write 1h")
        for key, value in given.items():
            if value > _LONGEST_TTL:
                self._error((*at, key), f"{key} is longer than a week", "write 7d at most")
        return ttl

    def _dns(self, section: DnsSection) -> DnsSettings:
        listen: list[Endpoint] = []
        for index, text in enumerate(section.listen or [DEFAULT_LISTEN]):
            try:
                endpoint = parse_endpoint(text)
            except Wrong as wrong:
                self.problems.wrong(self.document.place(("dns", "listen", index)), wrong)
                continue
            if endpoint in listen:
                self._error(("dns", "listen", index), f"{shown(text)} stands twice", "take one out")
            listen.append(endpoint)
        upstreams: list[Endpoint | None] = []
        for index, text in enumerate(section.upstreams or ["system"]):
            at: Path = ("dns", "upstreams", index)
            try:
                upstream = parse_upstream(text)
            except Wrong as wrong:
                self.problems.wrong(self.document.place(at), wrong)
                continue
            if upstream in upstreams:
                self._error(at, f"{shown(text)} stands twice", "take one out")
            if upstream is not None and upstream in listen:
                self._error(at, f"{shown(text)} is where dnsfw listens", "name another server")
            upstreams.append(upstream)
        if section.takeover:
            told = "takeover is not supported by this version"
            self._error(("dns", "takeover"), told, "point /etc/resolv.conf at dns.listen")
        return DnsSettings(
            tuple(listen), tuple(upstreams), section.refuse, section.takeover, section.private
        )

    def _check_lists(self, role: RolePolicy) -> None:
        """The kernel reads one list for an address: it has a length."""
        for prefix, rules in role.addresses.too_long:
            last = max(rules, key=lambda rule: rule.where)
            self.problems.error(
                last.where,
                f"{len(rules)} address rules cover {prefix.text}, "
                f"{int(abi.Limit.FIXED_ENTRIES)} fit",
                "join their ports into fewer rules",
            )
        if len(role.addresses.entries) > abi.Limit.MAX_FIXED:
            told = f"more than {int(abi.Limit.MAX_FIXED)} prefixes"
            self._error(("rules",), told, "join neighbours")
        if len(role.rules) > abi.Limit.MAX_RULES - abi.RuleId.FIRST:
            self._error(("rules",), f"more than {int(abi.Limit.MAX_RULES)} rules", "use wildcards")

    def _check_settings(self) -> None:
        top = self.checked.top
        if top.resolved_only and self.default is Verdict.DENY:
            place = self.document.key_place(("resolved_only",))
            self.problems.warn(place, "'resolved_only' changes nothing under default: deny")
        if top.dns and top.dns.private == "deny" and self.default is Verdict.DENY:
            place = self.document.key_place(("dns", "private"))
            self.problems.warn(place, "'dns.private' changes nothing under default: deny")

    def _raw(self, at: Path) -> dict[str, object]:
        value: object = self.document.value
        for part in at:
            value = value[part]  # type: ignore[index]
        return value if isinstance(value, dict) else {}

    def _error(self, at: Path, message: str, remedy: str = "") -> None:
        self.problems.error(self.document.place(at), message, remedy)
