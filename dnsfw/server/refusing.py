"""What the kernel refuses of itself follows the policy: prepared beside, in force by one store.

A table for a million names takes a moment, so it is built in a thread while the one before it
refuses; of a policy for which there is none yet, Python refuses. A reload waits for it, so that
there is no moment without. What cannot be built costs nothing but speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from struct import Struct
from typing import TypeVar

from dnsfw.datapath import abi
from dnsfw.datapath.answers import Answer
from dnsfw.datapath.refusals import Prepared, RefusalTable
from dnsfw.datapath.suffix_build import KernelBuilder
from dnsfw.engine.limits import REFUSAL_TTL
from dnsfw.engine.local import SPECIAL
from dnsfw.engine.refusals import refusal
from dnsfw.errors import DatapathError
from dnsfw.model import Nanos
from dnsfw.policy.buckets import Full, buckets_for
from dnsfw.policy.fingerprints import Blame, Image, compile_prints, own_suffixes, refuses
from dnsfw.policy.listed_prints import (
    APART,
    HOME,
    Builder,
    PlainBuilder,
    empty,
    spill,
    wanted,
)  # fmt: skip
from dnsfw.policy.policy import Policy
from dnsfw.policy.print_store import PrintStore
from dnsfw.policy.siphash import Key
from dnsfw.wire.message import AAAA, TXT, A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import soa

__all__ = ["Refusing"]

T = TypeVar("T")

_ALWAYS = Nanos(1 << 62)
_ANY_NAME = from_text("any.name")
_TO_QUESTION = 0xC00C  # RFC 1035, section 4.1.4: its name stands behind the header
_RECORD = Struct(">HHHIH")
_KINDS = {abi.RefusalKind.ANY: TXT, abi.RefusalKind.A: A, abi.RefusalKind.AAAA: AAAA}
_FIRST = int(abi.Outcome.DEFAULT)
# What the engine answers by itself, and addresses whose names are asked for: both before policy.
STOPS = (*sorted(SPECIAL), from_text("in-addr.arpa"), from_text("ip6.arpa"))
_PLAIN_MOST = 4096  # buckets that Python fills itself: more would take it from those who ask
# How much larger than usual, and what lies together: the next one where names find no room
_SHAPES = ((1, HOME), (1, APART), (2, APART))


class Refusing:
    """The kernel's table of refusals, and the policy that it stands for."""

    def __init__(self, table: RefusalTable) -> None:
        self.trouble = ""  # why the kernel refuses nothing of itself
        self._table = table
        self._store: PrintStore | None = None
        self._ready: tuple[Policy, Prepared] | None = None
        self._policy: Policy | None = None  # in force
        self._one = asyncio.Lock()
        # Of its own: it makes tables, and the loop's workers have no right to.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="refusals")
        self._task: asyncio.Task[None] | None = None

    @property
    def bytes(self) -> int:
        """What lies in the kernel; 0: it refuses nothing of itself, or by an earlier process."""
        active = self._table.active
        return 0 if active is None else int(abi.Bucket.SIZE) * active.units

    def stop(self) -> None:
        """It refuses nothing from now on, but what is published name by name."""
        self._table.switch(None)

    async def prepare(self, policy: Policy) -> None:
        """Build what this policy refuses, beside what is in force. Never fails."""
        async with self._one:
            self._ready = None  # its place is the next one's where it is not in force
            try:
                made = await self._aside(partial(self._build, policy))
            except (DatapathError, Full, OSError) as error:
                self.trouble = str(error)
            else:
                self.trouble = ""
                self._ready = policy, made

    def take(self, policy: Policy) -> None:
        """This policy is in force. What was prepared for it too; else it will be."""
        self._policy = policy
        if not policy.dns.kernel_answers:
            self._table.switch(None)
        elif self._ready is not None and self._ready[0] is policy:
            self._table.switch(self._ready[1])
            self._go_on(self._free())
        else:
            self._table.switch(None)
            self.begin(policy)

    def begin(self, policy: Policy) -> None:
        """Prepare it while everything goes on, and put it in force if its policy still is."""
        self._policy = policy
        self._go_on(self._later(policy))

    def close(self) -> None:
        """Nothing is begun any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _later(self, policy: Policy) -> None:
        await self.prepare(policy)
        if self._policy is policy and self._ready is not None and self._ready[0] is policy:
            self._table.switch(self._ready[1])
            await self._free()

    async def _free(self) -> None:
        """Nobody reads the one before by now; and there is no hurry. What is prepared stays."""
        async with self._one:
            if self._ready is None or self._ready[1] is self._table.active:
                await self._aside(self._table.retire)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        self.close()
        self._task = asyncio.get_running_loop().create_task(work)

    # --- in a thread ---

    def _build(self, policy: Policy) -> Prepared:
        """Names that share their last labels lie together, unless those are too many."""
        for larger, home in _SHAPES:
            try:
                return self._prepare(self._image(policy, larger, home), policy)
            except Full:
                if (larger, home) == _SHAPES[-1]:
                    raise
        raise AssertionError("one of them was returned")

    def _prepare(self, image: Image, policy: Policy) -> Prepared:
        replies = {
            (_FIRST + number, int(kind)): _reply(blame, _KINDS[kind], policy)
            for number, blame in enumerate(image.blames)
            for kind in (_KINDS if image.zero else (abi.RefusalKind.ANY,))
        }
        return self._table.prepare(image.units, image.write, replies)

    def _image(self, policy: Policy, larger: int, home: int) -> Image:
        roles = [role for role in policy.roles.values() if refuses(role)]
        tables = wanted(names.table for role in roles for names in role.lists)
        own = {suffix for role in roles for suffix in own_suffixes(role)}
        entries = sum(map(len, tables)) + len(own) + len(STOPS)
        if self._store is None:
            self._store = PrintStore()
        size = larger * entries
        if tables:
            listed = self._store.load(tables, buckets_for(size), self._builder, home)
        else:
            listed = empty(self._store.key, size)
        return compile_prints(policy, listed, tables, STOPS)

    def _builder(self, key: Key, buckets: int, home: int) -> Builder:
        if (filler := self._table.filler) is not None:
            return KernelBuilder(key, buckets, home, spill, filler)
        if buckets > _PLAIN_MOST:
            raise DatapathError("the builder of large tables is not loaded")
        return PlainBuilder(key, buckets, home)


def _reply(blame: Blame, qtype: int, policy: Policy) -> Answer:
    """It answers names of any length, so it points at nothing but the question's own name."""
    made = refusal(_ANY_NAME, qtype, policy.dns.refuse, blame.reason, blame.rule)
    parts = made.parts
    body = parts.body
    if parts.authority:
        said = soa(_ANY_NAME, REFUSAL_TTL)
        head = _RECORD.pack(_TO_QUESTION, said.rtype, said.rclass, said.ttl, len(said.rdata))
        body = head + said.rdata
    return Answer(
        parts.flags, parts.bare_flags, parts.ad, parts.answers, parts.authority, body, (),
        parts.opt, Nanos(0), _ALWAYS, refusal=True,
    )  # fmt: skip


