"""One policy from several files: `policy.yaml` and what `policy.d` adds, in the order of names.

Rules, subjects and tests follow one another; roles of one name are one role. Whatever has one
value may be set once, and an error names both places. Every position stays in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from dnsfw.policy.problems import Problems
from dnsfw.policy.syntax_yaml import Document, Path, read_document
from dnsfw.values import dataclass

__all__ = ["read_parts"]

# Where lists of several files follow one another; every other list is one value.
_GROWING = ("rules", "tests")
_GROWING_IN_ROLES = ("rules", "subjects")
# sections that several files may fill, each key once
_OPEN = ("dns", "host", "log", "tables", "ttl")
_DEEPEST = 4  # roles, its name, rules, an index
_EACH = "version"  # every file may say in which language it is


def read_parts(texts: Mapping[str, str], problems: Problems) -> Document | None:
    """The documents of these files (name: text) as one; None where the first cannot be read."""
    whole: Document | None = None
    for number, (file, text) in enumerate(texts.items()):
        document = read_document(text, file, problems)
        if document is None:
            continue
        if number == 0:
            whole = document
        elif document.value is None:
            continue  # nothing but comments
        elif not isinstance(document.value, dict):
            problems.error(document.place(()), "a part of a policy is keys and values")
        elif whole is not None and isinstance(whole.value, dict):
            _Join(whole, document, problems).join(whole.value, document.value)
    return whole


@dataclass(slots=True)
class _Join:
    """Brings one document into another; both keep their positions."""

    into: Document
    part: Document
    problems: Problems
    moves: dict[Path, Path] = field(default_factory=dict)  # where what of the part went

    def join(self, into: dict[str, object], new: dict[str, object]) -> None:
        self._section(into, new, ())
        for theirs, ours in (
            (self.part.places, self.into.places),
            (self.part.key_places, self.into.key_places),
        ):
            for path, where in theirs.items():
                for size in range(1, min(len(path), _DEEPEST) + 1):
                    if (to := self.moves.get(path[:size])) is not None:
                        ours[(*to, *path[size:])] = where
                        break

    def _section(self, into: dict[str, object], new: dict[str, object], at: Path) -> None:
        """Values are copied before they change: an alias may show them elsewhere too."""
        for key, value in new.items():
            path: Path = (*at, key)
            old = into.get(key)
            if key not in into:
                into[key] = value
                self.moves[path] = path
            elif _grows(path) and isinstance(old, list):
                into[key] = self._longer(old, value, path)
            elif _opens(path) and isinstance(old, dict) and isinstance(value, dict):
                into[key] = mine = dict(old)
                self._section(mine, value, path)
            elif path != (_EACH,) or old != value:
                self._twice(path)

    def _longer(self, old: list[object], value: object, path: Path) -> list[object]:
        if not isinstance(value, list):
            self.problems.error(self.part.place(path), f"'{path[-1]}' is not a list")
            return old
        for index in range(len(value)):
            self.moves[(*path, index)] = (*path, len(old) + index)
        return [*old, *value]

    def _twice(self, path: Path) -> None:
        first = self.into.key_place(path)
        name = ".".join(map(str, path))
        where = self.part.key_place(path)
        self.problems.error(where, f"'{name}' is set twice", f"the first is {first}")


def _grows(path: Path) -> bool:
    if len(path) == 1:
        return path[0] in _GROWING
    return len(path) == 3 and path[0] == "roles" and path[2] in _GROWING_IN_ROLES


def _opens(path: Path) -> bool:
    """Whether several files may write below it."""
    if path[0] == "roles":
        return len(path) <= 2 or (len(path) == 3 and path[2] == "ttl")
    return len(path) == 1 and path[0] in _OPEN
