"""The shape of `log`: whether names are written to disk, how long, and how well hidden."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from dnsfw.policy.problems import shown
from dnsfw.policy.syntax_parts import Duration, Section

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,6})([KMG])")


def _bytes(value: object) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(found[1]) * _UNITS[found[2]]
    plain = isinstance(value, int) and not isinstance(value, bool) and value > 0
    remedy = f"write {value}M" if plain else "write 64M or 1G"
    raise PydanticCustomError(
        "said", "{message}", {"message": f"{shown(value)} is no size", "remedy": remedy}
    )


Size = Annotated[
    int,
    BeforeValidator(
        _bytes, json_schema_input_type=Annotated[str, Field(pattern=r"^[0-9]{1,6}[KMG]$")]
    ),
]


class LogSection(Section):
    """What is kept on disk of who asked for what. Nothing, unless it says so."""

    names: Literal["all", "refused", "off"] = Field(
        default="off", description="which names are written to names.jsonl"
    )
    history: bool = Field(
        default=False, description="what `explain` remembers, on disk: it survives a restart"
    )
    retention: Duration | None = Field(default=None, description="older lines are deleted (7d)")
    size: Size | None = Field(default=None, description="of the log at most, oldest first (256M)")
    hash: bool = Field(
        default=False, description="names and addresses as keyed hashes: equal ones look equal"
    )
    askers: bool = Field(default=True, description="who asked: client, user, cgroup, process")
    without: list[str] | None = Field(
        default=None, min_length=1, description="roles of which nothing is kept"
    )
    directory: str | None = Field(
        default=None, min_length=1, description="where ($LOGS_DIRECTORY, else /var/log/dnsfw)"
    )
