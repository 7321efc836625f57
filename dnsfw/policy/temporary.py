"""What holds for a time on top of a policy: `dnsfw allow`, `deny` and `pause`.

A temporary rule is validated like a rule of the file, in the role that it is for. At equal
rank it beats what is written; a rule that is more specific still decides. A pause lets a role
judge without refusing (`mode: audit`). Where the policy says `locked: true` there is neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from dnsfw.errors import ConfigError
from dnsfw.model import Nanos, RoleId, RuleId
from dnsfw.policy.compile_rules import RuleCompiler
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import HOST_NAME, Policy, RolePolicy
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position, Problems, printable
from dnsfw.policy.rule import Rule
from dnsfw.policy.syntax_rules import RuleSection
from dnsfw.policy.syntax_yaml import read_document

__all__ = ["WORDS", "Temporary", "canonical", "decides", "on_top"]

Word = Literal["allow", "deny", "pause"]
WORDS: tuple[str, ...] = get_args(Word)
_PLACE = "temporary rule"  # what stands where another rule has file and line


@dataclass(frozen=True, slots=True)
class Temporary:
    """One of them, as it was asked for."""

    word: str
    to: str  # the destination; empty of a pause
    role: str  # its name; empty of a pause of every role
    until: Nanos  # CLOCK_BOOTTIME
    reason: str = ""
    by: int = 0  # the uid that asked

    @property
    def key(self) -> tuple[str, str, str]:
        """Which of them another one replaces: `deny x` ends `allow x`."""
        return ("pause" if self.word == "pause" else "rule", self.to, self.role)

    @property
    def text(self) -> str:
        """As people say it."""
        if self.word == "pause":
            return f"pause of {self.role or 'every role'}"
        return f"{self.word} {self.to}" + (f" for {self.role}" if self.role != HOST_NAME else "")


def canonical(policy: Policy, asked: Temporary) -> Temporary:
    """The same with its destination as the policy would write it. ConfigError."""
    for role in _roles(policy, asked):
        if role.locked:
            raise ConfigError(f"the policy locks {role.name} ('locked: true'): nothing temporary")
    if asked.word == "pause":
        return asked
    rule = _rule(policy, asked, set())
    return replace(asked, to=rule.text.partition(" ")[2])


def on_top(policy: Policy, items: Iterable[Temporary]) -> tuple[Policy, dict[Temporary, str]]:
    """The policy with all of these, and those that cannot be with the reason why."""
    rules: dict[RoleId, list[Rule]] = {}
    paused: dict[RoleId, Nanos] = {}
    refused: dict[Temporary, str] = {}
    taken = {number for role in policy.roles.values() for number in role.rules_by_id}
    for item in items:
        try:
            canonical(policy, item)
            for role in _roles(policy, item):
                if item.word == "pause":
                    paused[role.role] = max(item.until, paused.get(role.role, item.until))
                else:
                    rules.setdefault(role.role, []).append(_rule(policy, item, taken))
        except ConfigError as error:
            refused[item] = str(error)
    if not rules and not paused:
        return policy, refused
    roles = dict(policy.roles)
    for number in rules.keys() | paused.keys():
        mine = tuple(rules.get(number, ()))
        roles[number] = roles[number].with_temporary(mine, paused.get(number))
    return replace(policy, roles=roles), refused


def decides(policy: Policy, item: Temporary) -> str:
    """Which rule still has the word on the very destination; empty where the temporary one."""
    role = policy.roles[policy.role_id(item.role)]
    mine = next(rule for rule in role.rules if rule.until is not None and _is(rule, item))
    what = mine.what
    if isinstance(what, Prefix):
        shares = role.addr_shares(what.addr)
    elif isinstance(what, Pattern) and what.kind in (Kind.EXACT, Kind.TREE):
        shares = role.judge(what.suffix).shares
    else:
        return ""
    if any(share.rule is mine for share in shares):
        return ""
    other = next((s.rule for s in shares if s.rule and s.ports.intersect(mine.ports)), None)
    return f"'{other.text}' ({other.where})" if other else "a built-in deny"


def _is(rule: Rule, item: Temporary) -> bool:
    return rule.text == f"{item.word} {item.to}"


def _roles(policy: Policy, item: Temporary) -> list[RolePolicy]:
    """Those it is for. ConfigError where there is none of that name."""
    if item.word == "pause" and not item.role:
        return list(policy.roles.values())
    return [policy.roles[policy.role_id(item.role)]]


def _rule(policy: Policy, item: Temporary, taken: set[RuleId]) -> Rule:
    """Compiled by the compiler of every other rule. ConfigError, in its words."""
    problems = Problems()
    document = read_document(json.dumps({"rules": [{item.word: item.to}]}), _PLACE, problems)
    (role,) = _roles(policy, item)
    # Beside a written rule of the same text it is another rule, and keeps its id.
    name = f"{role.name} for a time"
    if document is not None:
        compiler = RuleCompiler(
            document, problems, taken, role=role.role, name=name, default=role.default
        )
        section = RuleSection.model_validate({item.word: item.to})
        compiler.compile([(0, section)], role.ttl)
        if not problems.errors and not compiler.rules:
            problems.error(Position(_PLACE), f"{item.to!r} is a word of policy files", "name one")
    if problems.errors:
        told = problems.errors[0]
        raise ConfigError(told.message + (f"; {told.remedy}" if told.remedy else ""))
    (rule,) = compiler.rules
    note = printable(item.reason)
    return replace(rule, where=Position(_PLACE), until=item.until, note=note)
