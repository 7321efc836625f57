"""Explain, as the engine would act: what policy.explain says, names answered here, and what may be
asked of a name that is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dnsfw.engine.gate import guard_of, types_of
from dnsfw.engine.guard import Guards
from dnsfw.engine.limits import Limits
from dnsfw.engine.local import local_answer
from dnsfw.errors import ConfigError
from dnsfw.model import Grant, Mode, Name, Nanos
from dnsfw.policy.asked import Asked
from dnsfw.policy.explain import Explanation, explain_asked
from dnsfw.policy.explained import explained_row
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.problems import Wrong
from dnsfw.policy.questions import type_number
from dnsfw.wire.message import ANY, A

__all__ = ["explain_for", "told_of"]


def explain_for(role: RolePolicy, asked: Asked, grants: Iterable[Grant] = ()) -> Explanation:
    """For a file and for a running daemon alike; the daemon knows what names have opened."""
    found = explain_asked(role, asked, grants)
    if not asked.is_addr and local_answer(Name(asked.to), A, role):
        found = found.noting("dnsfw answers this name itself and asks nobody")
    return found


def told_of(
    role: RolePolicy,
    found: Explanation,
    qtype: str = "",
    guards: Guards | None = None,
    now: Nanos = Nanos(0),  # noqa: B008 - a NewType is no call
) -> dict[str, Any]:
    """The row of an explanation, with what may be asked of the name: `qtype` is the type that
    somebody wants to know about, `guards` what the daemon has counted. ConfigError: it is none.
    """
    row: dict[str, Any] = {**explained_row(found), "questions": None}
    name = None if found.asked.is_addr else Name(found.asked.to)
    number = _number(qtype, name)
    if name is None or not role.judge(name).answered:
        return row
    asked = _questions(role, name, number, guards or Guards(Limits()), now)
    asked["type"] = qtype.upper()
    if not asked["asked"] and row["verdict"] == "allow":
        row["verdict"], row["reason"] = "deny", "qtype"
    return {**row, "questions": asked}


def _number(qtype: str, name: Name | None) -> int:
    """Of the type that somebody wants to know about; A where none is named."""
    if not qtype:
        return A
    if name is None:
        raise ConfigError("a type is asked of a name; take --type out")
    try:
        return type_number(qtype)
    except Wrong as wrong:
        raise ConfigError(f"{wrong.message}; {wrong.remedy}") from None


def _questions(
    role: RolePolicy, name: Name, number: int, guards: Guards, now: Nanos
) -> dict[str, Any]:
    judgement = role.judge(name)
    rule, types = judgement.rule, types_of(role, judgement)
    guard = guard_of(role, judgement, name)
    told = guards.would(role.role, guard, name, number, now) if guard is not None else None
    return {
        "types": types.text,
        "types_of": "rule" if rule is not None and rule.qtypes else "role",
        "asked": role.mode is Mode.AUDIT or types.has(number) or number == ANY,
        "guard": guard.text if guard is not None else "",
        "guard_of": "rule" if rule is not None and rule.guard else "role",
        "would": told.text if told is not None else "",
        "held": told is not None and told.held,
    }
