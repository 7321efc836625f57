"""The shape of a role: who is in it, what it may hear, and its rules."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from dnsfw.policy.problems import shown
from dnsfw.policy.syntax_parts import Section
from dnsfw.policy.syntax_questions import Guarding, Qtypes
from dnsfw.policy.syntax_rules import Note, RuleSection, TtlSection

INBOUND_WORDS = ("deny", "tcp", "all")
LOOPBACK_WORDS = ("all", "own")
ROLE_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"


def _access(key: str, words: tuple[str, ...], value: object) -> object:
    """A word, or ports: a lone port is a list of one."""
    if isinstance(value, str) and value in words:
        return value
    listed = value if isinstance(value, list) else [value]
    if all(map(_is_port, listed)):
        return list(map(str, listed))
    near = get_close_matches(str(value).lower(), words, n=1, cutoff=0.6)
    bad = [item for item in listed if not _is_port(item)]
    given = f"{shown(bad[0])} in it" if isinstance(value, list) and bad else shown(value)
    message = f"'{key}' is {', '.join(words)} or a list of ports, not {given}"
    remedy = f"did you mean '{near[0]}'?" if near else "write [80, 443]"
    raise PydanticCustomError("said", "{message}", {"message": message, "remedy": remedy})


def _is_port(value: object) -> bool:
    """Whether it looks like one; what is wrong with it is told where it is read."""
    return not isinstance(value, bool) and isinstance(value, int | str) and str(value)[:1].isdigit()


def _account(value: object) -> object:
    """A user or group: a number or a name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


Port = Annotated[int, Field(ge=1, le=65535)] | Annotated[str, Field(pattern=r"^[0-9]")]
Ports = Annotated[list[Port], Field(min_length=1)]
Inbound = Annotated[
    str | list[str],
    BeforeValidator(
        partial(_access, "inbound", INBOUND_WORDS),
        json_schema_input_type=Literal["deny", "tcp", "all"] | Port | Ports,
    ),
]
Loopback = Annotated[
    str | list[str],
    BeforeValidator(
        partial(_access, "loopback", LOOPBACK_WORDS),
        json_schema_input_type=Literal["all", "own"] | Port | Ports,
    ),
]
Account = Annotated[str, BeforeValidator(_account, json_schema_input_type=int | str)]
RoleName = Annotated[str, Field(pattern=f"^{ROLE_NAME}$")]


class SubjectSection(Section):
    """Who is in the role: one kind an entry (source may name the interface it comes in by)."""

    cgroup: str | None = Field(
        default=None, description="a path, or a systemd unit; everything below it too"
    )
    executable: str | None = Field(default=None, description="whoever runs this file")
    uid: Account | None = Field(default=None, description="a user, by name or number")
    gid: Account | None = Field(default=None, description="a primary group, by name or number")
    source: str | None = Field(default=None, description="forwarded traffic from this prefix")
    interface: str | None = Field(
        default=None, description="forwarded traffic, and guests, that come in by it"
    )
    via: str | None = Field(
        default=None, description="what another role's sockets send by this interface"
    )
    role: str | None = Field(default=None, description="of via: whose sockets (host)")


class RoleSection(Section):
    """One role: a named set of rules for its subjects."""

    default: Literal["deny", "allow"] = Field(default="deny", description="what no rule names")
    mode: Literal["enforce", "audit"] = Field(
        default="enforce", description="audit: judge, log, let pass"
    )
    resolved_only: bool = Field(
        default=False,
        description="under default: allow, refuse addresses that dnsfw never handed out",
    )
    inbound: Inbound = Field(default="tcp", description="deny, tcp, all, or ports to listen on")
    loopback: Loopback = Field(default="all", description="all, own listeners, or ports")
    ttl: TtlSection | None = Field(
        default=None, description="for every rule of the role that does not say otherwise"
    )
    locked: bool = Field(
        default=False, description="no `dnsfw allow`, `deny` or `pause` for this role"
    )
    number: int | None = Field(
        default=None, ge=0, le=2**32 - 1, description="what an older enrolment socket calls it"
    )
    qtypes: Qtypes | None = Field(default=None, description="types that may be asked for")
    guard: Guarding | None = Field(default=None, description="how much names may say")
    note: Note | None = Field(default=None, description="for people")
    subjects: list[SubjectSection] | None = Field(
        default=None, min_length=1, description="who is in it"
    )
    rules: list[RuleSection] | None = Field(default=None, min_length=1, description="its rules")
