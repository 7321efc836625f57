"""A role of a policy, for people and as JSON: `check` and `explain` show the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dnsfw.cli.render import counts
from dnsfw.model import HOST, Mode, Subject, SubjectKind, Verdict
from dnsfw.policy.compile_subjects import describe
from dnsfw.policy.policy import Policy, RolePolicy


def subjects_of(policy: Policy, role: RolePolicy) -> list[Subject]:
    return [subject for subject in policy.subjects if subject.role == role.role]


def subject_text(policy: Policy, subject: Subject) -> str:
    return describe(subject, policy.role_names)


def role_line(policy: Policy, role: RolePolicy) -> str:
    """`default deny, 2 allow, 1 deny`, and for a named role who is in it."""
    allows, denies = _rules(role)
    audit = ", audit" if role.mode is Mode.AUDIT else ""
    line = f"default {role.default.name.lower()}{audit}, {allows} allow, {denies} deny"
    if role.role == HOST:
        return line
    return f"{line}, {counts(len(subjects_of(policy, role)), 'subject')}"


def role_lines(policy: Policy, role: RolePolicy) -> Iterator[str]:
    """Everything about one role but its rules."""
    yield f"role {role.name}: {role_line(policy, role)}"
    yield f"  inbound   {role.access.inbound_text}"
    yield f"  loopback  {role.access.loopback_text}"
    if role.takeover:
        yield "  dns       taken over"
    if role.implied:
        yield "  closed    encrypted-dns"
    if role.role == HOST:
        yield "  subject   whoever is in no other role"
    for subject in subjects_of(policy, role):
        yield f"  subject   {subject_text(policy, subject)}"
        yield f"            {policy.places[subject]}"
    if role.role != HOST and not subjects_of(policy, role):
        yield "  subject   none: only `dnsfw enroll` puts a process into it"


def role_json(policy: Policy, role: RolePolicy) -> dict[str, Any]:
    allows, denies = _rules(role)
    return {
        "name": role.name,
        "id": int(role.role),
        "default": role.default.name.lower(),
        "mode": role.mode.name.lower(),
        "inbound": role.access.inbound_text,
        "loopback": role.access.loopback_text,
        "takeover": role.takeover,
        "encrypted_dns": "deny" if role.implied else "rules",
        "allow_rules": allows,
        "deny_rules": denies,
        "subjects": [subject_json(policy, subject) for subject in subjects_of(policy, role)],
    }


def subject_json(policy: Policy, subject: Subject) -> dict[str, Any]:
    where = policy.places[subject]
    found: dict[str, Any] = {
        "role": policy.role_names[subject.role],
        "kind": subject.kind.value,
        "value": subject.value,
    }
    if subject.interface:
        found["interface"] = subject.interface
    if subject.kind is SubjectKind.VIA:
        found["of"] = policy.role_names[subject.base]
    return {**found, "file": where.file, "line": where.line, "column": where.column}


def _rules(role: RolePolicy) -> tuple[int, int]:
    allows = sum(rule.verdict is Verdict.ALLOW for rule in role.rules)
    return allows, len(role.rules) - allows
