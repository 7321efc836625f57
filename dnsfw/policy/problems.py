"""What is wrong with a policy, where, and what to write instead: collected, then told at once."""

from __future__ import annotations

from dataclasses import field

from dnsfw.errors import PolicyError
from dnsfw.values import dataclass

TEMPORARY = "temporary rule"  # the place of one, which is in no file and on no line
_SHOWN = 80  # an operator recognises a value by its beginning
_MAX_TOLD = 100  # a file that is wrong everywhere needs no more lines than this


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a policy file; lines and columns count from 1, 0 is "the whole file"."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        file = printable(self.file)
        in_file = self.line and self.file != TEMPORARY
        return f"{file}:{self.line}:{self.column}" if in_file else file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding. `remedy` is a clause that follows the message: "write 'x'"."""

    where: Position
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        tail = f"; {self.remedy}" if self.remedy else ""
        return f"{self.where}: {self.message}{tail}"


class Wrong(Exception):
    """A value that cannot be; whoever knows its position turns it into a Problem."""

    def __init__(self, message: str, remedy: str = "", key: str = "") -> None:
        super().__init__(message)
        self.message = printable(message)
        self.remedy = printable(remedy)
        self.key = key  # whose value it is, where several stand together


@dataclass(slots=True)
class Problems:
    """Gathers errors and warnings while a policy is compiled."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, where: Position, message: str, remedy: str = "") -> None:
        self.errors.append(Problem(where, printable(message), printable(remedy)))

    def wrong(self, where: Position, wrong: Wrong) -> None:
        self.error(where, wrong.message, wrong.remedy)

    def warn(self, where: Position, message: str, remedy: str = "") -> None:
        self.warnings.append(Problem(where, printable(message), printable(remedy)))

    def stop_if_any(self) -> None:
        """Raise one PolicyError that holds every error so far, in file order."""
        if not self.errors:
            return
        told = sorted(set(self.errors))
        lines = [str(problem) for problem in told[:_MAX_TOLD]]
        if len(told) > _MAX_TOLD:
            lines.append(f"{told[0].where.file}: and {len(told) - _MAX_TOLD} more")
        raise PolicyError("\n".join(lines))


def shown(value: object) -> str:
    """A value from the file, safe for a terminal: quoted, escaped, cut. What is no text is named
    as YAML has it, and a collection is not written out.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping of keys"
        case None:
            return "nothing"
    safe = printable(value if isinstance(value, str) else str(value))
    return f"'{safe[:_SHOWN]}…'" if len(safe) > _SHOWN else f"'{safe}'"


def printable(text: str) -> str:
    """The text with everything escaped that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
