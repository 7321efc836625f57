"""Which role a process has, and why: for people and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from dnsfw.cli.process_facts import Seen
from dnsfw.cli.role_view import subject_json, subject_text
from dnsfw.policy.policy import Policy
from dnsfw.policy.subjects import ORDER, Assignment, why_lost

_WIDTH = 70  # beside the label, within 80 columns


def assignment_lines(policy: Policy, seen: Seen, found: Assignment) -> Iterator[str]:
    """The role, the subject that decided, each one that lost and why, and the facts."""
    yield f"pid {seen.pid} ({seen.name}): role {policy.role_names[found.role]}"
    if found.by is not None:
        yield f"  by     {subject_text(policy, found.by)}"
        yield f"         {policy.places[found.by]}"
    else:
        yield f"  by     {_without(found)}"
    for subject in found.lost:
        yield f"  not    {subject_text(policy, subject)}: {policy.role_names[subject.role]}"
        yield f"         {policy.places[subject]}"
        yield f"         {why_lost(found, subject)}"
    first, *more = textwrap.wrap(" > ".join(ORDER), _WIDTH, break_on_hyphens=False)
    yield f"  order  {first}"
    yield from (f"         {line}" for line in more)
    facts = seen.facts
    yield f"  is     cgroup {facts.cgroup}"
    yield f"         executable {seen.program or 'unknown'}"
    yield f"         uid {facts.uid}{_named(facts.user)}, gid {facts.gid}{_named(facts.group)}"
    for note in seen.notes:
        yield f"  note   {note}"


def assignment_json(policy: Policy, seen: Seen, found: Assignment) -> dict[str, Any]:
    facts = seen.facts
    return {
        "pid": seen.pid,
        "name": seen.name,
        "role": policy.role_names[found.role],
        "enrolled": found.enrolled,
        "by": subject_json(policy, found.by) if found.by else None,
        "lost": [
            {**subject_json(policy, subject), "why": why_lost(found, subject)}
            for subject in found.lost
        ],
        "order": list(ORDER),
        "facts": {
            "cgroup": facts.cgroup,
            "executable": seen.program or None,
            "uid": facts.uid,
            "user": facts.user or None,
            "gid": facts.gid,
            "group": facts.group or None,
        },
        "notes": list(seen.notes),
    }


def _without(found: Assignment) -> str:
    return "enrolled by hand" if found.enrolled else "nothing: no subject fits"


def _named(name: str) -> str:
    return f" ({name})" if name else ""
