"""The shape of a policy file: one pydantic model for validation, JSON Schema and docs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dnsfw.policy.problems import shown

MAX_NOTE = 200
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def _seconds(value: object) -> int:
    if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        return int(found[1]) * _UNITS[found[2]]
    plain = isinstance(value, int) and not isinstance(value, bool)
    remedy = f"write {value}s" if plain else "write 30s, 5m or 1h"
    raise PydanticCustomError(
        "said", "{message}", {"message": f"{shown(value)} is no duration", "remedy": remedy}
    )


def _one(value: object) -> object:
    """True equals 1 in Python, but not in a policy."""
    if isinstance(value, bool):
        message = f"'version' is 1, not {str(value).lower()}"
        raise PydanticCustomError("said", "{message}", {"message": message, "remedy": ""})
    return value


def _note(value: object) -> object:
    if isinstance(value, str) and not value.isprintable():
        raise PydanticCustomError(
            "said", "{message}", {"message": "a note is one printable line", "remedy": ""}
        )
    return value


def _listed(value: object) -> object:
    """A lone destination is a list of one."""
    if isinstance(value, dict) and "list" in value:
        message = "lists are not supported by this version"
        raise PydanticCustomError(
            "said", "{message}", {"message": message, "remedy": "write the names as rules"}
        )
    return [value] if isinstance(value, str) else value


Duration = Annotated[
    int,
    BeforeValidator(
        _seconds, json_schema_input_type=Annotated[str, Field(pattern=r"^[0-9]{1,9}[smhd]$")]
    ),
]
Destination = Annotated[
    str, Field(description="WHAT[:PORTS][/PROTO]", json_schema_extra={"minLength": 1})
]
Destinations = Annotated[
    list[Destination],
    Field(min_length=1),
    BeforeValidator(
        _listed,
        json_schema_input_type=Destination | Annotated[list[Destination], Field(min_length=1)],
    ),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TtlSection(_Section):
    """How long an address stays open after the name was asked."""

    min: Duration | None = Field(default=None, description="no grant is shorter (5s)")
    max: Duration | None = Field(
        default=None, description="no grant is longer, no answer says more (1h)"
    )
    grace: Duration | None = Field(
        default=None, description="added to every grant, at least 2s (10s)"
    )


class RuleSection(_Section):
    """One rule: exactly one of allow and deny, with a destination or several."""

    allow: Destinations | None = Field(default=None, description="what may be reached")
    deny: Destinations | None = Field(default=None, description="what may not be reached")
    note: Annotated[str, BeforeValidator(_note)] | None = Field(
        default=None, max_length=MAX_NOTE, description="for people: shown where the rule is"
    )
    ttl: TtlSection | None = Field(default=None, description="for this rule alone")
    private: bool | None = Field(default=None, description="answers may hold private addresses")
    broad: bool | None = Field(
        default=None, description="yes, this wildcard is meant to be that wide"
    )
    shared: Literal["allow", "deny"] | None = Field(
        default=None, description="deny: close an address although an allowed name holds it too"
    )
    close: Literal["asked"] | None = Field(
        default=None,
        description="asked: close the addresses of names asked below a denied wildcard",
    )


class DnsSection(_Section):
    """The proxy."""

    listen: list[str] | None = Field(default=None, min_length=1, description="addresses with ports")
    upstreams: list[str] | None = Field(
        default=None, min_length=1, description="system, or addresses"
    )
    refuse: Literal["nxdomain", "refused", "nodata", "zero"] = Field(
        default="nxdomain", description="how a refused name is answered"
    )
    takeover: bool = Field(default=False, description="rewrite port-53 queries of guarded sockets")
    private: Literal["allow", "deny"] = Field(
        default="allow", description="private addresses in answers, under default: allow"
    )


class HostSection(_Section):
    """What belongs to the role `host`."""

    containers: bool = Field(default=False, description="sockets of other network namespaces too")


class PolicySection(_Section):
    """A dnsfw policy."""

    version: Annotated[Literal[1], BeforeValidator(_one)] = Field(description="of the language")
    default: Literal["deny", "allow"] = Field(description="what no rule names")
    mode: Literal["enforce", "audit"] = Field(
        default="enforce", description="audit: judge, log, let pass"
    )
    resolved_only: bool = Field(
        default=False,
        description="under default: allow, refuse addresses that dnsfw never handed out",
    )
    ttl: TtlSection | None = Field(
        default=None, description="for every rule that does not say otherwise"
    )
    rules: list[RuleSection] | None = Field(default=None, min_length=1, description="the role host")
    dns: DnsSection | None = None
    host: HostSection | None = None
    degraded: Literal["allow", "deny"] = Field(
        default="deny", description="allow: start although a wanted hook cannot be attached"
    )


# Keys of the language that later versions read: better said than guessed.
LATER = {
    "roles": "roles are not supported by this version",
    "tests": "tests are not supported by this version",
    "lists": "lists are not supported by this version",
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, for editors and for CI."""
    made: dict[str, Any] = _without_null(PolicySection.model_json_schema(mode="validation"))
    made["title"] = "dnsfw policy"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _without_null(node: Any) -> Any:
    """An optional key may be missing; it may not be null, so the schema must not say so."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {
        key: _without_null(value)
        for key, value in node.items()
        if not (key == "default" and value is None)
    }
    if isinstance(out.get("anyOf"), list):
        kinds = [kind for kind in out.pop("anyOf") if kind != {"type": "null"}]
        out = {**kinds[0], **out} if len(kinds) == 1 else {**out, "anyOf": kinds}
    return out
