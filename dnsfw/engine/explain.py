"""Explain, as the engine would act: what policy.explain says, and names answered here."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.engine.local import local_answer
from dnsfw.model import Grant, Name
from dnsfw.policy.asked import Asked
from dnsfw.policy.explain import Explanation, explain_asked
from dnsfw.policy.policy import RolePolicy
from dnsfw.wire.message import A

__all__ = ["explain_for"]


def explain_for(role: RolePolicy, asked: Asked, grants: Iterable[Grant] = ()) -> Explanation:
    """For a file and for a running daemon alike; the daemon knows what names have opened."""
    found = explain_asked(role, asked, grants)
    if not asked.is_addr and local_answer(Name(asked.to), A, role):
        found = found.noting("dnsfw answers this name itself and asks nobody")
    return found
