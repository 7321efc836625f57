"""A look-up on behalf of a role, asked over the control socket: the engine's own path.

`dnsfw query` runs where no hook of ours sees its packets, and a query without a role is
refused. Who may change the firewall may ask as any role: the answer opens addresses for
that role, as if one of its programs had asked, and for no other. Who may only look hears
what the policy says of the name; nothing is asked and nothing opens.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dnsfw.engine.effects import Client, Transport
from dnsfw.errors import ConfigError, WireError
from dnsfw.model import Mode, Name
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.server.control import Peer, Row
from dnsfw.server.reporter import reason_text
from dnsfw.wire.name import from_text, to_text
from dnsfw.wire.reply import write_query

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["resolve", "role_named"]

_PATIENCE = 6.0  # seconds: the engine answers within 5, if only SERVFAIL
_HIGHEST_TYPE = 65535


class _Ear:
    """Where the engine's reply goes."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def send(self, wire: bytes) -> None:
        if not self.heard.done():
            self.heard.set_result(wire)


def role_named(policy: Policy, name: object) -> RolePolicy:
    """The role of a name. ConfigError names those there are."""
    for role in policy.roles.values():
        if role.name == name:
            return role
    known = ", ".join(role.name for role in policy.roles.values())
    raise ConfigError(f"there is no role of that name; there are: {known}")


async def resolve(daemon: Daemon, request: Row, peer: Peer) -> dict[str, Any]:
    """The reply's bytes, or what the policy says. ConfigError for what cannot be asked."""
    role = role_named(daemon.reloader.policy, request.get("role", "host"))
    qtype = request.get("qtype")
    if not isinstance(qtype, int) or not 0 < qtype <= _HIGHEST_TYPE:
        raise ConfigError("the type of a query is a number from 1 to 65535")
    try:
        name = from_text(str(request.get("name")))
    except WireError as error:
        raise ConfigError(f"this is not a domain name: {error}") from None
    if not peer.may_change:
        return {"role": role.name, **_judged(daemon, role, name)}
    ear = _Ear()
    client = Client(ear, role.role, Transport.TCP, "control")
    wire = write_query(0, name, qtype)
    daemon.service.performer.query(wire, client)
    try:
        async with asyncio.timeout(_PATIENCE):
            return {"role": role.name, "wire": (await ear.heard).hex()}
    except TimeoutError:
        raise ConfigError("the daemon gave no answer in time") from None


def _judged(daemon: Daemon, role: RolePolicy, name: Name) -> dict[str, Any]:
    """What the policy says, without a look-up."""
    judgement = role.judge(name)
    rule = judgement.rule
    return {
        "name": to_text(name),
        "judged": "allow" if judgement.answered or role.mode is Mode.AUDIT else "deny",
        "reason": reason_text(judgement.reason),
        "rule": daemon.reporter.rule_text(rule.id) if rule is not None else "",
    }
