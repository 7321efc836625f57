"""Names that the kernel refuses without having been asked: a table in force, and the next one.

A table is an array of its own in a map of maps, so it is as large as its policy wants, and none
costs nothing. It is filled where no program sees it and comes in force by one store; the one
before it is freed later, and can come back until then. Replies lie among the answers, under
their table's generation.
"""

from __future__ import annotations

import ctypes
import mmap
import secrets
from collections.abc import Callable, Mapping

from dnsfw.datapath import abi
from dnsfw.datapath.answers import Answer, AnswerKey, AnswerTable
from dnsfw.datapath.arrays import mapped, new_array
from dnsfw.datapath.bpf import Map, object_id
from dnsfw.datapath.suffix_build import Filler
from dnsfw.datapath.tables import number_key
from dnsfw.model import Name, RoleId
from dnsfw.values import dataclass

__all__ = ["Prepared", "RefusalTable", "template_key"]

_SUFFIX_AT = 16  # in struct dnsfw_dns: the table in force, + 1
_NOBODY = RoleId(abi.RoleId.NONE)  # asks nothing: its rows of `answers` are templates
_LAST = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table that lies in the kernel, in force or not."""

    number: int  # of `dnsfw_suffixes`
    generation: int
    id: int  # the kernel's, of the map
    units: int
    replies: tuple[AnswerKey, ...]


def template_key(generation: int, outcome: int, kind: int) -> AnswerKey:
    """Where the reply of an outcome lies."""
    return AnswerKey(_NOBODY, Name(abi.RefusalKey(generation, outcome).pack()), kind)


class RefusalTable:
    """The only writer of `dnsfw_suffixes`, and of which of them is in force.

    What an earlier process left stays in force until `switch`. `dns` is the row of `dnsfw_dns`,
    mapped (`answers.map_dns`).
    """

    def __init__(
        self,
        tables: Map,
        answers: AnswerTable,
        dns: mmap.mmap | bytearray,
        filler: Filler | None = None,
    ) -> None:
        """`filler` builds what is large (`suffix_build`)."""
        self.filler = filler
        self._tables = tables
        self._answers = answers
        self._word = ctypes.c_uint32.from_buffer(dns, _SUFFIX_AT)  # one aligned store
        self._generation = secrets.randbits(32)
        self._standing: dict[int, Prepared] = {}
        self._left = self._word.value != 0  # by an earlier process

    @property
    def active(self) -> Prepared | None:
        """What the kernel refuses by; None: nothing, or what an earlier process left."""
        return self._standing.get(self._word.value - 1)

    def prepare(
        self,
        units: int,
        write: Callable[[memoryview, int], None],
        replies: Mapping[tuple[int, int], Answer],
    ) -> Prepared:
        """A table beside the one in force: `write` fills so many units of zeroes, for this
        generation; `replies` are by outcome and kind. Takes the place of one that was prepared
        and never came in force. May run in a thread, one at a time. DatapathError.

        A reply that finds no room is no refusal: the kernel leaves such names to userspace.
        """
        number = 1 if self._word.value == 1 else 0
        self._free(number)
        self._generation = self._generation % _LAST + 1
        generation = self._generation
        table = new_array("dnsfw_suffix", abi.Bucket.SIZE, units, inner=True)
        try:
            with mapped(table) as view:
                write(view, generation)
            keys = {template_key(generation, *at): reply for at, reply in replies.items()}
            there = tuple(key for key, reply in keys.items() if self._answers.publish(key, reply))
            made = Prepared(number, generation, object_id(table.fd), units, there)
            self._standing[number] = made
            # The kernel waits for programs that read the old one: milliseconds.
            self._tables.update(number_key(number), number_key(table.fd))
        except BaseException:
            self._free(number)
            raise
        finally:
            table.close()
        return made

    def switch(self, to: Prepared | None) -> None:
        """Refuse by this table from now on; None: refuse nothing. A packet that is judged in
        this moment may still meet the old one; `swap.rcu_barrier` waits for it.
        """
        self._word.value = 0 if to is None else to.number + 1

    def retire(self) -> None:
        """Free every table that is not in force, with its replies. May run in a thread."""
        for number in range(abi.Suffix.TABLES):
            if number != self._word.value - 1:
                self._free(number)
        if self._left:
            self._left = False
            active = self.active
            self._sweep(set(active.replies) if active else set())

    def verify(self) -> bool:
        """Whether the kernel has the table that we put in force; cheap."""
        active = self.active
        if active is None:
            return self._word.value == 0 or self._left
        return self._tables.lookup(number_key(active.number)) == number_key(active.id)

    def _free(self, number: int) -> None:
        self._tables.delete(number_key(number))
        if (old := self._standing.pop(number, None)) is not None:
            for key in old.replies:
                self._answers.delete(key)

    def _sweep(self, wanted: set[AnswerKey]) -> None:
        """The replies that an earlier process left."""
        for key in self._answers.templates():
            if key not in wanted:
                self._answers.delete(key)
