"""The shape of `qtypes` and `guard`, of a role and of a rule."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from dnsfw.policy.problems import shown
from dnsfw.policy.syntax_parts import Duration, Section

__all__ = ["GuardSection", "Guarding", "Qtypes"]

_WORDS = ("off", "log", "throttle", "refuse")


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _word(value: object) -> object:
    """A word alone is the action, the numbers are the defaults."""
    if isinstance(value, str) and value in _WORDS:
        return {"action": value}
    if isinstance(value, dict | GuardSection):
        return value
    message = f"'guard' is {', '.join(_WORDS)} or keys and values, not {shown(value)}"
    near = get_close_matches(str(value).lower(), _WORDS, n=1, cutoff=0.6)
    remedy = f"did you mean '{near[0]}'?" if near else "write 'guard: throttle'"
    if value is False:
        remedy = "write 'guard: off'"
    raise PydanticCustomError("said", "{message}", {"message": message, "remedy": remedy})


class GuardSection(Section):
    """How much may be said in names below one registrable domain."""

    action: Literal["off", "log", "throttle", "refuse"] = Field(
        default="log", description="what becomes of a question that says too much"
    )
    names: int = Field(default=100, ge=1, le=10_000, description="new names in a window")
    window: Duration = Field(default="5m", validate_default=True, description="how long it is")
    label: int = Field(default=52, ge=8, le=63, description="bytes of one label")
    nxdomain: int = Field(default=50, ge=1, le=100, description="percent of the answers")
    types: int = Field(
        default=50, ge=1, le=100, description="percent of new names asked for TXT, NULL, odd types"
    )
    rate: int = Field(default=50, ge=1, le=100_000, description="questions a second upstream")


Guarding = Annotated[
    GuardSection,
    BeforeValidator(
        _word, json_schema_input_type=Literal["off", "log", "throttle", "refuse"] | GuardSection
    ),
]
_Types = Annotated[list[str], Field(min_length=1)]
Qtypes = Annotated[_Types, BeforeValidator(_several, json_schema_input_type=str | _Types)]
