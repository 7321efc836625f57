"""Numbers from the IANA registries of the DNS, under the names the RFCs use."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "A",
    "RCODE",
    "CD",
    "AD",
    "RA",
    "RD",
    "TC",
    "AA",
    "OPCODE",
    "QR",
    "AAAA",
    "AFSDB",
    "ANY",
    "AXFR",
    "CNAME",
    "DNAME",
    "DS",
    "HINFO",
    "HTTPS",
    "IN",
    "IXFR",
    "KX",
    "MAILA",
    "MAILB",
    "MB",
    "MD",
    "MF",
    "MG",
    "MINFO",
    "MR",
    "MX",
    "NAPTR",
    "NS",
    "NSEC",
    "NXNAME",
    "NXT",
    "OPT",
    "PTR",
    "PX",
    "RP",
    "RRSIG",
    "RT",
    "SIG",
    "SOA",
    "SRV",
    "SVCB",
    "TXT",
    "Ede",
    "Rcode",
    "type_text",
]

# The second 16 bits of the header (RFC 1035 §4.1.1, RFC 4035 §3).
QR: Final = 0x8000
OPCODE: Final = 0x7800
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
RCODE: Final = 0x000F

IN: Final = 1  # the only class dnsfw speaks

A: Final = 1
NS: Final = 2
MD: Final = 3
MF: Final = 4
CNAME: Final = 5
SOA: Final = 6
MB: Final = 7
MG: Final = 8
MR: Final = 9
PTR: Final = 12
HINFO: Final = 13
MINFO: Final = 14
MX: Final = 15
TXT: Final = 16
RP: Final = 17
AFSDB: Final = 18
RT: Final = 21
SIG: Final = 24
PX: Final = 26
AAAA: Final = 28
NXT: Final = 30
SRV: Final = 33
NAPTR: Final = 35
KX: Final = 36
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
RRSIG: Final = 46
NSEC: Final = 47
SVCB: Final = 64
HTTPS: Final = 65
NXNAME: Final = 128
IXFR: Final = 251
AXFR: Final = 252
MAILB: Final = 253
MAILA: Final = 254
ANY: Final = 255

_HEADER_BITS = {"QR", "OPCODE", "AA", "TC", "RD", "RA", "AD", "CD", "RCODE", "IN"}
_TYPE_TEXT = {
    value: name
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int) and name not in _HEADER_BITS
}


def type_text(rtype: int) -> str:
    """The type's name, or TYPEnnn where there is none here (RFC 3597 §5)."""
    return _TYPE_TEXT.get(rtype, f"TYPE{rtype}")


class Rcode(IntEnum):
    """Response codes; above 15 the high bits travel in the OPT record (RFC 6891 §6.1.3)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    BADVERS = 16
    BADCOOKIE = 23


class Ede(IntEnum):
    """Extended DNS Error info codes (RFC 8914 §4) that dnsfw sends or understands."""

    OTHER = 0
    STALE = 3
    FORGED = 4
    DNSSEC_BOGUS = 6
    CACHED_ERROR = 13
    NOT_READY = 14
    BLOCKED = 15
    CENSORED = 16
    FILTERED = 17
    PROHIBITED = 18
    STALE_NXDOMAIN = 19
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23
    INVALID_DATA = 24
