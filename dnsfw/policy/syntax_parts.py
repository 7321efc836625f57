"""What every part of a policy file is made of: sections without unknown keys, durations."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dnsfw.policy.problems import shown

__all__ = ["Duration", "Section"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def _seconds(value: object) -> int:
    if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        return int(found[1]) * _UNITS[found[2]]
    plain = isinstance(value, int) and not isinstance(value, bool) and value > 0
    remedy = f"write {value}s" if plain else "write 30s, 5m or 1h"
    raise PydanticCustomError(
        "said", "{message}", {"message": f"{shown(value)} is no duration", "remedy": remedy}
    )


Duration = Annotated[
    int,
    BeforeValidator(
        _seconds, json_schema_input_type=Annotated[str, Field(pattern=r"^[0-9]{1,9}[smhd]$")]
    ),
]


class Section(BaseModel):
    """What every part of a policy file keeps: no unknown key, no conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
