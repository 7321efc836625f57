"""Whether two policies judge alike, across processes: a digest of all that a judgement needs.

Answers that the kernel holds stand on the policy that judged them. Whoever starts anew may
keep them only if it would judge the same; a digest that differs though the policies do not
(a rule moved to another line) only costs the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from hashlib import blake2b

from dnsfw import __version__
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.rule import Rule
from dnsfw.values import names_of

__all__ = ["digest"]

_BYTES = 16
# What follows from the rest, and what nobody is judged by.
_DERIVED = frozenset({"_matcher", "addresses", "closes", "judge", "keeps", "rules_by_id"})
_BY_HAND = frozenset({"rules", "implied", "lists"})
_FIELDS = tuple(name for name in names_of(Rule) or () if name not in {"where", "note", "what"})


def digest(policy: Policy, *more: object) -> str:
    """The same text where names, and what answers may hold, are judged the same way."""
    seen = blake2b(__version__.encode(), digest_size=_BYTES)
    for part in (_plain(policy.dns), *map(_plain, more)):
        seen.update(repr(part).encode())
    for number in sorted(policy.roles):
        for text in _role(policy.roles[number]):
            seen.update(text.encode())
    return seen.hexdigest()


def _role(role: RolePolicy) -> Iterator[str]:
    for name in RolePolicy.__slots__:
        if name not in _DERIVED | _BY_HAND:
            yield repr((name, _plain(getattr(role, name))))
    for rule in (*role.rules, *role.implied):
        yield _rule(rule)
    for names in role.lists:
        yield _rule(names.rule)
        yield names.table.seal.hex()
        for prefix in names.prefixes:
            yield _rule(prefix)


def _rule(rule: Rule) -> str:
    """A hundred thousand of them take a second; its text stands for what it is about."""
    return repr([getattr(rule, name) for name in _FIELDS])


def _plain(value: object) -> object:
    """The same for equal values in every process: no order of a set, no address of an object."""
    if isinstance(value, Enum):
        return (type(value).__name__, value.name)
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    if (names := names_of(type(value))) is not None:
        return (type(value).__name__, [_plain(getattr(value, name)) for name in names])
    if isinstance(value, Mapping):
        return sorted((repr(_plain(key)), repr(_plain(item))) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item)) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return repr(value)  # of a kind that nobody has thought of: at worst it never is the same
