"""A new policy takes over while packets flow, or the old one stays.

Roles come and go with it. The kernel knows a role before any socket is given it; sockets
that change hands lose what their new role refuses; of a role that goes, every grant is
closed and every flow cut before the reload returns.

Its lists are compiled in a process of their own, for a million names take seconds and answers
must not wait; the rest in a thread. Its own tests must pass. The swap itself is one step of
the loop: no query is answered between the kernel's new tables and the engine's. Programs that
still read the old tables are waited for in a thread; then every flow is judged, a few at a time,
before it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dnsfw.datapath.swap import Swapped, whole
from dnsfw.engine.effects import Withdraw
from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.model import Plan
from dnsfw.policy.copies import Copies
from dnsfw.policy.difference import diff
from dnsfw.policy.difference_lists import lists_read_anew
from dnsfw.policy.files import find_policy, shown_place
from dnsfw.policy.policy import Policy
from dnsfw.policy.temporary import Temporary, on_top
from dnsfw.server.clock import Now
from dnsfw.server.kernel import Kernel
from dnsfw.server.loading import load_tested, make_rules, renew_tested, warm
from dnsfw.server.performer import Performer
from dnsfw.server.refusing import Refusing
from dnsfw.server.role_names import RoleNames
from dnsfw.server.temporary import Temporaries
from dnsfw.server.walk import in_turns, walk_flows, walk_grants
from dnsfw.values import dataclass

__all__ = ["Reloaded", "Reloader"]

_NEW, _SAME = "a new policy is in force", "the policy is unchanged"
_MANY = 4096  # addresses that are written at once


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did, for people."""

    path: str
    changes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def text(self) -> str:
        """In a line, for a log."""
        return f"reloaded {self.path}: {len(self.changes) or 'no'} changes"


class Reloader:
    """Holds the policy in force and knows where it came from."""

    def __init__(
        self,
        policy: Policy,
        path: Path,
        wanted: str | None,
        kernel: Kernel,
        names: RoleNames,
        performer: Performer,
        now: Now,
        on_swap: Callable[[Policy, str], None],
        check: Callable[[Policy], None],
        prepare: Callable[[Policy], Awaitable[None]],
        temporaries: Temporaries,
        written: Policy,
        provide: Callable[[Path], Awaitable[Sequence[str]]],
        refusing: Refusing | None = None,
    ) -> None:
        self.policy = policy
        self.written = written  # without what holds for a time
        self._began = _of_a_start(policy)
        self.path = shown_place(path)  # `status` is read in another directory
        self.stale = ""  # why the file on disk is not what is in force
        self._wanted = wanted
        self._kernel = kernel
        self._names = names
        self._performer = performer
        self._now = now
        self._on_swap = on_swap
        self._check = check  # raises ConfigError for a policy that must not come in force
        self._prepare = prepare  # makes ready what the kernel will lead to
        self._temporaries = temporaries
        self._refusing = refusing
        self._provide = provide  # fetches what the file names and nobody has a copy of
        self._one = asyncio.Lock()
        self.relabelled: Callable[[], Awaitable[None]] = _nobody  # waits for older sockets' roles

    async def reload(self) -> Reloaded:
        """Swap to what the file says now. PolicyError, DatapathError: nothing has changed."""
        try:
            path = find_policy(self._wanted)
            missed = await self._provide(path)  # before the lock: a renewal under way needs it
        except Exception as error:
            self.stale = str(error)
            raise
        async with self._one:
            try:
                await warm(path)
                written = await asyncio.to_thread(load_tested, path, self._names.known)
                done = await self._take(written, shown_place(path))
            except Exception as error:
                self.stale = str(error)
                raise
            self.stale = ""
            return replace(done, warnings=(*missed, *done.warnings))

    async def renew(self, fresh: frozenset[str], keep: Callable[[], Awaitable[None]]) -> None:
        """Swap to the policy in force with these proposals of `Copies`; the files on disk are
        not read. PolicyError, DatapathError: nothing has changed. `keep` accepts the proposals
        before anybody else can reload without them.
        """
        async with self._one:
            copies = Copies(fresh=fresh)
            known = self._names.known
            written = await asyncio.to_thread(renew_tested, self.written, known, copies)
            await self._take(written, self.path)
            await keep()

    async def _take(self, written: Policy, path: str) -> Reloaded:
        """Put a policy in force that was read and tested."""
        self._check(written)
        self._kernel.check(written)
        policy, ended = await asyncio.to_thread(self._temporaries.on_top, written)
        changes = await asyncio.to_thread(_changes, self.written, written)
        later = tuple(
            f"{key} has changed: {when}"
            for key, (value, when) in _of_a_start(policy).items()
            if value != self._began[key][0]
        )
        await self._prepare(policy)
        if self._refusing is not None and policy.dns.kernel_answers:
            await self._refusing.prepare(policy)
        told = await self._put_in_force(policy)
        self.written = written
        self.path = path
        self._on_swap(policy, _NEW if changes else _SAME)
        if ended:
            alive = self._temporaries.alive()
            self._temporaries.keep(item for item in alive if item not in ended)
        gone = (f"{item.text} has ended: {why}" for item, why in ended.items())
        return Reloaded(path, changes, (*map(str, policy.warnings), *later, *told, *gone))

    async def put_on_top(self, items: Iterable[Temporary]) -> None:
        """Swap to what is written with these temporary rules on top, and no others.

        ConfigError, DatapathError: nothing has changed.
        """
        async with self._one:
            items = tuple(items)
            policy, refused = await asyncio.to_thread(on_top, self.written, items, make_rules)
            for why in refused.values():
                raise ConfigError(why)
            for role in policy.roles.values():
                if role.addresses.too_long:
                    raise ConfigError("too many address rules cover that; write it into the policy")
            await self._put_in_force(policy)
            self._temporaries.keep(items)

    async def _put_in_force(self, policy: Policy) -> tuple[str, ...]:
        """Swap, and end the flows that it refuses before this returns: a few at a time, for
        there may be a hundred thousand. Says what else the operator should know.
        """
        old = self.policy
        try:
            told = await self._swap(policy)
            await walk_flows(self._kernel, self._performer, self._now)
        except DnsfwError:
            with contextlib.suppress(DnsfwError):
                self._names.take(old)
                self._put_back(old)
                self._hand_over(old)
                self.policy = old
            raise
        await self.relabelled()
        return told

    async def _swap(self, policy: Policy) -> tuple[str, ...]:
        """Says what else the operator should know. On an error the new one may judge."""
        self._names.take(policy)
        plan = await asyncio.to_thread(policy.plan)
        await in_turns(self._kernel.sink.aside(plan))
        swapped = self._put(policy, plan)
        self.policy = policy
        try:
            await walk_grants(self._performer, self._now)
            await in_turns(swapped.bury())
        finally:
            whole(swapped.bury())  # in any case, what is left of it
        await asyncio.to_thread(swapped.wait)  # a grace period: answers go on
        await in_turns(swapped.finish())
        return self._hand_over(policy)

    def _put(self, policy: Policy, plan: Plan) -> Swapped:
        """The kernel's tables flip, and the engine judges by the new policy. Then the grants move
        to the new rules or close (`walk_grants`), and the old rules die.

        In this order an address that both policies allow is open all the time, and one that
        the new policy refuses is shut when the old rules are dead, but for a packet that is just
        being judged: whoever waits for what is returned has seen the last of these.
        """
        engine, now, perform = self._performer.engine, self._now(), self._performer.perform
        kernel = self._kernel
        perform([Withdraw()])  # before anything is judged anew; who still reads is waited for
        if self._refusing is not None:
            self._refusing.stop()
        swap_engine = lambda: perform(engine.begin_swap(policy, now))  # noqa: E731
        swapped = kernel.sink.begin(plan, swap_engine)
        kernel.answer(policy.dns)
        if self._refusing is not None:
            self._refusing.take(policy)
        return swapped

    def _put_back(self, policy: Policy) -> None:
        """All of it, here and now: something has gone wrong."""
        swapped, performer = self._put(policy, policy.plan()), self._performer
        while performer.engine.unjudged:
            performer.perform(performer.engine.judge_held(self._now(), _MANY))
        swapped.settle()

    def _hand_over(self, policy: Policy) -> tuple[str, ...]:
        """Subjects get their roles, and lose what these refuse."""
        told = self._kernel.assign(policy.subjects)
        ended = self._kernel.settle_role_change(policy)
        return (*told, *ended)


def _changes(old: Policy, new: Policy) -> tuple[str, ...]:
    return (*diff(old, new), *lists_read_anew(old, new))


async def _nobody() -> None:
    """Nobody has sockets of another role."""


_NEXT_START = "that takes effect at the next start"
_AFTER_DOWN = "that takes effect at the first start after `dnsfw down`"


def _of_a_start(policy: Policy) -> dict[str, tuple[object, str]]:
    """What a reload does not change (sockets and hooks stay as they are), and what does."""
    return {
        "dns.listen": (policy.dns.listen, _NEXT_START),
        "dns.upstreams": (policy.dns.upstreams, _NEXT_START),
        "dns.workers": (policy.dns.workers, _NEXT_START),
        "host.containers": (policy.containers, _NEXT_START),
        "degraded": (policy.degraded, _NEXT_START),
        "tables": (policy.tables, _AFTER_DOWN),
    }
