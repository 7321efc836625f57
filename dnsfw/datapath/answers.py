"""Answers that the kernel gives by itself: written here, taken back by one store.

An entry is the reply to one question of one role, as bytes. `kernel/include/dnsfw/answers.h`
says how it is served. Whoever publishes bounds how many there are.
"""

from __future__ import annotations

import ctypes
import mmap
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, repeat
from operator import mul
from struct import Struct
from typing import NamedTuple

from dnsfw.datapath.abi import (
    AnswerBig,
    AnswerHead,
    DnsLimit,
    Fall,
    KeyFlag,
    LongKey,
    RoleAnswers,
)
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.swap import Table
from dnsfw.datapath.tables import is_full, number_key
from dnsfw.errors import DatapathError
from dnsfw.model import Name, Nanos, RoleId

__all__ = ["Answer", "AnswerKey", "AnswerTable", "Published", "Size", "fits", "map_dns", "size_of"]

_MASK = (1 << 64) - 1
_STEP = 2 * 0x9E3779B97F4A7C15  # DNSFW_SEAL_STEP, even: every factor is odd
_SEALED_FROM = 16  # in the head: what stands before is the seal itself and the hits
_HEAD_KEY = Struct("<IHBB")
_SEAL = Struct("<Q")
_HITS_AT = 8
_MOST_OPT = 255  # OPT_MASK of answers.h
_DNS_EPOCH, _DNS_ANSWERS, _DNS_REFUSALS, _DNS_SEED = 0, 4, 5, 8
_MOST_WORDS = (LongKey.SIZE + AnswerBig.SIZE) // 8
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
    """A size class: how a name is keyed, and how much a reply may hold."""

    table: str
    name: int
    data: int
    ttls: int
    row: Struct  # of what follows the head


_SMALL = _Kind(
    "dnsfw_answers", DnsLimit.SHORT_NAME, DnsLimit.SMALL_DATA, DnsLimit.SMALL_TTLS,
    Struct(f"<{2 * DnsLimit.SMALL_TTLS}s{int(DnsLimit.SMALL_DATA)}s"),
)  # fmt: skip
_BIG_ROW = Struct(f"<{2 * DnsLimit.BIG_TTLS}s{int(DnsLimit.BIG_DATA)}s")
_BIG = _Kind(
    "dnsfw_answers_big", DnsLimit.SHORT_NAME, DnsLimit.BIG_DATA, DnsLimit.BIG_TTLS, _BIG_ROW
)
_LONG = _Kind(
    "dnsfw_answers_long", DnsLimit.LONG_NAME, DnsLimit.BIG_DATA, DnsLimit.BIG_TTLS, _BIG_ROW
)
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
        if not seed.value:
            seed.value = secrets.randbits(64) | 1
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
        for kind in _kinds_of(key):
            if (row := self._tables[kind.table].lookup(_key(key, kind))) is not None:
                return int.from_bytes(row[_HITS_AT : _HITS_AT + 4], "little")
        return None

    def entries(self) -> Iterator[Published]:
        """Everything in the tables: what an earlier process left, too."""
        epoch = self.epoch
        for kind in _KINDS:
            for raw, row in self._tables[kind.table].items():
                head = AnswerHead.unpack(row[: AnswerHead.SIZE])
                key = _read_key(raw)
                if not key.role:  # a template of refusals.py
                    continue
                live, until = head.epoch == epoch, Nanos(head.until)
                refusal = bool(head.refusal)
                yield Published(key, Size(kind.table), head.hits, until, refusal, live)

    def clear(self) -> None:
        """Withdraw, and free the room."""
        self.withdraw()
        for table in self._tables.values():
            for raw in [raw for raw, _ in table.items() if _read_key(raw).role]:
                table.delete(raw)

    def templates(self) -> list[AnswerKey]:
        """The replies that are no answers to a question of anybody (`refusals`)."""
        keys = (_read_key(raw) for raw, _ in self._tables[_SMALL.table].items())
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
        raw = _key(key, kind)
        offsets = b"".join(at.to_bytes(2, "little") for at in answer.ttl_at)
        data = answer.tail + answer.opt
        head = AnswerHead(
            0, 0, answer.until, answer.born, self.epoch, answer.flags, answer.bare_flags,
            answer.answers, answer.authority, len(answer.tail), len(answer.opt),
            len(answer.ttl_at), answer.ad, answer.refusal,
        ).pack()  # fmt: skip
        sealed = (raw, head[_SEALED_FROM:], _padded(offsets), _padded(data))
        seal = self.seal(b"".join(sealed))
        return raw, _SEAL.pack(seal) + head[_SEAL.size :] + kind.row.pack(offsets, data)

    def seal(self, words: bytes) -> int:
        """What tells a whole entry from one that changed while it was read."""
        mixed = (word ^ word >> 32 for word in _words(words))
        return int(sum(map(mul, mixed, self._factors)) & _MASK)

    def _forget(self, key: AnswerKey, but: _Kind | None) -> bool:
        found = False
        for kind in _kinds_of(key):
            if kind is not but:
                found |= self._tables[kind.table].delete(_key(key, kind))
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


def _key(key: AnswerKey, kind: _Kind) -> bytes:
    flags = (KeyFlag.KEY_DO if key.do else 0) | (KeyFlag.KEY_CD if key.cd else 0)
    head = _HEAD_KEY.pack(key.role, key.qtype, flags, len(key.name))
    return head + key.name.ljust(kind.name, b"\0")


def _read_key(raw: bytes) -> AnswerKey:
    role, qtype, flags, length = _HEAD_KEY.unpack_from(raw)
    name = Name(raw[_HEAD_KEY.size : _HEAD_KEY.size + length])
    do, cd = bool(flags & KeyFlag.KEY_DO), bool(flags & KeyFlag.KEY_CD)
    return AnswerKey(RoleId(role), name, qtype, do, cd)


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
