"""What an export made of a role's rules, and what it had to leave out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

from dnsfw.model import Mode, Verdict
from dnsfw.policy.first_match import Entry, overlaps
from dnsfw.policy.importers.outcome import Finding, Kept
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position
from dnsfw.policy.rule import ListName, Rule
from dnsfw.values import dataclass

__all__ = ["Exported", "Left", "Made", "Named"]

Made = Callable[[RolePolicy, "Left"], str]
Named = tuple[Rule, Entry]


@dataclass(frozen=True, slots=True)
class Exported:
    """The text in the other format, and what it does not say of the role."""

    format: str
    text: str
    findings: tuple[Finding, ...]

    @property
    def lost(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.kept is Kept.LOST)


@dataclass(slots=True)
class Left:
    """Gathers what is left out."""

    findings: list[Finding] = field(default_factory=list)

    def lost(self, rule: Rule, why: str) -> None:
        self.findings.append(Finding(rule.where, Kept.LOST, rule.text, why))

    def noted(self, rule: Rule, why: str) -> None:
        self.findings.append(Finding(rule.where, Kept.NOTED, rule.text, why))

    def setting(self, role: RolePolicy, source: str, why: str) -> None:
        """A setting of the role, which has no line of its own here."""
        file = role.rules[0].where.file if role.rules else "the policy"
        self.findings.append(Finding(Position(file, 1), Kept.LOST, source, why))

    def entries(self, role: RolePolicy) -> list[Named]:
        """Each rule with its entry; what no other format can say is lost here already."""
        found: list[Named] = []
        for rule in role.rules:
            if isinstance(rule.what, ListName):
                self.lost(rule, "a list of its own: hand that file on")
                continue
            found.append((rule, Entry(rule.verdict, rule.what, rule.ports)))
            for word, said in (("private", rule.private), ("close", rule.close),
                               ("shared", rule.shared == "deny")):  # fmt: skip
                if said:
                    self.noted(rule, f"'{word}' is not told")
        if role.mode is Mode.AUDIT:
            self.setting(role, "mode: audit", "the rules are told as if they were enforced")
        if role.resolved_only:
            self.setting(role, "resolved_only", "addresses that nobody looked up stay open")
        if role.implied:
            self.setting(role, "encrypted-dns", "resolvers that it closes are not told")
        if role.metadata and role.default is Verdict.ALLOW:
            self.setting(role, "deny: metadata", "services that it closes are not told")
        return found

    def other_side(self, rule: Rule, entry: Entry, others: Sequence[Named], why: str) -> None:
        """A rule that says what the default says matters where it takes from another rule."""
        for _, other in others:
            if isinstance(entry.what, Pattern) and isinstance(other.what, Prefix):
                continue  # an address rule beats names: nothing is taken from it
            meets = overlaps(entry.what, other.what) and entry.ports.intersect(other.ports)
            if other.verdict is not entry.verdict and meets:
                self.lost(rule, why)
                return
        self.noted(rule, "left out: it says what the default says")
