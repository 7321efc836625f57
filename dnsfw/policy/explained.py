"""An explanation as a plain row, ready for JSON: the same from a file and from a daemon."""

from __future__ import annotations

from typing import Any

from dnsfw.errors import ConfigError
from dnsfw.model import Reason, RuleId, Verdict
from dnsfw.policy.explain import Explanation
from dnsfw.policy.policy import Policy
from dnsfw.policy.ports import KNOWN, describe
from dnsfw.policy.problems import shown
from dnsfw.policy.rule import Rule

__all__ = ["explained_row", "reason_word", "rule_row", "rule_told"]

_ID_DIGITS = 8



def explained_row(found: Explanation) -> dict[str, Any]:
    """Verdict, rule and runner-up with their places, and what happens to each port."""
    return {
        "destination": found.asked.text,
        "role": found.role,
        "verdict": _verdict(found.verdict),
        "reason": reason_word(found.best.reason),
        "rule": rule_row(found.best.rule),
        "runner_up": rule_row(found.runner_up),
        "why": found.why,
        "shares": [
            {
                "ports": "any" if share.ports == KNOWN else describe(share.ports),
                "verdict": _verdict(share.verdict),
                "reason": reason_word(share.reason),
                "rule": rule_row(share.rule),
            }
            for share in found.shares
        ],
        "notes": list(found.notes),
    }


def rule_row(rule: Rule | None) -> dict[str, Any] | None:
    """A rule with its id (what a refused query's answer says) and its line."""
    if rule is None:
        return None
    where = rule.where
    return {
        "id": f"{rule.id:08x}",
        "text": rule.text,
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "note": rule.note,
    }


def rule_told(policy: Policy, written: str) -> dict[str, Any]:
    """The rule of an id, as a refused query's answer says it: `rule 1f2e3d4c`, or the digits
    alone. ConfigError where there is none.
    """
    digits = written.strip().lower().removeprefix("rule").strip()
    if len(digits) > _ID_DIGITS or not digits or set(digits) - set("0123456789abcdef"):
        raise ConfigError(f"{shown(written)} is no rule's id: that is {_ID_DIGITS} hex digits")
    rule = policy.rule(RuleId(int(digits, 16)))
    if rule is None:
        raise ConfigError(
            f"no rule has the id {digits}: it was another policy's, or of a rule that has ended; "
            "a policy that is not in force is looked into by --policy FILE"
        )
    row = rule_row(rule)
    assert row is not None
    name = next(role.name for role in policy.roles.values() if role.role == rule.role)
    return {**row, "role": name, "verdict": _verdict(rule.verdict)}


def reason_word(reason: Reason) -> str:
    """In the words of `watch` and `status`."""
    return reason.name.lower().replace("_", "-")


def _verdict(verdict: Verdict) -> str:
    return verdict.name.lower()
