"""What dnsfw reads inside rdata: addresses, alias targets, service bindings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from struct import Struct

from dnsfw.errors import WireError
from dnsfw.model import Addr, Name
from dnsfw.values import dataclass
from dnsfw.wire import codes
from dnsfw.wire.name import read_name_as_sent
from dnsfw.wire.record import Record

__all__ = [
    "ECH",
    "IPV4HINT",
    "IPV6HINT",
    "MANDATORY",
    "Svcb",
    "addresses",
    "negative_ttl",
    "read_svcb",
    "rewrite_svcb",
    "target",
    "write_svcb",
]

MANDATORY = 0  # SvcParamKeys, RFC 9460 §14.3.2
IPV4HINT = 4
ECH = 5
IPV6HINT = 6

_MAPPED = bytes(10) + b"\xff\xff"
_PARAM = Struct(">HH")
_HINT_SIZES = {IPV4HINT: 4, IPV6HINT: 16}


def addresses(record: Record) -> tuple[Addr, ...]:
    """The address of an A or AAAA record of class IN, mapped; nothing for any other."""
    if record.rclass != codes.IN:
        return ()
    if record.rtype == codes.A and len(record.rdata) == 4:
        return (Addr(_MAPPED + record.rdata),)
    if record.rtype == codes.AAAA and len(record.rdata) == 16:
        return (Addr(record.rdata),)
    return ()


def target(record: Record) -> Name | None:
    """Where a CNAME or DNAME of class IN leads; None for any other record."""
    if record.rclass == codes.IN and record.rtype in (codes.CNAME, codes.DNAME):
        return Name(record.rdata.lower())
    return None


def negative_ttl(authority: Iterable[Record]) -> int | None:
    """Seconds that a negative answer may be kept (RFC 2308 §5); None without an SOA."""
    for record in authority:
        if record.rtype == codes.SOA and record.rclass == codes.IN:
            return min(record.ttl, int.from_bytes(record.rdata[-4:], "big"))
    return None


@dataclass(frozen=True, slots=True)
class Svcb:
    """The rdata of an SVCB or HTTPS record (RFC 9460 §2.2)."""

    priority: int  # 0 is AliasMode
    target: Name  # the root means the owner, or in AliasMode nothing at all
    params: tuple[tuple[int, bytes], ...] = ()

    @property
    def hints(self) -> tuple[Addr, ...]:
        """Every address in ipv4hint and ipv6hint."""
        found: list[Addr] = []
        for key, value in self.params:
            if (size := _HINT_SIZES.get(key)) is not None:
                found += [Addr((_MAPPED + h)[-16:]) for h in _split(value, size)]
        return tuple(found)


def read_svcb(rdata: bytes) -> Svcb:
    """The service binding; WireError if a client would have to reject it (§2.2, §8).

    The target stands uncompressed, keys strictly increase, hints are whole addresses,
    and what `mandatory` names is there.
    """
    if len(rdata) < 3:
        raise WireError("service binding is too short")
    name, at = read_name_as_sent(rdata, 2)
    params: list[tuple[int, bytes]] = []
    while at < len(rdata):
        if at + _PARAM.size > len(rdata):
            raise WireError("service parameter runs past the end")
        key, length = _PARAM.unpack_from(rdata, at)
        at += _PARAM.size + length
        if at > len(rdata):
            raise WireError("service parameter runs past the end")
        if params and key <= params[-1][0]:
            raise WireError("service parameters are out of order")
        params.append((key, rdata[at - length : at]))
    found = Svcb(int.from_bytes(rdata[:2], "big"), Name(name.lower()), tuple(params))
    _check_params(found)
    return found


def _check_params(binding: Svcb) -> None:
    present = dict(binding.params)
    for key, size in _HINT_SIZES.items():
        if key in present and (not present[key] or len(present[key]) % size):
            raise WireError("address hint has the wrong length")
    if MANDATORY in present:
        wanted = present[MANDATORY]
        keys = [int.from_bytes(k, "big") for k in _split(wanted, 2)]
        if not wanted or len(wanted) % 2 or sorted(set(keys)) != keys:
            raise WireError("mandatory keys are malformed")
        if MANDATORY in keys or not present.keys() >= set(keys):
            raise WireError("a mandatory key is missing")


def write_svcb(binding: Svcb) -> bytes:
    """The rdata of a service binding."""
    rdata = binding.priority.to_bytes(2, "big") + binding.target
    for key, value in binding.params:
        rdata += _PARAM.pack(key, len(value)) + value
    return rdata


def rewrite_svcb(
    record: Record, keep_hint: Callable[[Addr], bool], drop: frozenset[int] = frozenset()
) -> Record:
    """The record with only those hints that pass, and without the dropped keys.

    A key that goes also leaves the `mandatory` list, or clients would reject the
    record. WireError where `read_svcb` raises it.
    """
    binding = read_svcb(record.rdata)
    params: dict[int, bytes] = {}
    for key, value in binding.params:
        if (size := _HINT_SIZES.get(key)) is not None:
            value = b"".join(h for h in _split(value, size) if keep_hint(Addr((_MAPPED + h)[-16:])))
            if not value:
                continue
        if key not in drop:
            params[key] = value
    if MANDATORY in params:
        kept = [k for k in _split(params[MANDATORY], 2) if int.from_bytes(k, "big") in params]
        params[MANDATORY] = b"".join(kept)
        if not kept:
            del params[MANDATORY]
    return record._replace(rdata=write_svcb(replace(binding, params=tuple(params.items()))))


def _split(value: bytes, size: int) -> list[bytes]:
    return [value[at : at + size] for at in range(0, len(value), size)]
