"""One line of the log of names: what was asked and answered, judged as explain would."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from dnsfw.engine.effects import Note
from dnsfw.errors import WireError
from dnsfw.model import Mode, Name, Reason, RoleId, RuleId, Verdict, addr_from, addr_text
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.rule import Judgement
from dnsfw.server.escape import safe
from dnsfw.server.reporter import role_text
from dnsfw.server.veil import Veil
from dnsfw.server.who_asks import CgroupPaths, Who
from dnsfw.values import dataclass
from dnsfw.wire.codes import type_text
from dnsfw.wire.message import AAAA, CNAME, A, Ede, Rcode, Record, read_response
from dnsfw.wire.name import to_text

__all__ = ["Heard", "name_row", "who_row"]

_BY_POLICY = frozenset({Ede.BLOCKED, Ede.CENSORED, Ede.FILTERED, Ede.PROHIBITED})
_REFUSALS = frozenset({"refused", "table-full"})
_EDE_OPTION = 15
_WHY = 200  # characters
_ADDRESSES = 16  # of one line


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply that went to a client, and what the engine told besides."""

    at: float
    role: RoleId
    wire: bytes
    notes: tuple[Note, ...]
    who: Who
    policy: Policy
    count: int = 1


def name_row(heard: Heard, veil: Veil) -> dict[str, Any] | None:
    """The line without who asked; None for a reply that is no answer to a question."""
    try:
        reply = read_response(heard.wire)
    except WireError:
        return None
    if not reply.qtype:
        return None
    role = heard.policy.roles.get(heard.role)
    judged = None if role is None else role.judge(reply.name)
    chain, addresses = _way(reply.name, reply.answers)
    ede = _ede(reply.edns)
    verdict, reason, rule = _verdict(heard, reply.name, role, judged, ede, bool(reply.answers))
    row = {
        "at": round(heard.at, 3),
        "kind": "name",
        "role": role.name if role is not None else role_text(heard.role),
        "name": veil.name(to_text(reply.name)),
        "qtype": type_text(reply.qtype),
        "verdict": verdict.name.lower(),
        "reason": reason,
        **_rule(heard.policy, rule, veil, judged),
        "rcode": _rcode(reply.rcode),
        "chain": [veil.name(to_text(name)) for name in chain],
        "addresses": [veil.address(text) for text in addresses],
        "count": heard.count,
    }
    if ede is not None and not veil:  # it may say a name
        row["why"] = safe(ede[1])[:_WHY]
    return row


def who_row(who: Who, paths: CgroupPaths, veil: Veil) -> dict[str, Any]:
    """Who asked, as far as it is known."""
    if not who.address:
        return {}
    row: dict[str, Any] = {"client": veil.address(who.address), "transport": who.transport}
    if who.user is not None:
        row["uid"] = who.user
    if path := paths.path(who.cgroup):
        row["cgroup"] = path
        pid, command = paths.process(who.cgroup, who.inode)
        if pid:
            row |= {"pid": pid, "command": command}
    return row


def _verdict(
    heard: Heard,
    name: Name,
    role: RolePolicy | None,
    judged: Judgement | None,
    ede: tuple[int, str] | None,
    answered: bool,
) -> tuple[Verdict, str, RuleId | None]:
    """What became of it: the engine's own word where it said one, else the policy's."""
    for note in heard.notes:
        if note.name != name or note.role != heard.role:
            continue
        if note.kind in _REFUSALS and not answered:
            return Verdict.DENY, _word(note.reason), note.rule
        if note.kind == "audited":
            return Verdict.ALLOW, "audited", note.rule
    if role is None or judged is None:
        return Verdict.DENY, "unknown-asker", None
    rule = judged.rule.id if judged.rule else None
    if not judged.answered and role.mode is not Mode.AUDIT:
        return Verdict.DENY, _word(judged.reason), rule
    if ede is not None and ede[0] in _BY_POLICY and not answered:
        return Verdict.DENY, "filtered", rule
    return Verdict.ALLOW, _word(judged.reason), rule


def _rule(
    policy: Policy, rule: RuleId | None, veil: Veil, judged: Judgement | None = None
) -> dict[str, Any]:
    """A rule's text names what it is about: under a veil its id must do. Of a list it is the
    entry, where the name was judged by it.
    """
    found = judged.rule if judged is not None and judged.rule is not None else None
    if found is None or found.id != rule:
        found = policy.rule(rule) if rule is not None else None
    if found is None:
        return {"rule": "", "rule_id": ""}
    return {"rule": "" if veil else found.text, "rule_id": f"{found.id:08x}"}


def _way(name: Name, answers: tuple[Record, ...]) -> tuple[list[Name], list[str]]:
    """The names that CNAMEs led over, in order, and the addresses at their end."""
    nexts = {record.owner: Name(record.rdata) for record in answers if record.rtype == CNAME}
    chain: list[Name] = []
    at = name
    while (at := nexts.get(at, Name(b""))) and at not in chain:
        chain.append(at)
    packed = [record.rdata for record in answers if record.rtype in (A, AAAA)]
    return chain, [_address(data) for data in packed[:_ADDRESSES]]


def _address(packed: bytes) -> str:
    return addr_text(addr_from(ip_address(packed)))


def _ede(edns: Any) -> tuple[int, str] | None:
    """The first Extended DNS Error of a reply (RFC 8914)."""
    for code, data in edns.options if edns is not None else ():
        if code == _EDE_OPTION and len(data) >= 2:
            return int.from_bytes(data[:2], "big"), data[2:].decode("utf-8", "replace")
    return None


def _rcode(rcode: int) -> str:
    try:
        return Rcode(rcode).name
    except ValueError:
        return str(rcode)


def _word(reason: Reason) -> str:
    return reason.name.lower().replace("_", "-")
