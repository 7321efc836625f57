"""The shape of one rule, and of what rules and roles share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from dnsfw.model import abi
from dnsfw.policy.syntax_parts import Duration, Section
from dnsfw.policy.syntax_questions import Guarding, Qtypes
from dnsfw.policy.syntax_remote import RemoteKeys

MAX_NOTE = 200
MOST_ADDRESSES = int(abi.Limit.MAX_GRANTS)


def _note(value: object) -> object:
    if isinstance(value, str) and not value.isprintable():
        raise PydanticCustomError(
            "said", "{message}", {"message": "a note is one printable line", "remedy": ""}
        )
    return value


def _several(value: object) -> object:
    """A lone destination is a list of one."""
    return [value] if isinstance(value, str) else value


def _which(value: object) -> str:
    return LIST_TAG if isinstance(value, dict | ListSection) else NAMES_TAG


ListFormat = Literal["plain", "hosts", "wildcard", "adblock", "rpz", "dnsmasq", "cidr"]
Destination = Annotated[
    str, Field(description="WHAT[:PORTS][/PROTO]", json_schema_extra={"minLength": 1})
]
Note = Annotated[str, BeforeValidator(_note), Field(max_length=MAX_NOTE)]


class ListSection(RemoteKeys):
    """A file of names or addresses, in a format that other tools use too, here or at a URL."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    list: Annotated[
        str, Field(min_length=1, description="a path, from the policy's directory, or https://…")
    ]
    format: ListFormat = Field(default="plain", description="how its lines look")
    meaning: Literal["exact", "suffix"] = Field(
        default="exact", alias="as", description="suffix: a plain name means all below it too"
    )
    ports: str | None = Field(default=None, description="PORTS[/PROTO] of each of its names")
    optional: bool | None = Field(
        default=None, description="of a URL: start without it where there is no copy"
    )


# A union tells which of its arms did not fit: the tags are no keys of the file.
NAMES_TAG, LIST_TAG = "(names)", "(list)"
_Names = Annotated[list[Destination], Field(min_length=1)]
Destinations = Annotated[
    Annotated[_Names, Tag(NAMES_TAG)] | Annotated[ListSection, Tag(LIST_TAG)],
    Discriminator(_which),
    BeforeValidator(_several, json_schema_input_type=Destination | _Names | ListSection),
]


class TtlSection(Section):
    """How long an address stays open after the name was asked."""

    min: Duration | None = Field(default=None, description="no grant is shorter (5s)")
    max: Duration | None = Field(
        default=None, description="no grant is longer, no answer says more (1h)"
    )
    grace: Duration | None = Field(
        default=None, description="added to every grant, at least 2s (10s)"
    )


class RuleSection(Section):
    """One rule: exactly one of allow and deny, with a destination or several."""

    allow: Destinations | None = Field(default=None, description="what may be reached")
    deny: Destinations | None = Field(default=None, description="what may not be reached")
    note: Note | None = Field(default=None, description="for people: shown where the rule is")
    ttl: TtlSection | None = Field(default=None, description="for this rule alone")
    private: bool | None = Field(default=None, description="answers may hold private addresses")
    broad: bool | None = Field(
        default=None, description="yes, this wildcard is meant to be that wide"
    )
    addresses: int | None = Field(
        default=None,
        ge=1,
        le=MOST_ADDRESSES,
        description="how many addresses its names may hold at once (16384)",
    )
    keep: bool | None = Field(
        default=None, description="look its exact name up at load, and again before it expires"
    )
    qtypes: Qtypes | None = Field(default=None, description="types that may be asked for")
    guard: Guarding | None = Field(default=None, description="how much its names may say")
    shared: Literal["allow", "deny"] | None = Field(
        default=None, description="deny: close an address although an allowed name holds it too"
    )
    close: Literal["asked"] | None = Field(
        default=None,
        description="asked: close the addresses of names asked below a denied wildcard",
    )
