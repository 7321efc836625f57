"""Holds a document to the model, and says every way in which it does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dnsfw.policy.problems import Problems, shown
from dnsfw.policy.syntax import LATER, MAX_ROLES, PolicySection
from dnsfw.policy.syntax_mistakes import EXTRA, key_meant, named, tell, unknown, what_unknown
from dnsfw.policy.syntax_roles import ROLE_NAME, RoleSection, SubjectSection
from dnsfw.policy.syntax_rules import LIST_TAG, NAMES_TAG, RuleSection
from dnsfw.policy.syntax_tests import CaseSection
from dnsfw.policy.syntax_yaml import Document, Path
from dnsfw.values import dataclass

Section = TypeVar("Section", PolicySection, RoleSection, RuleSection, SubjectSection, CaseSection)

_STAND_INS: dict[str, object] = {"version": 1, "default": "deny"}  # to find the other errors
_ROUNDS = 4  # an entry, the list around it, the section around that


# A role's name is shown beside these words, and must not be taken for one.
RESERVED = {"none", "probe"}


@dataclass(frozen=True, slots=True)
class CheckedRole:
    """A role, and each of its rules and subjects with its index."""

    name: str
    section: RoleSection
    rules: tuple[tuple[int, RuleSection], ...]
    subjects: tuple[tuple[int, SubjectSection], ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What could be read: the whole file, each rule of `host` with its index, each role."""

    top: PolicySection
    rules: tuple[tuple[int, RuleSection], ...]
    roles: tuple[CheckedRole, ...] = ()
    tests: tuple[tuple[int, CaseSection], ...] = ()


def check_document(
    document: Document, problems: Problems, *, part: bool = False
) -> Checked | None:
    """The sections of a document. What is wrong is told and left out, so that the rest can
    still be judged; None where nothing is left to judge. `part`: what is missing may stand in a
    text that is not here.
    """
    value = document.value
    if not isinstance(value, dict):
        message = "the file is empty" if value is None else "a policy is keys and values"
        problems.error(document.place(()), message, "begin with 'version: 1'")
        return None
    _refuse_nothing(document, problems)
    top = {key: item for key, item in _clean(value).items() if key not in LATER}
    for key in LATER:
        if key in value:
            problems.error(document.key_place((key,)), LATER[key], "take the key out")
    rules = _entries(RuleSection, top.pop("rules", None), ("rules",), document, problems)
    roles = _roles(top.pop("roles", None), document, problems)
    tests = _entries(CaseSection, top.pop("tests", None), ("tests",), document, problems)
    if part:
        top = {**_STAND_INS, **top}
    policy = _fit(PolicySection, top, (), document, problems)
    return Checked(policy, rules, roles, tests) if policy else None


def check_tests(document: Document, problems: Problems) -> tuple[tuple[int, CaseSection], ...]:
    """The tests of a file that holds nothing else."""
    value = document.value
    if not isinstance(value, dict) or set(value) != {"tests"}:
        problems.error(document.place(()), "a file of tests has the one key 'tests'", "")
        return ()
    _refuse_nothing(document, problems)
    return _entries(CaseSection, _clean(value).get("tests"), ("tests",), document, problems)


def _roles(value: Any, document: Document, problems: Problems) -> tuple[CheckedRole, ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        remedy = "write 'web: {default: deny}' below it"
        problems.error(document.place(("roles",)), "'roles' is keys and values", remedy)
        return ()
    if len(value) > MAX_ROLES:
        told = f"{len(value)} roles, {MAX_ROLES} fit"
        problems.error(document.key_place(("roles",)), told, "join roles that have the same rules")
    found = (_role(name, item, document, problems) for name, item in value.items())
    return tuple(role for role in found if role)


def _role(name: str, raw: Any, document: Document, problems: Problems) -> CheckedRole | None:
    at: Path = ("roles", name)
    if wrong := _bad_name(name):  # and what is wrong inside is told all the same
        problems.error(document.key_place(at), *wrong)
    inner = dict(raw) if isinstance(raw, dict) else raw
    rules: tuple[tuple[int, RuleSection], ...] = ()
    subjects: tuple[tuple[int, SubjectSection], ...] = ()
    if isinstance(inner, dict):
        listed = inner.pop("rules", None)
        rules = _entries(RuleSection, listed, (*at, "rules"), document, problems)
        listed = inner.pop("subjects", None)
        subjects = _entries(SubjectSection, listed, (*at, "subjects"), document, problems)
    section = _fit(RoleSection, inner, at, document, problems)
    return CheckedRole(name, section, rules, subjects) if section else None


def _bad_name(name: str) -> tuple[str, str] | None:
    if name == "host":
        return ("the role 'host' is the file itself", "write its keys at the top, without 'roles'")
    if name in RESERVED:
        return (f"{shown(name)} is dnsfw's own word", "give the role another name")
    if not re.fullmatch(ROLE_NAME, name):
        lowered = re.sub(r"[^a-z0-9_-]", "-", name.lower())[:32].strip("-_")
        remedy = f"write '{lowered}'" if lowered else "write 'web'"
        told = f"{shown(name)} is no name of a role: a-z, 0-9, - and _, at most 32"
        return (told, remedy)
    return None


def _entries(
    model: type[Section], listed: Any, at: Path, document: Document, problems: Problems
) -> tuple[tuple[int, Section], ...]:
    """The entries of a list that fit, each with its index in the file."""
    if listed is not None and not isinstance(listed, list):
        remedy = "begin with '- allow:'" if at[-1] == "rules" else "begin with '- cgroup:'"
        problems.error(document.place(at), f"'{at[-1]}' is not a list", remedy)
        listed = None
    return tuple(
        (index, section)
        for index, entry in enumerate(map(_clean, listed or ()))
        if entry not in (None, {}, [])  # told already
        and (section := _fit(model, entry, (*at, index), document, problems))
    )


def _fit(
    model: type[Section], raw: Any, at: Path, document: Document, problems: Problems
) -> Section | None:
    """Validate; on errors tell them, take the bad keys out and try once more."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found = [_untagged(item) for item in error.errors(include_url=False)]
    meant = {key_meant(str(i["loc"][-1]), at + i["loc"][:-1]) for i in found if i["type"] == EXTRA}
    for item in found:
        if item["type"] != "missing" or item["loc"][-1] not in meant:
            tell(item, at, document, problems)
    return _rest(model, raw, found) if isinstance(raw, dict) else None


def _rest(
    model: type[Section], raw: dict[str, Any], found: list[ErrorDetails]
) -> Section | None:
    """What fits when the bad keys are out; what they leave bad goes with them."""
    for _ in range(_ROUNDS):
        for item in found:
            loc = item["loc"]
            if item["type"] != "missing":
                raw = _without(raw, loc)
            elif len(loc) > 1:
                raw = _without(raw, loc[:-1])
            elif (key := str(loc[0])) in _STAND_INS:
                raw = {**raw, key: _STAND_INS[key]}
        if model is PolicySection:
            raw = {**_STAND_INS, **raw}
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            found = [_untagged(item) for item in error.errors(include_url=False)]
    return None


def _untagged(item: ErrorDetails) -> ErrorDetails:
    """The error at its place in the file, where a union's arms have no place."""
    loc = tuple(part for part in item["loc"] if part not in (NAMES_TAG, LIST_TAG))
    return {**item, "loc": loc}


def _refuse_nothing(document: Document, problems: Problems) -> None:
    """A key with nothing after it, an empty list: never what was meant."""
    for path, value in _walk(document.value, ()):
        if value in (None, [], {}) and unknown(path):  # said here, for `_clean` hides it
            problems.error(document.key_place(path), *what_unknown(path))
            continue
        inside = path and isinstance(path[-1], int)
        remedy = "take it out" if inside else "take the key out, or fill it"
        if value is None:
            problems.error(document.place(path), f"nothing stands for {named(path)}", remedy)
        elif value == [] or value == {}:
            kind = "list" if value == [] else "mapping"
            problems.error(document.place(path), f"{named(path)} is an empty {kind}", remedy)


def _walk(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    pending: list[tuple[Path, object]] = [(path, value)]
    while pending:
        path, value = pending.pop()
        yield path, value
        if isinstance(value, dict):
            pending += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [((*path, index), item) for index, item in enumerate(value)]


def _clean(value: Any) -> Any:
    """The value without what `_refuse_nothing` told already; indexes stay as they are."""
    if not isinstance(value, dict):
        return value
    return {
        key: _clean(item)
        for key, item in value.items()
        if item is not None and item not in ([], {})
    }


def _without(raw: dict[str, Any], loc: Path) -> dict[str, Any]:
    """A copy without the innermost key that the error lies in."""
    key = str(loc[0]) if loc else ""
    if key not in raw:
        return dict(raw)
    inner = raw[key]
    if len(loc) > 1 and isinstance(inner, dict) and loc[1] in inner:
        return {**raw, key: _without(inner, loc[1:])}
    if len(loc) > 2 and isinstance(inner, list) and isinstance(loc[1], int):
        entry = inner[loc[1]]
        if isinstance(entry, dict) and loc[2] in entry and len(entry) > 1:
            less = _without(entry, loc[2:])
            return {**raw, key: [*inner[: loc[1]], less, *inner[loc[1] + 1 :]]}
    return {name: item for name, item in raw.items() if name != key}


