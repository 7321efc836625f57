"""The rules of one role: sections of the file to rules with ids, ports and positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dnsfw.model import PortSet, RoleId, RuleId, Verdict
from dnsfw.policy.compile_lists import list_ports, open_list
from dnsfw.policy.compile_questions import compile_guard, compile_types
from dnsfw.policy.compile_remote import Sources
from dnsfw.policy.destination import Destination, parse_destination
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position, Problems, Wrong, shown
from dnsfw.policy.questions import Guard, Types
from dnsfw.policy.resolvers import ENCRYPTED_WORD
from dnsfw.policy.rule import MIN_GRACE, ListName, Rule, Ttl, rule_id
from dnsfw.policy.syntax_rules import ListSection, RuleSection, TtlSection
from dnsfw.policy.syntax_yaml import Document, Path

METADATA_WORD = "metadata"
_WORDS = {
    METADATA_WORD: "name the address: 'allow: 169.254.169.254'",
    ENCRYPTED_WORD: "name the resolver: 'allow: dns.example.net:443'",
}
VERDICTS = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}
_FOR_ALLOW = ("private", "addresses", "keep", "broad", "qtypes", "guard")
_Asks = tuple[Types | None, Guard | None]  # what a rule says of questions
_LONGEST_TTL = 7 * 86400  # RFC 8767 section 4: no cache should believe a TTL beyond a week


class RuleCompiler:
    """Compiles the rules of one role; what is wrong goes to the problems.

    Afterwards `rules` are those of the file, and `words` has the place of each word for a
    built-in list (`deny: metadata`, `deny: encrypted-dns`).
    """

    def __init__(
        self,
        document: Document,
        problems: Problems,
        ids: set[RuleId],
        *,
        role: RoleId,
        name: str,
        default: Verdict,
        at: Path = (),
        sources: Sources | None = None,
    ) -> None:
        self.document = document
        self.problems = problems
        self.ids = ids
        self.role = role
        self.name = name
        self.default = default
        self.at = at
        self.sources = sources or Sources()
        self.rules: list[Rule] = []
        self.lists: list[NameList] = []
        self.words: dict[str, Position] = {}

    def compile(self, sections: Iterable[tuple[int, RuleSection]], ttl: Ttl) -> None:
        for index, section in sections:
            self._rule(section, (*self.at, "rules", index), ttl)

    def ttl(self, section: TtlSection | None, default: Ttl, at: Path) -> Ttl:
        """The default with what the section says instead."""
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

    def _rule(self, section: RuleSection, at: Path, default_ttl: Ttl) -> None:
        written = {key for key in ("allow", "deny") if getattr(section, key) is not None}
        keys = self.document.keys(at)
        ttl = self.ttl(section.ttl, default_ttl, (*at, "ttl"))
        asks = self._questions(section, at)
        if not written:
            if not keys & {"allow", "deny"} and keys <= set(RuleSection.model_fields):
                self._error(at, "a rule needs allow or deny", "write '- allow: example.com:443'")
            return
        if len(written) > 1:
            self.problems.error(
                self.document.key_place((*at, "deny")),
                "a rule says allow or deny, not both",
                "make two rules",
            )
        for key in sorted(written):
            if isinstance(listing := getattr(section, key), ListSection):
                self._list(section, key, listing, at, ttl, asks)
                continue
            for index, text in enumerate(getattr(section, key)):
                # A lone destination has no place of its own in a list: the key's value is it.
                self._destination(section, key, text, at, (*at, key, index), ttl, asks)

    def _questions(self, section: RuleSection, at: Path) -> _Asks:
        types = compile_types(section.qtypes, (*at, "qtypes"), self.document, self.problems)
        return types, compile_guard(section.guard, (*at, "guard"), self.document, self.problems)

    def _destination(
        self, section: RuleSection, key: str, text: str, at: Path, path: Path, ttl: Ttl, asks: _Asks
    ) -> None:
        where = self.document.place(path)
        if text in _WORDS:
            self._word(section, key, text, where)
            return
        try:
            destination = parse_destination(text)
        except Wrong as wrong:
            self.problems.wrong(where, wrong)
            self._check_verdict_options(section, key, at)
            return
        self._check_options(section, key, destination, at)
        self._check_name(section, key, text, destination, where)
        rule_text = f"{key} {destination.text}"
        what, ports = destination.what, destination.ports
        made = self._made(section, key, rule_text, what, ports, where, ttl, asks)
        self.rules.append(made)

    def _made(
        self,
        section: RuleSection,
        key: str,
        text: str,
        what: Pattern | Prefix | ListName,
        ports: PortSet,
        where: Position,
        ttl: Ttl,
        asks: _Asks,
    ) -> Rule:
        found = rule_id(self.name, text, self.ids)
        self.ids.add(found)
        return Rule(
            id=found,
            role=self.role,
            verdict=VERDICTS[key],
            text=text,
            what=what,
            ports=ports,
            where=where,
            ttl=ttl,
            private=bool(section.private),
            shared=section.shared or "allow",
            close=section.close,
            addresses=section.addresses,
            keep=bool(section.keep),
            qtypes=asks[0],
            guard=asks[1],
            note=section.note or "",
        )

    def _list(
        self, section: RuleSection, key: str, listing: ListSection, at: Path, ttl: Ttl, asks: _Asks
    ) -> None:
        where, ports = self.document.place((*at, key, "list")), PortSet()
        try:
            ports = list_ports(listing)
        except Wrong as wrong:  # and what is wrong with the list itself is told all the same
            self.problems.wrong(self.document.place((*at, key, "ports")), wrong)
        self._check_verdict_options(section, key, at)
        if section.keep and key == "allow":
            place = self.document.key_place((*at, "keep"))
            self.problems.error(place, "'keep' is not for lists", "keep names of the policy's own")
        tail = f":{listing.ports}" if listing.ports else ""
        what = ListName(listing.list + tail)
        rule = self._made(section, key, f"{key} list {what.text}", what, ports, where, ttl, asks)
        found = open_list(
            rule, listing, broad=bool(section.broad), sources=self.sources, problems=self.problems
        )
        if found is not None:
            self.rules.append(rule)
            self.lists.append(found)

    def _word(self, section: RuleSection, key: str, word: str, where: Position) -> None:
        if key == "allow":
            self.problems.error(where, f"'{word}' is a word for deny only", _WORDS[word])
            return
        for option in sorted(section.model_fields_set - {key, "note"}):
            self.problems.error(where, f"'{option}' says nothing about {word}", "take it out")
        self.words[word] = where
        if word == METADATA_WORD and self.default is Verdict.DENY:
            self.problems.warn(where, "'deny: metadata' changes nothing under default: deny")

    def _check_options(
        self, section: RuleSection, key: str, destination: Destination, at: Path
    ) -> None:
        """Options that say nothing here are mistakes, not decoration."""
        address = isinstance(destination.what, Prefix)
        for option in (*_FOR_ALLOW, "ttl", "shared", "close"):
            if getattr(section, option) in (None, False):
                continue
            place = self.document.key_place((*at, option))
            if address:
                self.problems.error(
                    place, f"'{option}' says nothing about an address", "take it out"
                )
        if not address:
            self._check_verdict_options(section, key, at)
        what = destination.what
        if section.keep and key == "allow" and isinstance(what, Pattern):
            self._check_keep(what, self.document.key_place((*at, "keep")))
        if section.close and isinstance(what, Pattern) and what.kind is Kind.EXACT:
            place = self.document.key_place((*at, "close"))
            self.problems.warn(place, "'close' changes nothing for an exact name: it is closed")

    def _check_keep(self, what: Pattern, place: Position) -> None:
        if what.kind is not Kind.EXACT:
            self.problems.error(
                place, f"'keep' is for exact names, and {shown(what.text)} is a pattern",
                "name each name that is to be kept in a rule of its own",
            )  # fmt: skip

    def _check_verdict_options(self, section: RuleSection, key: str, at: Path) -> None:
        """Options that are for the other verdict, or for the other default."""
        for option in (*_FOR_ALLOW, "shared", "close"):
            if getattr(section, option) in (None, False):
                continue
            place = self.document.key_place((*at, option))
            if option in _FOR_ALLOW and key == "deny":
                self.problems.error(place, f"'{option}' is for allow", "take it out")
            elif option in ("shared", "close") and key == "allow":
                self.problems.error(place, f"'{option}' is for deny", "take it out")
            elif option in ("shared", "close") and self.default is Verdict.DENY:
                self.problems.warn(place, f"'{option}' changes nothing under default: deny")

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

    def _error(self, at: Path, message: str, remedy: str = "") -> None:
        self.problems.error(self.document.place(at), message, remedy)
