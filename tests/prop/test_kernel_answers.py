"""A soak without a kernel: random names, TTLs, reloads, kills, failures, full tables, against a
model. At every answer that the kernel would give: what it tells is open and stays so for as long
as it says (promises 1 and 2), and the policy of now would say the same.

A run is a seed: whatever fails names it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from random import Random

import pytest

from dnsfw.datapath.answers import Size
from dnsfw.engine.effects import Ask, Client, Effect, OpenThenReply, Publish, Transport, Withdraw
from dnsfw.engine.engine import Engine
from dnsfw.model import HOST, SECOND, Entry, Lockdown, Mode, Nanos, RoleId
from dnsfw.policy.digest import digest
from dnsfw.policy.policy import Policy
from dnsfw.server.answers import Book
from dnsfw.wire import message
from dnsfw.wire.name import from_text, to_text
from dnsfw.wire.reply import write_query
from tests.prop.test_engine import ADDRS, LIMITS, NAMES, ROLES, random_policy
from tests.support.fakes import FixedRng, KernelTable
from tests.support.memory_answers import MemoryAnswers, answer_maps
from tests.support.play import Play, rr, svcb, told_addresses

SEEDS = range(int(os.environ.get("DNSFW_FUZZ_SEEDS", "12")))
EVENTS = 600
ROOM = {Size.SMALL: 12, Size.BIG: 2, Size.LONG: 2}
TYPES = (message.A, message.AAAA, message.HTTPS, message.TXT)


@dataclass
class Soak:
    """Engine, book and tables, and a client who asks the kernel first."""

    rng: Random
    policy: Policy
    kernel: MemoryAnswers = field(default_factory=lambda: MemoryAnswers(answer_maps()))
    served: int = 0
    asked: int = 0
    killed: int = 0

    def __post_init__(self) -> None:
        self.play = Play(self.policy, self._engine(), KernelTable(LIMITS.grants))
        self.journal: list[object] = []
        self.book = self._book()
        self.book.table.switch(True)
        self.judged = digest(self.policy), self.book.table.epoch
        self.favourites = [(self.rng.choice(ROLES), self.rng.choice(NAMES)) for _ in range(4)]

    def _engine(self) -> Engine:
        seed = self.rng.randrange(1 << 16)
        return Engine(self.policy, 2, FixedRng(seed), LIMITS, publishes=True)

    def _book(self) -> Book:
        engine = self.play.engine
        return Book(self.kernel.table(), engine.renew, engine.unpublished, self.rng, ROOM)

    # --- events ---

    def query(self) -> None:
        rng, play = self.rng, self.play
        (role, name), qtype = rng.choice(self.favourites), message.A
        if rng.random() < 0.2:
            role, name, qtype = rng.choice(ROLES), rng.choice(NAMES), rng.choice(TYPES)
        self.asked += 1
        wire = write_query(
            self.asked & 0xFFFF, from_text(name), qtype, do=rng.random() < 0.1,
            size=rng.choice((0, 1232)),
        )  # fmt: skip
        if (said := self.kernel.ask(wire, role, play.now)) is not None:
            self.served += 1
            self._tells(role, said)
            return
        client = Client(self.asked % 5, role, Transport.UDP)
        self.perform(play.engine.on_query(wire, client, play.now))

    def answer(self) -> None:
        rng, play = self.rng, self.play
        if not play.open_asks:
            return
        ask = rng.choice(list(play.open_asks.values()))
        query = message.read_query(ask.wire)
        name, ttl = to_text(query.name), rng.choice((0, 1, 2, 5, 30, 30, 300))
        if rng.random() < 0.1:
            play.open_asks.pop(ask.ask, None)
            self.perform(play.engine.on_ask_failed(ask.ask, "no route", play.now))
            return
        addrs = rng.sample(ADDRS, rng.randint(0, 5))
        if query.qtype == message.HTTPS:
            records = [svcb(name, ".", addrs, ttl=ttl)]
        elif query.qtype == message.TXT:
            records = [rr(name, "TXT", b"\x02hi", ttl)]
        else:
            family = "AAAA" if query.qtype == message.AAAA else "A"
            mine = [a for a in addrs if (":" in a) == (family == "AAAA")]
            records = [rr(name, family, addr, ttl) for addr in mine]
        soa = [] if records else [rr(name, "SOA", ttl=ttl)]
        wire = message_of(ask, records, soa)
        self.perform(play.engine.on_answer(ask.ask, wire, play.now))

    def wait(self) -> None:
        """Time passes; the alarm rings when it should, and a busy client goes on asking."""
        play = self.play
        end = Nanos(play.now + round(self.rng.choice((0.05, 0.3, 1, 3, 12, 60)) * SECOND))
        while True:
            dues = [play.engine.next_deadline(), self.book.next_due()]
            due = min((d for d in dues if d is not None), default=Nanos(end + 1))
            if due > end:
                break
            play.now = max(play.now, due)
            effects = play.engine.on_deadline(play.now) + self.book.on_deadline(play.now)
            self.perform(effects)
            if self.rng.random() < 0.3 and play.now < end:
                play.now = Nanos(play.now + 1)  # whoever wants to be woken at once gets its turn
        play.now = max(play.now, end)

    def reload(self) -> None:
        """When this returns, nothing of the old policy is told (`query` looks)."""
        self.policy = self.play.policy = random_policy(self.rng)
        self.perform([Withdraw(), *self.play.engine.swap_policy(self.policy, self.play.now)])
        self.judged = digest(self.policy), self.book.table.epoch

    def lock(self) -> None:
        for state in (Lockdown.ON, Lockdown.OFF):
            self.perform(self.play.engine.set_lockdown(state, self.play.now))
            assert state is Lockdown.OFF or not self._anything()

    def fail_writes(self) -> None:
        self.play.kernel.refuses = self.rng.randrange(3)

    def kill(self) -> None:
        """kill -9 in between; at times the file has changed meanwhile."""
        play = self.play
        self.killed += 1
        if self.rng.random() < 0.3:
            self.policy = play.policy = random_policy(self.rng)
        entries = [Entry(role, addr, grants)
                   for (role, addr), grants in play.kernel.entries.items()]  # fmt: skip
        play.engine = self._engine()
        play.open_asks.clear()
        play.kernel.refuses = 0
        book = self.book = self._book()
        self.perform(play.engine.restore(self.journal, entries, play.now))  # type: ignore[arg-type]
        if self.judged != (digest(self.policy), book.table.epoch):
            book.table.withdraw()
        book.adopt(play.now)
        self.judged = digest(self.policy), book.table.epoch

    # --- performing ---

    def perform(self, effects: list[Effect]) -> None:
        """In order, as the performer does it; the play holds promises 1 and 2 at each reply."""
        play, queue = self.play, list(effects)
        while queue:
            effect = queue.pop(0)
            match effect:
                case Publish():
                    self.book.publish(effect, play.now)
                case Withdraw():
                    self.book.withdraw()
                case OpenThenReply():
                    scene = play.does([effect])
                    if id(effect) not in play.failed:
                        self.journal += effect.holders
                        queue = [*effect.publish, *queue]
                    else:
                        queue += [e for e in scene.effects[1:] if isinstance(e, Withdraw)]
                case _:
                    play.does([effect])
            play.published.clear()  # the book has them
        play.forget()
        if self.judged[1] != self.book.table.epoch and self.policy is play.policy:
            self.judged = digest(self.policy), self.book.table.epoch

    # --- the model ---

    def _anything(self) -> bool:
        return any(found.live and self.play.now < found.until
                   for found in self.book.table.entries())  # fmt: skip

    def _tells(self, role: RoleId, wire: bytes) -> None:
        heard, play = message.read_response(wire), self.play
        policy = play.policy.roles.get(role)
        assert policy is not None, "an answer for who has no role"
        assert policy.mode is Mode.ENFORCE, "an answer of the kernel's in audit"
        judgement = policy.judge(heard.name)
        told = told_addresses(heard)
        if told or heard.answers:
            assert judgement.answered, f"{to_text(heard.name)} is denied, and was answered"
        if not judgement.answered:
            assert heard.rcode != 0 or not heard.answers
        for addr, ttl in told:
            for when in (play.now, Nanos(play.now + ttl * SECOND)):
                assert play.kernel.opens(policy, addr, when), (
                    f"{to_text(heard.name)}: told with TTL {ttl}, and shut "
                    f"{(when - play.now) / SECOND} s later"
                )


def message_of(ask: Ask, records: list[message.Record], soa: list[message.Record]) -> bytes:
    from dnsfw.wire import reply

    query = message.read_query(ask.wire)
    return reply.write_reply(query, 0, records, soa, limit=65_535)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_kernel_tells_is_open_and_what_the_policy_says(seed: int) -> None:
    rng = Random(seed)
    soak = Soak(rng, random_policy(rng))
    events = [soak.query] * 60 + [soak.answer] * 30 + [soak.wait] * 8
    events += [soak.reload, soak.fail_writes, soak.lock, soak.kill]

    for _ in range(EVENTS):
        rng.choice(events)()
        rooms = soak.book.sizes
        assert all(rooms[size] <= room for size, room in ROOM.items())
        assert len(soak.kernel.keys()) <= sum(ROOM.values())


def test_the_soak_gets_somewhere() -> None:
    """It would prove nothing if the kernel hardly ever answered."""
    served = killed = 0
    for seed in range(6):
        rng = Random(1000 + seed)
        soak = Soak(rng, random_policy(rng))
        for _ in range(EVENTS):
            rng.choice([soak.query] * 60 + [soak.answer] * 30 + [soak.wait, soak.kill])()
        served, killed = served + soak.served, killed + soak.killed

    assert served > 300 and killed > 10
    assert HOST in ROLES
