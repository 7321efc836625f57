"""The `log` section of a policy: what is kept of who asked for what, and for how long."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from dnsfw.policy.problems import Problems, shown
from dnsfw.values import dataclass

if TYPE_CHECKING:  # every command knows a policy; to read one takes pydantic
    from dnsfw.policy.syntax_log import LogSection
    from dnsfw.policy.syntax_yaml import Document

__all__ = ["LogSettings", "compile_log"]

RETENTION = 7 * 86400  # seconds
SIZE = 256 << 20  # bytes
_SHORTEST, _LONGEST = 3600, 400 * 86400  # a file is rotated by the hour; a year and a month
_SMALLEST = 1 << 20

Names = Literal["all", "refused", "off"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """As the policy wants it; off, if it wants nothing."""

    names: Names = "off"
    history: bool = False
    retention: int = RETENTION  # seconds
    size: int = SIZE  # bytes
    hash: bool = False
    askers: bool = True
    without: frozenset[str] = frozenset()  # names of roles
    directory: str = ""  # empty: where the service's logs belong

    @property
    def writes(self) -> bool:
        """Whether anything of it goes to disk."""
        return self.names != "off" or self.history


def compile_log(
    section: LogSection | None, roles: Collection[str], document: Document, problems: Problems
) -> LogSettings:
    """The settings; what is wrong goes to the problems."""
    if section is None:
        return LogSettings()
    retention = section.retention if section.retention is not None else RETENTION
    size = section.size if section.size is not None else SIZE
    if not _SHORTEST <= retention <= _LONGEST:
        where = document.place(("log", "retention"))
        problems.error(where, "'retention' is 1h to 400d", "write 7d")
    if size < _SMALLEST:
        problems.error(document.place(("log", "size")), "'size' is 1M at least", "write 64M")
    for index, name in enumerate(section.without or ()):
        if name not in roles:
            where = document.place(("log", "without", index))
            problems.error(where, f"no role {shown(name)}", f"there are {', '.join(roles)}")
    if section.directory is not None and not PurePosixPath(section.directory).is_absolute():
        where = document.place(("log", "directory"))
        problems.error(where, f"{shown(section.directory)} is no absolute path", "begin with /")
    return LogSettings(
        section.names,
        section.history,
        retention,
        size,
        section.hash,
        section.askers,
        frozenset(section.without or ()),
        section.directory or "",
    )
