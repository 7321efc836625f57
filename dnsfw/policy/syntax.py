"""The shape of a policy file: one pydantic model for validation, JSON Schema and docs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from dnsfw.model import abi
from dnsfw.policy.problems import shown
from dnsfw.policy.syntax_log import LogSection
from dnsfw.policy.syntax_parts import Section
from dnsfw.policy.syntax_questions import Guarding, Qtypes
from dnsfw.policy.syntax_remote import RemoteSection
from dnsfw.policy.syntax_roles import Inbound, Loopback, RoleName, RoleSection
from dnsfw.policy.syntax_rules import RuleSection, TtlSection
from dnsfw.policy.syntax_tests import CaseSection
from dnsfw.policy.syntax_upstream import Texts, UpstreamEntry

MAX_ROLES = int(abi.Limit.MAX_ROLES) - int(abi.RoleId.FIRST)  # the kernel's table has no more


def _one(value: object) -> object:
    """True equals 1 in Python, but not in a policy."""
    if isinstance(value, bool):
        message = f"'version' is 1, not {str(value).lower()}"
        raise PydanticCustomError("said", "{message}", {"message": message, "remedy": "write 1"})
    return value


MAX_WORKERS = 64  # processes; each has some ten megabytes of its own


def _processes(value: object) -> int:
    """How many; 0 is one a CPU."""
    if value == "auto":
        return 0
    plain = isinstance(value, int) and not isinstance(value, bool)
    if plain and 1 <= value <= MAX_WORKERS:  # type: ignore[operator]
        return value  # type: ignore[return-value]
    message = f"{shown(value)} is no number of processes"
    remedy = f"write 1 to {MAX_WORKERS}, or auto: one a CPU"
    raise PydanticCustomError("said", "{message}", {"message": message, "remedy": remedy})


Workers = Annotated[
    int,
    BeforeValidator(
        _processes,
        json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Literal["auto"],
    ),
]


class DnsSection(Section):
    """The proxy."""

    listen: list[str] | None = Field(default=None, min_length=1, description="addresses with ports")
    upstreams: list[UpstreamEntry] | None = Field(
        default=None, min_length=1, description="system, addresses, tls://… or https://…"
    )
    refuse: Literal["nxdomain", "refused", "nodata", "zero"] = Field(
        default="nxdomain", description="how a refused name is answered"
    )
    takeover: bool = Field(default=False, description="rewrite port-53 queries of guarded sockets")
    private: Literal["allow", "deny"] = Field(
        default="allow", description="private addresses in answers, under default: allow"
    )
    nat64_prefix: Texts | None = Field(
        default=None, description="this network's translation prefixes, as in 2001:db8:64::/96"
    )
    kernel_answers: Literal["on", "off"] = Field(
        default="on", description="repeated questions are answered inside the kernel"
    )
    xdp: list[str] | None = Field(
        default=None, min_length=1, description="interfaces whose guests are answered by XDP"
    )
    workers: Workers = Field(
        default=1, description="processes that answer over UDP; auto: one a CPU"
    )


class HostSection(Section):
    """What belongs to the role `host`."""

    containers: bool = Field(default=False, description="sockets of other network namespaces too")


class TablesSection(Section):
    """How much the kernel's tables hold. They are made once: a change waits for `dnsfw down`."""

    grants: int | None = Field(
        default=None, ge=1024, le=1 << 24, description="addresses open or closed at once (262144)"
    )
    flows: int | None = Field(
        default=None, ge=1024, le=1 << 22,
        description="conversations at once (65536), 150 bytes each from the start",
    )  # fmt: skip


class PolicySection(Section):
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
    inbound: Inbound = Field(default="all", description="what the role host may listen on")
    loopback: Loopback = Field(default="all", description="what the role host reaches on loopback")
    ttl: TtlSection | None = Field(
        default=None, description="for every rule that does not say otherwise"
    )
    qtypes: Qtypes | None = Field(default=None, description="types that may be asked for")
    guard: Guarding | None = Field(default=None, description="how much names may say")
    rules: list[RuleSection] | None = Field(default=None, min_length=1, description="the role host")
    roles: dict[RoleName, RoleSection] | None = Field(
        default=None, min_length=1, max_length=MAX_ROLES, description="policies of their own"
    )
    tests: list[CaseSection] | None = Field(
        default=None, min_length=1, description="what `dnsfw test` and every reload check"
    )
    dns: DnsSection | None = None
    host: HostSection | None = None
    log: LogSection | None = None
    tables: TablesSection | None = None
    degraded: Literal["allow", "deny"] = Field(
        default="deny", description="allow: start although a wanted hook cannot be attached"
    )
    locked: bool = Field(
        default=False, description="no `dnsfw allow`, `deny` or `pause`, for any role"
    )
    remote: RemoteSection | None = Field(
        default=None, description="the policy, or its greater part, comes over https"
    )
    revision: int | None = Field(
        default=None, ge=0, description="only grows: a reload refuses an older one"
    )


# Keys of the language that later versions read, and one that never will: better said than guessed.
LATER = {
    "subjects": "whoever is in no role is 'host': it has no subjects of its own",
    "lists": "a list stands where a destination does: 'deny: {list: ads.txt}'",
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, for editors and for CI."""
    made: dict[str, Any] = _without_null(PolicySection.model_json_schema(mode="validation"))
    made["title"] = "dnsfw policy"
    made["required"] = ["version"]  # a policy that is elsewhere says its default there
    made["anyOf"] = [{"required": ["default"]}, {"required": ["remote"]}]
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
