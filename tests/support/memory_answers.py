"""The kernel's answers without a kernel: the same tables, read as answers.h reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from dnsfw.datapath import abi
from dnsfw.datapath.abi import DnsLimit, Fall, Limit
from dnsfw.datapath.answers import AnswerKey, AnswerTable, Size
from dnsfw.datapath.memory import MemoryMap
from dnsfw.model import SECOND, Name, Nanos, RoleId
from dnsfw.wire.message import AD, CD
from dnsfw.wire.query import peek

_HITS = slice(16, 20)
_OPT_FLAGS = 7  # in the OPT record: a root name, type, size, rcode and version before it


def answer_maps(room: int = 1 << 16) -> dict[str, MemoryMap]:
    """Empty tables by the names that the kernel's have."""
    return {
        **{size.value: MemoryMap(room) for size in Size},
        "dnsfw_falls": MemoryMap(Fall.COUNT, 16),
        "dnsfw_role_answers": MemoryMap(Limit.MAX_ROLES, 2 * abi.RoleAnswers.SIZE),
    }


@dataclass
class MemoryAnswers:
    """Tables that outlive the process that fills them, as the kernel's do."""

    maps: dict[str, MemoryMap] = field(default_factory=answer_maps)
    dns: bytearray = field(default_factory=lambda: bytearray(4096))
    given: int = 0

    def table(self) -> AnswerTable:
        """As a process opens them."""
        return AnswerTable(self.maps, self.dns)

    def ask(self, wire: bytes, role: RoleId, now: Nanos) -> bytes | None:
        """The reply, or None: it goes on to the daemon."""
        asked = peek(wire)
        if asked is None or not asked.flags & 0x100 or not self.dns[4]:
            return None
        name, qtype = Name(asked.key[:-4]), int.from_bytes(asked.key[-4:-2], "big")
        key = AnswerKey(role, name, qtype, asked.do, bool(asked.flags & CD))
        raw = self.table().hash(key)
        short = len(name) <= DnsLimit.SHORT_NAME
        for size in (Size.SMALL, Size.BIG) if short else (Size.LONG,):
            row = self.maps[size.value].data.get(raw)
            if row is not None:
                return self._give(size, raw, row, wire, now)
        return None

    def _give(self, size: Size, raw: bytes, row: bytes, wire: bytes, now: Nanos) -> bytes | None:
        head = abi.AnswerHead.unpack(row[: abi.AnswerHead.SIZE])
        if head.epoch != int.from_bytes(self.dns[:4], "little") or now >= head.until:
            return None
        asked = peek(wire)
        assert asked is not None
        places = DnsLimit.SMALL_TTLS if size is Size.SMALL else DnsLimit.BIG_TTLS
        at = abi.AnswerHead.SIZE
        at += DnsLimit.LONG_NAME if size is Size.LONG else DnsLimit.SHORT_NAME
        offsets = [
            int.from_bytes(row[at + 2 * i : at + 2 * i + 2], "little") for i in range(head.ttls)
        ]
        data = bytearray(row[at + 2 * places :])
        age = -((head.born - now) // SECOND)
        for offset in offsets:
            left = int.from_bytes(data[offset : offset + 4], "big") - age
            data[offset : offset + 4] = max(0, left).to_bytes(4, "big")
        opt = bytearray(data[head.tail : head.tail + head.opt]) if asked.opt else bytearray()
        if asked.do:
            opt[_OPT_FLAGS] |= 0x80
        flags = (head.flags if asked.opt else head.bare_flags) | asked.flags & 0x0110
        if head.ad and (asked.do or asked.flags & AD):
            flags |= AD
        counts = (1, head.answers, head.authority, 1 if opt else 0)
        self.given += 1
        hits = (head.hits + 1).to_bytes(4, "little")
        self.maps[size.value].data[raw] = row[: _HITS.start] + hits + row[_HITS.stop :]
        said = wire[:2] + flags.to_bytes(2, "big") + b"".join(n.to_bytes(2, "big") for n in counts)
        return said + asked.question + bytes(data[: head.tail]) + opt

    def keys(self) -> list[AnswerKey]:
        """What lies in the tables, live or not."""
        return [found.key for found in self.table().entries()]
