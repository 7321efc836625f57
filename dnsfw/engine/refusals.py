"""How a refusal looks on the wire: `dns.refuse`, with the reason and an SOA to cache it by."""

from __future__ import annotations

from dnsfw.engine.limits import REFUSAL_TTL
from dnsfw.model import Name, Reason
from dnsfw.policy.policy import Refusal
from dnsfw.policy.rule import Rule
from dnsfw.wire import reply
from dnsfw.wire.codes import IN
from dnsfw.wire.message import AAAA, HINFO, A, Ede, Query, Rcode, Record, read_response
from dnsfw.wire.name import skip_name
from dnsfw.wire.parts import HEADER, PAIR
from dnsfw.wire.reply import Template

_ZERO = {A: bytes(4), AAAA: bytes(16)}
_RFC8482 = b"\x07RFC8482\x00"  # RFC 8482, section 4.2: CPU says why, OS is empty
_HINFO_TTL = 3600

_SAID = {
    Reason.NAME_DEFAULT: "no rule allows this name",
    Reason.BAD_LABEL: "no rule allows these octets in a name",
    Reason.LOCKDOWN: "lockdown",
    Reason.UNKNOWN_ASKER: "nobody knows who asks: the packet carries no role",
}


def said(reason: Reason, rule: Rule | None) -> str:
    """The text of the error: the rule's id, never its text, which may be the list's secret."""
    if rule is not None:
        where = " on the CNAME chain" if reason is Reason.CHAIN_DENIED else ""
        return f"rule {rule.id:08x}{where}"
    return _SAID.get(reason, reason.name.lower())


def refusal(name: Name, qtype: int, how: Refusal, reason: Reason, rule: Rule | None) -> Template:
    """The reply to a query for a denied name (RFC 8914: 15, Blocked)."""
    return refusal_as(how, name, qtype, (Ede.BLOCKED, said(reason, rule)))


def refusal_as(how: Refusal, name: Name, qtype: int, ede: tuple[int, str]) -> Template:
    """The same with a text of its own."""
    if how == "refused":
        return Template(name, Rcode.REFUSED, ede=ede)
    if how == "zero" and (zero := _ZERO.get(qtype)) is not None:
        return Template(name, Rcode.NOERROR, [Record(name, qtype, IN, REFUSAL_TTL, zero)], ede=ede)
    rcode = Rcode.NXDOMAIN if how == "nxdomain" else Rcode.NOERROR
    return Template(name, rcode, authority=[reply.soa(name, REFUSAL_TTL)], ede=ede)


def nothing(name: Name, ede: tuple[int, str]) -> Template:
    """No data: the name is there, what was asked for is not."""
    return Template(name, Rcode.NOERROR, authority=[reply.soa(name, REFUSAL_TTL)], ede=ede)


def failure(name: Name, ede: tuple[int, str]) -> Template:
    """SERVFAIL with what went wrong."""
    return Template(name, Rcode.SERVFAIL, ede=ede)


def instead(wire: bytes, ede: tuple[int, str]) -> bytes:
    """A SERVFAIL in place of a reply of ours that must not be sent after all."""
    said = read_response(wire)
    question = wire[HEADER.size : skip_name(wire, HEADER.size) + PAIR.size]
    query = Query(said.id, said.flags, said.name, said.qtype, said.qclass, question, said.edns)
    return failure(said.name, ede).render(query)


def any_answer(name: Name) -> Template:
    """The short answer to ANY (RFC 8482): nobody gets all records of a name at once."""
    return Template(name, Rcode.NOERROR, [Record(name, HINFO, IN, _HINFO_TTL, _RFC8482)])
