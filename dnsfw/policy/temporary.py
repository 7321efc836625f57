"""What holds for a time on top of a policy: `dnsfw allow`, `deny` and `pause`.

A temporary rule is validated like a rule of the file, in the role that it is for. At equal
rank it beats what is written; a rule that is more specific still decides. A pause lets a role
judge without refusing (`mode: audit`). Where the policy says `locked: true` there is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, get_args

from dnsfw.errors import ConfigError
from dnsfw.model import Nanos, RoleId, RuleId, Verdict
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import HOST_NAME, Policy, RolePolicy
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import printable
from dnsfw.policy.rule import Rule, Ttl
from dnsfw.values import dataclass

__all__ = ["WORDS", "Maker", "Temporary", "Wanted", "canonical", "decides", "on_top"]

Word = Literal["allow", "deny", "pause"]
WORDS: tuple[str, ...] = get_args(Word)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A temporary rule that is to be compiled, and what it takes from its role."""

    word: str
    to: str
    role: RoleId
    name: str  # beside a written rule of the same text it is another rule, and keeps its id
    default: Verdict
    ttl: Ttl


# Each as a rule, or why it cannot be one; in a process that knows how to read policies.
Maker = Callable[[Sequence[Wanted], frozenset[RuleId]], Sequence[Rule | str]]


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


def _here(wanted: Sequence[Wanted], taken: frozenset[RuleId]) -> Sequence[Rule | str]:
    from dnsfw.policy.temporary_rule import make_rules  # with all that reads a policy file

    return make_rules(wanted, taken)


def canonical(policy: Policy, asked: Temporary, make: Maker = _here) -> Temporary:
    """The same with its destination as the policy would write it. ConfigError."""
    roles = _roles(policy, asked)
    if asked.word == "pause":
        return asked
    (made,) = make([_wanted(roles[0], asked)], frozenset())
    if isinstance(made, str):
        raise ConfigError(made)
    return replace(asked, to=made.text.partition(" ")[2])


def on_top(
    policy: Policy, items: Iterable[Temporary], make: Maker = _here
) -> tuple[Policy, dict[Temporary, str]]:
    """The policy with all of these, and those that cannot be with the reason why."""
    rules: dict[RoleId, list[Rule]] = {}
    paused: dict[RoleId, Nanos] = {}
    refused: dict[Temporary, str] = {}
    wanted: dict[Temporary, Wanted] = {}
    for item in items:
        try:
            roles = _roles(policy, item)
        except ConfigError as error:
            refused[item] = str(error)
            continue
        if item.word != "pause":
            wanted[item] = _wanted(roles[0], item)
            continue
        for role in roles:
            paused[role.role] = max(item.until, paused.get(role.role, item.until))
    if wanted:
        taken = frozenset(id for role in policy.roles.values() for id in role.rules_by_id)
        for (item, one), made in zip(wanted.items(), make([*wanted.values()], taken), strict=True):
            if isinstance(made, str):
                refused[item] = made
            else:
                kept = replace(made, until=item.until, note=printable(item.reason))
                rules.setdefault(one.role, []).append(kept)
    if not rules and not paused:
        return policy, refused
    changed = dict(policy.roles)
    for number in rules.keys() | paused.keys():
        mine = tuple(rules.get(number, ()))
        changed[number] = changed[number].with_temporary(mine, paused.get(number))
    return replace(policy, roles=changed), refused


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
    """Those it is for. ConfigError where there is none of that name, and where one is locked."""
    everybody = item.word == "pause" and not item.role
    numbers = list(policy.roles) if everybody else [policy.role_id(item.role)]
    roles = [policy.roles[number] for number in numbers]
    for role in roles:
        if role.locked:
            raise ConfigError(f"the policy locks {role.name} ('locked: true'): nothing temporary")
    return roles


def _wanted(role: RolePolicy, item: Temporary) -> Wanted:
    name = f"{role.name} for a time"
    return Wanted(item.word, item.to, role.role, name, role.default, role.ttl)
