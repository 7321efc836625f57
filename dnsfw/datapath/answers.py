"""Answers that the kernel gives by itself: written here, taken back by one store.

An entry is the reply to one question of one role, as bytes. `kernel/include/dnsfw/answers.h`
says how it is served. Whoever publishes bounds how many there are.
"""

from __future__ import annotations

import ctypes
import mmap
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import accumulate, repeat
from operator import mul
from struct import Struct
from typing import NamedTuple

from dnsfw.datapath.abi import AnswerBig, AnswerHead, DnsLimit, Fall, KeyFlag, RoleAnswers
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.swap import Table
from dnsfw.datapath.tables import is_full, number_key
from dnsfw.errors import DatapathError
from dnsfw.model import Name, Nanos, RoleId
from dnsfw.values import dataclass

__all__ = ["Answer", "AnswerKey", "AnswerTable", "Published", "Size", "fits", "map_dns", "size_of"]

_MASK = (1 << 64) - 1
_STEP = 2 * 0x9E3779B97F4A7C15  # DNSFW_SEAL_STEP, even: every factor is odd
_HEAD_KEY = Struct("<IHBB")  # of a question, and of the entry that has its answer
_WORD = Struct("<Q")
_SEAL_AT, _HITS_AT, _SEALED_FROM = 8, 16, 24  # in the head
_MOST_OPT = 255  # OPT_MASK of answers.h
_DNS_EPOCH, _DNS_ANSWERS, _DNS_REFUSALS, _DNS_SEED, _DNS_FACTORS = 0, 4, 5, 8, 24
_MOST_WORDS = AnswerBig.SIZE // 8
_ROLES = 256


class AnswerKey(NamedTuple):
    """One question of one role, as far as its answer can differ. RD is always set."""

    role: RoleId
    name: Name
    qtype: int
    do: bool = False
    cd: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply without its id and question. Flags are the header's, RD and CD not among them."""

    flags: int  # for a client that sent an OPT
    bare_flags: int  # for one that did not: no high bits of the rcode
    ad: bool  # set AD for who asks for it
    answers: int  # records
    authority: int
    tail: bytes  # what follows the question, without OPT
    ttl_at: tuple[int, ...]  # offsets in `tail` of the TTLs that count down
    opt: bytes  # the OPT record for who sent one, DO clear
    born: Nanos
    until: Nanos  # not served from then on
    refusal: bool = False


class Size(Enum):
    """A class of entries, each with room of its own: the table that they lie in."""

    SMALL = "dnsfw_answers"
    BIG = "dnsfw_answers_big"
    LONG = "dnsfw_answers_long"


class Published(NamedTuple):
    """An entry as it lies in the kernel."""

    key: AnswerKey
    size: Size
    hits: int
    until: Nanos
    refusal: bool
    live: bool  # of the epoch that counts; else it is only in the way


@dataclass(frozen=True, slots=True)
class _Kind:
    """A size class: how much a reply may hold."""

    table: str
    data: int
    ttls: int
    row: Struct  # of what follows the head: name, offsets, data


def _kind(table: str, name: int, ttls: int, data: int) -> _Kind:
    return _Kind(table, data, ttls, Struct(f"<{name:d}s{2 * ttls}s{data:d}s"))


_SMALL = _kind(
    "dnsfw_answers", DnsLimit.SHORT_NAME, DnsLimit.SMALL_TTLS, DnsLimit.SMALL_DATA
)  # fmt: skip
_BIG = _kind("dnsfw_answers_big", DnsLimit.SHORT_NAME, DnsLimit.BIG_TTLS, DnsLimit.BIG_DATA)
_LONG = _kind("dnsfw_answers_long", DnsLimit.LONG_NAME, DnsLimit.BIG_TTLS, DnsLimit.BIG_DATA)
_KINDS = (_SMALL, _BIG, _LONG)


def fits(key: AnswerKey, answer: Answer) -> bool:
    """Whether the kernel can hold this reply at all."""
    return _kind_of(key, answer) is not None


def size_of(key: AnswerKey, answer: Answer) -> Size | None:
    """In which class it would lie; None where the kernel cannot hold it at all."""
    kind = _kind_of(key, answer)
    return None if kind is None else Size(kind.table)


def map_dns(table: Map) -> mmap.mmap:
    """The one row of `dnsfw_dns` as memory that the kernel reads. DatapathError if it cannot be."""
    try:
        return mmap.mmap(table.fd, mmap.PAGESIZE, mmap.MAP_SHARED)
    except (OSError, ValueError) as error:
        raise DatapathError(
            f"cannot map {table.name}: {error}; remedy: `dns: {{kernel_answers: off}}`"
        ) from error


class AnswerTable:
    """The only writer of `dnsfw_answers*`, and of the epoch and switches in `dnsfw_dns`.

    What an earlier process published stays valid until `withdraw`. `dns` is the row of
    `dnsfw_dns`, mapped (`map_dns`).
    """

    def __init__(self, maps: Mapping[str, Table], dns: mmap.mmap | bytearray) -> None:
        self._tables = {kind.table: maps[kind.table] for kind in _KINDS}
        self._falls, self._roles = maps["dnsfw_falls"], maps["dnsfw_role_answers"]
        self._dns = dns
        # One aligned store each: no reader sees half of it.
        self._epoch = ctypes.c_uint32.from_buffer(dns, _DNS_EPOCH)
        self._answers = ctypes.c_uint8.from_buffer(dns, _DNS_ANSWERS)
        self._refusals = ctypes.c_uint8.from_buffer(dns, _DNS_REFUSALS)
        seed = ctypes.c_uint64.from_buffer(dns, _DNS_SEED)
        hashed = (ctypes.c_uint64 * int(DnsLimit.QUESTION_WORDS)).from_buffer(dns, _DNS_FACTORS)
        if not seed.value:
            hashed[:] = [secrets.randbits(64) | 1 for _ in hashed]
            seed.value = secrets.randbits(64) | 1
        self._hashed = tuple(hashed)
        factors = accumulate(repeat(_STEP, _MOST_WORDS - 1), initial=seed.value)
        self._factors = tuple(factor & _MASK for factor in factors)

    @classmethod
    def open(cls, maps: Mapping[str, Map]) -> AnswerTable:
        """Over the kernel's tables. DatapathError if the row cannot be mapped."""
        return cls(maps, map_dns(maps["dnsfw_dns"]))

    def switch(self, answers: bool, refusals: bool = False) -> None:
        """Whether the kernel answers at all, and whether it refuses what it was never asked."""
        self._refusals.value = refusals
        self._answers.value = answers

    @property
    def on(self) -> bool:
        return bool(self._answers.value)

    @property
    def epoch(self) -> int:
        return int(self._epoch.value)

    def publish(self, key: AnswerKey, answer: Answer) -> bool:
        """From now on the kernel gives this reply. False: it has no room, or the reply is too
        big; then an older one is gone.

        DatapathError if the kernel refuses for another reason.
        """
        kind = _kind_of(key, answer)
        if kind is not None:
            try:
                self._tables[kind.table].update(*self.encode(key, answer, kind))
            except DatapathError as error:
                if not is_full(error):
                    raise
                kind = None
        self._forget(key, kind)
        return kind is not None

    def withdraw(self) -> None:
        """None of the entries is served from now on. A packet that was being answered in this
        moment may still go; `swap.rcu_barrier` waits for it.
        """
        self._epoch.value = (self._epoch.value + 1) & 0xFFFFFFFF

    def delete(self, key: AnswerKey) -> bool:
        """Take one entry away; False if it was not there."""
        return self._forget(key, None)

    def hits(self, key: AnswerKey) -> int | None:
        """How often the kernel gave it since it was published; None if it is not there."""
        raw = self.hash(key)
        for kind in _kinds_of(key):
            row = self._tables[kind.table].lookup(raw)
            if row is not None and _read_key(row) == key:
                return int.from_bytes(row[_HITS_AT : _HITS_AT + 4], "little")
        return None

    def entries(self) -> Iterator[Published]:
        """Everything in the tables: what an earlier process left, too."""
        epoch = self.epoch
        for kind in _KINDS:
            for _, row in self._tables[kind.table].items():
                head = AnswerHead.unpack(row[: AnswerHead.SIZE])
                key = _read_key(row)
                if not key.role:  # a template of refusals.py
                    continue
                live, until = head.epoch == epoch, Nanos(head.until)
                refusal = bool(head.refusal)
                yield Published(key, Size(kind.table), head.hits, until, refusal, live)

    def clear(self) -> None:
        """Withdraw, and free the room."""
        self.withdraw()
        for table in self._tables.values():
            for raw in [raw for raw, row in table.items() if _read_key(row).role]:
                table.delete(raw)

    def templates(self) -> list[AnswerKey]:
        """The replies that are no answers to a question of anybody (`refusals`)."""
        keys = (_read_key(row) for _, row in self._tables[_SMALL.table].items())
        return [key for key in keys if not key.role]

    def counters(self) -> dict[Fall, int]:
        """What became of the queries that the kernel looked at."""
        return {
            fall: _sum(self._falls.lookup(number_key(fall)) or b"")
            for fall in Fall
            if fall is not Fall.COUNT
        }

    def role_counters(self) -> dict[RoleId, RoleAnswers]:
        """The same by role, where anything happened."""
        found = {}
        for number in range(_ROLES):
            total = _sum_role(self._roles.lookup(number_key(number)) or b"")
            if any(total):
                found[RoleId(number)] = total
        return found

    def encode(self, key: AnswerKey, answer: Answer, kind: _Kind) -> tuple[bytes, bytes]:
        """Key and value as the kernel has them."""
        raw = self.hash(key)
        offsets = b"".join(at.to_bytes(2, "little") for at in answer.ttl_at)
        data = answer.tail + answer.opt
        head = AnswerHead(
            key.role, key.qtype, _flags(key), len(key.name), 0, 0, answer.until, answer.born,
            self.epoch, answer.flags, answer.bare_flags, answer.answers, answer.authority,
            len(answer.tail), len(answer.opt), len(answer.ttl_at), answer.ad, answer.refusal,
        ).pack()  # fmt: skip
        sealed = head[_SEALED_FROM:] + _padded(offsets) + _padded(data)
        # what tells a whole entry from one that changed while it was read
        seal = _WORD.unpack(raw)[0] + _sum_of(sealed, self._factors) & _MASK
        head = head[:_SEAL_AT] + _WORD.pack(seal) + head[_SEAL_AT + _WORD.size :]
        return raw, head + kind.row.pack(key.name, offsets, data)

    def hash(self, key: AnswerKey) -> bytes:
        """Under what the entry of a question lies."""
        head = _HEAD_KEY.pack(key.role, key.qtype, _flags(key), len(key.name))
        return _WORD.pack(_sum_of(head + _padded(key.name), self._hashed) & _MASK)

    def _forget(self, key: AnswerKey, but: _Kind | None) -> bool:
        found, raw = False, self.hash(key)
        for kind in _kinds_of(key):
            if kind is not but:
                found |= self._tables[kind.table].delete(raw)
        return found


def _kinds_of(key: AnswerKey) -> Sequence[_Kind]:
    return (_SMALL, _BIG) if len(key.name) <= DnsLimit.SHORT_NAME else (_LONG,)


def _kind_of(key: AnswerKey, answer: Answer) -> _Kind | None:
    size = len(answer.tail) + len(answer.opt)
    if len(key.name) > DnsLimit.MAX_NAME:
        return None
    if not DnsLimit.OPT_BYTES <= len(answer.opt) <= _MOST_OPT:
        return None
    for kind in _kinds_of(key):
        if size <= kind.data and len(answer.ttl_at) <= kind.ttls:
            return kind
    return None


def _flags(key: AnswerKey) -> int:
    return (KeyFlag.KEY_DO if key.do else 0) | (KeyFlag.KEY_CD if key.cd else 0)


def _read_key(row: bytes) -> AnswerKey:
    role, qtype, flags, length = _HEAD_KEY.unpack_from(row)
    name = Name(row[AnswerHead.SIZE : AnswerHead.SIZE + length])
    do, cd = bool(flags & KeyFlag.KEY_DO), bool(flags & KeyFlag.KEY_CD)
    return AnswerKey(RoleId(role), name, qtype, do, cd)


def _sum_of(data: bytes, factors: Iterable[int]) -> int:
    return sum(map(mul, (word ^ word >> 32 for word in _words(data)), factors))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _words(data: bytes) -> Iterable[int]:
    return Struct(f"<{len(data) // 8}Q").unpack(data)


def _sum(shares: bytes) -> int:
    return sum(_words(shares))


def _sum_role(shares: bytes) -> RoleAnswers:
    size = RoleAnswers.SIZE
    each = [RoleAnswers.unpack(shares[i : i + size]) for i in range(0, len(shares), size)]
    return RoleAnswers(*(sum(share[i] for share in each) for i in range(3)))
