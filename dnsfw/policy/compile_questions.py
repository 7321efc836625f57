"""`qtypes` and `guard` of a role or a rule."""

from __future__ import annotations

from dnsfw.model import Verdict
from dnsfw.policy.problems import Problems, Wrong
from dnsfw.policy.questions import PROFILES, Action, Guard, Questions, Types, parse_types
from dnsfw.policy.syntax import PolicySection
from dnsfw.policy.syntax_questions import GuardSection
from dnsfw.policy.syntax_roles import RoleSection
from dnsfw.policy.syntax_yaml import Document, Path

__all__ = ["compile_guard", "compile_questions", "compile_types"]

_LONGEST_WINDOW = 3600  # a table of names is kept that long


def compile_questions(
    section: PolicySection | RoleSection,
    default: Verdict,
    at: Path,
    document: Document,
    problems: Problems,
) -> Questions:
    """What the role's keys say, else what suits its default."""
    return Questions.under(
        default,
        compile_types(section.qtypes, (*at, "qtypes"), document, problems),
        compile_guard(section.guard, (*at, "guard"), document, problems),
    )


def compile_types(
    written: list[str] | None, at: Path, document: Document, problems: Problems
) -> Types | None:
    """A profile alone, or types; what is neither goes to the problems."""
    if written is None:
        return None
    found: list[str] = []
    for index, text in enumerate(written):
        where = document.place((*at, index))
        try:
            if text in PROFILES and len(written) > 1:
                raise Wrong(f"'{text}' stands for types of its own", f"write 'qtypes: {text}'")
            parse_types(text)
        except Wrong as wrong:
            problems.wrong(where, wrong)
            continue
        if text in found:
            problems.error(where, f"'{text}' stands twice", "take one out")
        found.append(text)
    return parse_types(found[0] if len(found) == 1 else found) if found else None


def compile_guard(
    section: GuardSection | None, at: Path, document: Document, problems: Problems
) -> Guard | None:
    """The guard that a section means; None where there is none."""
    if section is None:
        return None
    if not 1 <= section.window <= _LONGEST_WINDOW:
        problems.error(document.place((*at, "window")), "a window is 1s to 1h", "write 5m")
    return Guard(
        Action(section.action), section.names, section.window, section.label, section.nxdomain,
        section.types, section.rate,
    )  # fmt: skip
