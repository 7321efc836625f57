"""Explain, the DNS path and the kernel's tables say the same, over random policies and answers.

The policies are those of the engine's own property: three roles, every option, every mode.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from dnsfw.datapath.memory import MemorySink
from dnsfw.engine.effects import Ask, Client, Close, OpenThenReply, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.engine.explain import explain_for
from dnsfw.model import SECOND, Mode, Name, Nanos, PortRange, PortSet, Verdict, addr_from
from dnsfw.policy.asked import Asked
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.wire import message
from dnsfw.wire.message import Ede
from dnsfw.wire.name import from_text, to_text
from dnsfw.wire.reply import write_query, write_reply
from tests.prop.test_engine import ADDRS, NAMES, random_policy
from tests.support.fakes import FixedRng
from tests.support.play import Heard, rr

SEEDS = range(int(os.environ.get("DNSFW_FUZZ_SEEDS", "12")))
PORTS = [(6, 443), (6, 80), (6, 22), (6, 5432), (17, 443), (17, 53), (1, 0), (132, 7)]
_BY_POLICY = {Ede.BLOCKED, Ede.CENSORED, Ede.FILTERED, Ede.PROHIBITED}


class Host:
    """An engine and a kernel in memory, performed as the server does."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = Nanos(1_000_000 * SECOND)
        self.policy = random_policy(rng)
        self.engine = Engine(self.policy, 1, FixedRng())
        self.sink = MemorySink()
        self.sink.apply(self.policy.plan())
        self.replies: list[Reply] = []
        self.asks: list[Ask] = []

    def perform(self, effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case OpenThenReply():
                    self.sink.write(effect.entries)
                    self.replies += effect.replies
                case Close():
                    self.sink.write(effect.entries)
                case Reply():
                    self.replies.append(effect)
                case Ask():
                    self.asks.append(effect)

    def query(self, name: Name, role: RolePolicy) -> Heard | None:
        """Ask, answer what is asked, and hear the reply."""
        self.replies.clear()
        self.asks.clear()
        client = Client("c", role.role, Transport.UDP)
        wire = write_query(self.rng.randrange(1 << 16), name, message.A)
        self.perform(list(self.engine.on_query(wire, client, self.now)))
        for ask in list(self.asks):
            asked = message.read_query(ask.wire)
            if asked.qtype == message.A:
                answer = self._answer(to_text(asked.name))
                self.perform(list(self.engine.on_answer(ask.ask, _wire(ask, answer), self.now)))
        if not self.replies:
            return None
        reply = self.replies[-1]
        return Heard(reply.client, reply.wire, message.read_response(reply.wire))

    def _answer(self, name: str) -> list[message.Record]:
        four = [addr for addr in ADDRS if ":" not in addr]
        ttl = self.rng.choice((1, 30, 300))
        return [rr(name, "A", addr, ttl) for addr in self.rng.sample(four, self.rng.randint(1, 4))]

    def wait(self) -> None:
        self.now = Nanos(self.now + self.rng.choice((1, 8, 40)) * SECOND)
        self.perform(list(self.engine.on_deadline(self.now)))

    def swap(self) -> None:
        self.policy = random_policy(self.rng)
        self.sink.apply(self.policy.plan())
        self.perform(list(self.engine.swap_policy(self.policy, self.now)))

    def look(self) -> None:
        """Explain of every address and port, beside what the kernel would do."""
        for role in self.policy.roles.values():
            for text in ADDRS:
                addr = addr_from(text)
                live = [g for g in self.engine.granted(role.role, addr) if g.until > self.now]
                for proto, port in PORTS:
                    asked = Asked(addr, True, PortSet((PortRange(proto, port, port),)), text)
                    found = explain_for(role, asked, live)
                    verdict, reason = self.sink.judge(role.role, addr, proto, port, self.now)
                    told = (role.name, text, proto, port, found, reason)
                    assert found.best.verdict is verdict, told


def _wire(ask: Ask, records: list[message.Record]) -> bytes:
    return write_reply(message.read_query(ask.wire), 0, records, (), limit=65_535)


@pytest.mark.parametrize("seed", SEEDS)
def test_explain_the_dns_path_and_the_kernel_say_the_same(seed: int) -> None:
    rng = Random(seed)
    host = Host(rng)
    for step in range(60):
        role = rng.choice(list(host.policy.roles.values()))
        text = rng.choice([name for name in NAMES if "localhost" not in name])
        name = from_text(text)
        heard = host.query(name, role)
        found = explain_for(role, Asked(name, False, KNOWN, text))
        refused = found.verdict is Verdict.DENY and role.mode is Mode.ENFORCE
        if heard is not None and not any("itself" in note for note in found.notes):
            no = heard.rcode in ("NXDOMAIN", "REFUSED") or (
                heard.ede in _BY_POLICY and not heard.addresses
            )
            if refused:
                assert no, (text, role.name, heard)
            assert not (refused and heard.addresses)
        if rng.random() < 0.2:
            host.wait()
        if rng.random() < 0.07:
            host.swap()
        if step % 6 == 0:
            host.look()
    host.look()


def test_a_grant_of_a_name_opens_what_the_file_alone_calls_never_resolved() -> None:
    """The property is not empty: somewhere a name's grant decides."""
    host = Host(Random(3))
    decided = 0
    for _ in range(80):
        for role in host.policy.roles.values():
            host.query(from_text("free.org"), role)
            for text in ADDRS:
                addr = addr_from(text)
                live = host.engine.granted(role.role, addr)
                before = explain_for(role, Asked(addr, True, KNOWN, text))
                after = explain_for(role, Asked(addr, True, KNOWN, text), live)
                decided += before.verdict is not after.verdict
    assert decided
