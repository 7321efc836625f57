"""The shape of an upstream: a line, or keys where it needs more than a line."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Texts", "UpstreamEntry", "UpstreamSection"]


def _several(value: object) -> object:
    """A lone text is a list of one."""
    return [value] if isinstance(value, str) else value


def _server(value: object) -> Any:
    """A line is a server about which there is nothing more to say."""
    return {"server": value} if isinstance(value, str) else value


Texts = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(
        _several, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]
    ),
]


class UpstreamSection(BaseModel):
    """A server to ask."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    server: str = Field(description="system, 9.9.9.9, tls://ADDRESS#NAME, https://NAME/PATH")
    addresses: Texts | None = Field(
        default=None, description="where an encrypted one is; else its name is looked up"
    )
    ca: str | None = Field(
        default=None, min_length=1, description="a file of certificates to trust, and no others"
    )
    pin: Texts | None = Field(
        default=None, description="sha256/BASE64 of its public key, besides the name check"
    )
    trusted: bool = Field(default=False, description="believe its AD bit: it checks DNSSEC")


UpstreamEntry = Annotated[
    UpstreamSection, BeforeValidator(_server, json_schema_input_type=str | UpstreamSection)
]
