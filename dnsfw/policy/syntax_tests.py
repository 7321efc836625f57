"""The shape of a test of a policy."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from dnsfw.policy.syntax_parts import Section
from dnsfw.policy.syntax_rules import Destination, Note

_Several = Annotated[list[Destination], Field(min_length=1)]


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Destinations = Annotated[
    _Several, BeforeValidator(_several, json_schema_input_type=Destination | _Several)
]


class CaseSection(Section):
    """What must come of a destination: exactly one of allow and deny."""

    allow: Destinations | None = Field(default=None, description="HOST[:PORT][/PROTO] that passes")
    deny: Destinations | None = Field(default=None, description="HOST[:PORT][/PROTO] that does not")
    role: str = Field(default="host", description="who goes there")
    answer: list[str] | None = Field(
        default=None, min_length=1, description="what the name resolves to: CNAMEs, then addresses"
    )
    by: str | None = Field(default=None, description="the rule that must decide, as explain has it")
    note: Note | None = Field(default=None, description="for people")
