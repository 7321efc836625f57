"""What may be asked of an allowed name: its types, and how much may be said in names below it.

A name is data that the owner of its domain reads. So a wildcard lets out what a program puts
into the labels below it, and some types were made to carry anything back.
"""

from __future__ import annotations

import re
from enum import Enum

from dnsfw.model import Verdict
from dnsfw.policy.problems import Wrong, shown
from dnsfw.values import dataclass
from dnsfw.wire import codes

__all__ = [
    "ALL", "NORMAL", "PROFILES", "STRICT", "Action", "Guard", "Questions", "Types", "parse_types",
    "type_number",
]  # fmt: skip

# The registry's types that somebody uses (IANA, Resource Record Types). NULL (RFC 883) means
# nothing and holds 64 KB; private and unassigned numbers mean what a tunnel wants.
_KNOWN = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "HINFO": 13, "MX": 15,
    "TXT": 16, "RP": 17, "AFSDB": 18, "SIG": 24, "KEY": 25, "AAAA": 28, "LOC": 29, "SRV": 33,
    "NAPTR": 35, "KX": 36, "CERT": 37, "DNAME": 39, "APL": 42, "DS": 43, "SSHFP": 44,
    "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "DHCID": 49, "NSEC3": 50,
    "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55, "CDS": 59, "CDNSKEY": 60,
    "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "SPF": 99,
    "URI": 256, "CAA": 257, "AMTRELAY": 260, "RESINFO": 261,
}  # fmt: skip
_NUMBERED = re.compile(r"TYPE([0-9]{1,5})")
# What a program needs to reach a service: no mail, no text, no chain of signatures.
_CALLS = ("A", "AAAA", "CNAME", "HTTPS", "PTR", "SRV", "SVCB")
_ODD = ("NULL", "SIG", "KEY")


@dataclass(frozen=True, slots=True)
class Types:
    """The types that may be asked for; `numbers` None: every one."""

    text: str
    numbers: frozenset[int] | None

    def has(self, qtype: int) -> bool:
        return self.numbers is None or qtype in self.numbers


ALL = Types("all", None)
NORMAL = Types("normal", frozenset(v for name, v in _KNOWN.items() if name not in _ODD))
STRICT = Types("strict", frozenset(_KNOWN[name] for name in _CALLS))
PROFILES = {types.text: types for types in (ALL, NORMAL, STRICT)}


class Action(Enum):
    """What becomes of a question that says too much."""

    OFF = "off"
    LOG = "log"  # an event; it is asked
    THROTTLE = "throttle"  # one in a while is asked, the others fail
    REFUSE = "refuse"  # it is refused until the window has passed


@dataclass(frozen=True, slots=True)
class Guard:
    """How much may be said in names below one registrable domain, for one role."""

    action: Action
    names: int = 100  # new ones in a window
    window: int = 300  # seconds
    label: int = 52  # bytes of one label; a hash in hex has 32 or 40, a tunnel fills all 63
    nxdomain: int = 50  # percent of the answers
    types: int = 50  # percent of the new names that are asked for TXT, NULL or odd types
    rate: int = 50  # questions a second that go upstream

    @property
    def text(self) -> str:
        """`throttle`, and what differs from the defaults."""
        usual = Guard(self.action)
        keys = ("names", "window", "label", "nxdomain", "types", "rate")
        told = [f"{k} {v}" for k in keys if (v := getattr(self, k)) != getattr(usual, k)]
        return ", ".join([self.action.value, *told])


@dataclass(frozen=True, slots=True)
class Questions:
    """Of a role: what holds for every rule that says nothing else."""

    types: Types
    guard: Guard

    @classmethod
    def under(cls, default: Verdict, types: Types | None, guard: Guard | None) -> Questions:
        """What the policy says, else what suits the default: where every name is allowed,
        every question is; where few are, what only a tunnel asks for is not.
        """
        open_ = default is Verdict.ALLOW
        return cls(
            types or (ALL if open_ else NORMAL),
            guard or Guard(Action.OFF if open_ else Action.LOG),
        )


def parse_types(written: str | list[str]) -> Types:
    """A profile, or types by name or number (`TYPE65`). Raises Wrong."""
    if isinstance(written, str):
        if written in PROFILES:
            return PROFILES[written]
        written = [written]
    numbers = frozenset(type_number(text) for text in written)
    return Types(", ".join(sorted(written)), numbers)


def type_number(text: str) -> int:
    """Of a type by name, or TYPE65. Raises Wrong."""
    known = _KNOWN.get(text.upper())
    if known is not None:
        return known
    if (found := _NUMBERED.fullmatch(text.upper())) and 0 < int(found[1]) < codes.NXNAME:
        return int(found[1])
    if found and codes.ANY < int(found[1]) < 0xFFFF:
        return int(found[1])
    if text.upper() == "ANY":
        raise Wrong("ANY is answered here and never asked for", "take it out")
    from difflib import get_close_matches  # only who errs pays for it

    near = get_close_matches(text.upper(), [*_KNOWN, *map(str.upper, PROFILES)], n=1, cutoff=0.6)
    words = {word.upper(): word for word in PROFILES}
    meant = words.get(near[0], near[0]) if near else ""
    remedy = f"did you mean '{meant}'?" if meant else "write A, TXT or TYPE65280"
    raise Wrong(f"{shown(text)} is no type of record", remedy)
