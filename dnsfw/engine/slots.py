"""From the pieces that names put on one address to the slots that the kernel reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from dnsfw.model import DEFAULT_RULE, Grant, Nanos, PortRange, PortSet, RuleId, Verdict, abi
from dnsfw.policy.ports import ANY

_REMEMBERED = 4096  # differences of port sets: policies have few, answers ask often


@dataclass(frozen=True, slots=True)
class Piece:
    """Ports that a rule opens or closes on whatever address a name has."""

    rule: RuleId
    ports: PortSet
    verdict: Verdict
    yields: bool = True  # a closing piece that gives way to allowed names (`shared: allow`)
    _hash: int = field(init=False, repr=False, compare=False)  # every look-up needs it

    def __post_init__(self) -> None:
        made = hash((self.rule, self.ports, self.verdict, self.yields))
        object.__setattr__(self, "_hash", made)

    def __hash__(self) -> int:
        return self._hash


@lru_cache(_REMEMBERED)
def _intersect(ports: PortSet, other: PortSet) -> PortSet:
    return ports.intersect(other)


@lru_cache(_REMEMBERED)
def _minus(ports: PortSet, other: PortSet) -> PortSet:
    return ports.minus(other)


def slots_for(pieces: Mapping[Piece, Nanos]) -> tuple[Grant, ...]:
    """The slots that say exactly what the live pieces say; may be more than the kernel has.

    Opening slots first and the longest first, so that a cut at the end takes the least.
    Equal ports and verdict merge and the latest deadline wins; a slot that another one
    outlives and covers is left out.
    """
    if len(pieces) == 1:
        ((piece, until),) = pieces.items()
        return (Grant(until, piece.rule, piece.ports, piece.verdict),)
    opened = [p for p in pieces if p.verdict is Verdict.ALLOW]
    merged: dict[tuple[Verdict, PortSet], Grant] = {}
    for piece, until in pieces.items():
        ports = piece.ports
        if piece.verdict is Verdict.DENY and piece.yields:
            for other in opened:  # the kernel asks closing slots first: they must not overlap
                ports = _minus(ports, other.ports)
            ports = PortSet(ports.ranges[: abi.Limit.PORT_RANGES])  # closing less is the safe side
            if not ports:
                continue
        key = (piece.verdict, ports)
        if key not in merged or merged[key].until < until:
            merged[key] = Grant(until, piece.rule, ports, piece.verdict)
    grants = sorted(merged.values(), key=_order)
    return tuple(g for g in grants if not any(_covers(h, g) for h in grants if h is not g))


def _order(grant: Grant) -> tuple[int, int, int, tuple[PortRange, ...]]:
    return (-grant.verdict, -grant.until, grant.rule, grant.ports.ranges)


def _covers(big: Grant, small: Grant) -> bool:
    return (
        big.verdict is small.verdict
        and big.until >= small.until
        and not _minus(small.ports, big.ports)
    )


class Pieces:
    """Pieces by number. What is held a million times says a number: an integer is nothing that
    the garbage collector looks at, again and again, and finds in use.
    """

    __slots__ = ("_numbers", "_pieces", "_same", "of")

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._numbers: dict[Piece, int] = {}
        self._same: dict[int, tuple[Piece, int]] = {}  # by the id of what is kept alive
        self.of = self._pieces.__getitem__

    def number(self, piece: Piece) -> int:
        """The number of this piece, and of every one that says the same."""
        if (same := self._same.get(id(piece))) is not None:
            return same[1]
        number = self._numbers.get(piece)
        if number is None:
            number = self._numbers[piece] = len(self._pieces)
            self._pieces.append(piece)
        if len(self._same) >= _REMEMBERED:
            self._same.clear()
        self._same[id(piece)] = (piece, number)
        return number


def opens_alone(piece: Piece) -> bool:
    """Whether it opens something by itself, whatever else there is not. What the default opens
    has other rules: see `barred`.
    """
    return piece.verdict is Verdict.ALLOW and piece.rule != DEFAULT_RULE and bool(piece.ports)


def barred(piece: Piece, pieces: Iterable[Piece]) -> bool:
    """True when closing pieces that do not yield leave nothing of an opening one.

    What only the default opens counts within tcp, udp and icmp, as in a judgement: `deny`
    of a name is these three, and SCTP to it would otherwise keep its address in answers.
    """
    ports = piece.ports if piece.rule != DEFAULT_RULE else _intersect(piece.ports, ANY)
    for other in pieces:
        if other.verdict is Verdict.DENY and not other.yields:
            ports = _minus(ports, other.ports)
    return not ports
