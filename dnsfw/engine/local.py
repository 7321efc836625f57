"""Names that are answered here and never asked for: RFC 6761, 6303, 7686, 8375, 9462, 9476."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.engine.limits import REFUSAL_TTL
from dnsfw.model import Name, Verdict
from dnsfw.policy.policy import RolePolicy
from dnsfw.values import dataclass
from dnsfw.wire import reply
from dnsfw.wire.message import AAAA, A, Rcode, Record
from dnsfw.wire.name import from_text, suffix_starts

_LOCALHOST_TTL = 3600
_LOCALHOST = from_text("localhost")
_RDATA = {A: bytes((127, 0, 0, 1)), AAAA: bytes(15) + b"\x01"}


@dataclass(frozen=True, slots=True)
class Local:
    """An answer that needs nobody."""

    rcode: Rcode
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()


def _names(texts: Iterable[str]) -> frozenset[Name]:
    return frozenset(from_text(text) for text in texts)


# Asking whether they exist is how a browser or a phone finds out that it may not go around
# this resolver, so no rule lifts them: a wildcard for icloud.com must not switch a relay on.
_CANARIES = _names(("use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com"))
# RFC 9462, section 6.4: there is no designated encrypted resolver; the zone itself is ours.
_DISCOVERY = _names(("resolver.arpa",))
_ABSENT = _names(
    (
        "alt",  # RFC 9476
        "home.arpa",  # RFC 8375
        "invalid",  # RFC 6761
        "onion",  # RFC 7686
        "test",  # RFC 6761
        # RFC 6303 and RFC 7793: reverse zones that the public DNS has no honest answer for.
        "0.in-addr.arpa",
        "10.in-addr.arpa",
        "127.in-addr.arpa",
        "254.169.in-addr.arpa",
        "168.192.in-addr.arpa",
        "2.0.192.in-addr.arpa",
        "100.51.198.in-addr.arpa",
        "113.0.203.in-addr.arpa",
        "255.255.255.255.in-addr.arpa",
        *(f"{n}.172.in-addr.arpa" for n in range(16, 32)),
        *(f"{n}.100.in-addr.arpa" for n in range(64, 128)),
        ".".join("0" * 32) + ".ip6.arpa",
        "1." + ".".join("0" * 31) + ".ip6.arpa",
        "d.f.ip6.arpa",
        *(f"{n}.e.f.ip6.arpa" for n in "89ab"),
        "8.b.d.0.1.0.0.2.ip6.arpa",
    )
)
SPECIAL = _CANARIES | _DISCOVERY | _ABSENT | {_LOCALHOST}
# The last labels of those that speak for names below them. Octets of a longer label may look
# the same, so this only says who need not be looked at.
_TOPS = tuple({z[[*suffix_starts(z)][-2] :] for z in SPECIAL - _CANARIES})


def special(name: Name) -> bool:
    """Whether it may be a name that is answered here."""
    return name.endswith(_TOPS) or name in _CANARIES


def local_answer(name: Name, qtype: int, policy: RolePolicy) -> Local | None:
    """The answer to a special name; None for every other one.

    Zones of the site (home.arpa, 10.in-addr.arpa, test) yield where a rule allows the name.
    """
    if not special(name):  # nearly every one
        return None
    zone = next((Name(z) for at in suffix_starts(name) if (z := name[at:]) in SPECIAL), None)
    if zone is None:
        return None
    if zone == _LOCALHOST:
        if (rdata := _RDATA.get(qtype)) is None:
            return Local(Rcode.NOERROR, authority=(_soa(zone),))
        return Local(Rcode.NOERROR, (Record(name, qtype, 1, _LOCALHOST_TTL, rdata),))
    if zone in _ABSENT and _ruled(name, policy):
        return None
    if zone in _DISCOVERY or (name == zone and zone not in _CANARIES):
        return Local(Rcode.NOERROR, authority=(_soa(zone),))
    if zone in _CANARIES and name != zone:
        return None
    return Local(Rcode.NXDOMAIN, authority=(_soa(zone),))


def _ruled(name: Name, policy: RolePolicy) -> bool:
    judgement = policy.judge(name)
    return any(s.rule is not None and s.verdict is Verdict.ALLOW for s in judgement.shares)


def _soa(zone: Name) -> Record:
    return reply.soa(zone, REFUSAL_TTL)
