"""A temporary rule, compiled by the compiler of every other rule and in its words.

Apart from `temporary`, because that takes all that reads a policy file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from dnsfw.errors import ConfigError
from dnsfw.model import RuleId
from dnsfw.policy.compile_rules import RuleCompiler
from dnsfw.policy.problems import TEMPORARY, Position, Problems
from dnsfw.policy.rule import Rule
from dnsfw.policy.syntax_rules import RuleSection
from dnsfw.policy.syntax_yaml import read_document
from dnsfw.policy.temporary import Wanted

__all__ = ["make_rules"]


def make_rules(wanted: Sequence[Wanted], taken: frozenset[RuleId]) -> list[Rule | str]:
    """Each as a rule that takes no id of these, or why it cannot be one."""
    ids = set(taken)
    return [_made(one, ids) for one in wanted]


def _made(wanted: Wanted, taken: set[RuleId]) -> Rule | str:
    try:
        return _rule(wanted, taken)
    except ConfigError as error:
        return str(error)


def _rule(wanted: Wanted, taken: set[RuleId]) -> Rule:
    problems = Problems()
    section = {wanted.word: wanted.to}
    document = read_document(json.dumps({"rules": [section]}), TEMPORARY, problems)
    if document is not None:
        compiler = RuleCompiler(
            document, problems, taken,
            role=wanted.role, name=wanted.name, default=wanted.default,
        )  # fmt: skip
        compiler.compile([(0, RuleSection.model_validate(section))], wanted.ttl)
        if not problems.errors and not compiler.rules:
            told = f"{wanted.to!r} is a word of policy files"
            problems.error(Position(TEMPORARY), told, "name one")
    if problems.errors:
        first = problems.errors[0]
        raise ConfigError(first.message + (f"; {first.remedy}" if first.remedy else ""))
    (rule,) = compiler.rules
    return rule
