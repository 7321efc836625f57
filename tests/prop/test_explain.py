"""Explain, the DNS path and the kernel's tables say the same, over random policies and answers.

The policies are those of the engine's own property: three roles, every option, every mode.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from dnsfw.datapath.memory import MemorySink
from dnsfw.engine.effects import Ask, Client, Close, OpenThenReply, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.engine.explain import explain_for
from dnsfw.model import SECOND, Mode, Name, Nanos, PortRange, PortSet, Verdict, addr_from
from dnsfw.policy.asked import Asked
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.policy.temporary import Temporary, on_top
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
        self.policy = self.make()
        self.engine = Engine(self.policy, 1, FixedRng())
        self.sink = MemorySink()
        self.sink.apply(self.policy.plan())
        self.replies: list[Reply] = []
        self.asks: list[Ask] = []

    def make(self) -> Policy:
        """The policy it begins with, and each that a reload puts in its place."""
        return random_policy(self.rng)

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
        self.policy = self.make()
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


class Listed(Host):
    """With lists of names and addresses, and rules and pauses that hold for a time, too."""

    def __init__(self, rng: Random, directory: Path) -> None:
        self._directory = directory
        self._made = 0
        super().__init__(rng)

    def make(self) -> Policy:
        rng, self._made = self.rng, self._made + 1
        names = [name for name in NAMES if "localhost" not in name and "\\" not in name]
        for kind in ("deny", "allow"):
            lines = rng.sample(names, rng.randint(1, 6)) + rng.sample(["203.0.113.4", "*.net"], 1)
            (self._directory / f"{kind}{self._made}.txt").write_text("\n".join(lines) + "\n")
        policy = random_policy(rng)
        roles = {number: self._with_lists(role) for number, role in policy.roles.items()}
        made, _ = on_top(replace(policy, roles=roles), self._temporary(policy))
        return made

    def _with_lists(self, role: RolePolicy) -> RolePolicy:
        kinds = [kind for kind in ("deny", "allow") if self.rng.random() < 0.6]
        ports = self.rng.choice(("", ", ports: '443'"))
        rules = "".join(
            f"  - {kind}: {{list: {kind}{self._made}.txt, format: wildcard{ports}}}\n"
            for kind in kinds
        )
        if not rules:
            return role
        file = str(self._directory / f"{role.role}.yaml")
        found = compile_text(f"version: 1\ndefault: deny\nrules:\n{rules}", file).host
        return RolePolicy(
            role.role, role.name, role.default, role.rules + found.rules, mode=role.mode,
            resolved_only=role.resolved_only, lists=found.lists,
        )  # fmt: skip

    def _temporary(self, policy: Policy) -> list[Temporary]:
        role, until = self.rng.choice(list(policy.roles.values())), Nanos(self.now + 9_000 * SECOND)
        kind, to = self.rng.choice(("allow", "deny")), self.rng.choice(("cdn.net", "*.ok.com:443"))
        found = [Temporary(kind, to, role.name, until)] if self.rng.random() < 0.5 else []
        pause = Temporary("pause", "", role.name, until, "a test")
        return [*found, pause] if self.rng.random() < 0.2 else found


@pytest.mark.parametrize("seed", SEEDS)
def test_explain_the_dns_path_and_the_kernel_say_the_same(seed: int) -> None:
    _hold(Host(Random(seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_with_lists_and_temporary_rules_they_say_the_same(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    _hold(Listed(Random(seed), tmp_path))


def _hold(host: Host) -> None:
    rng = host.rng
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


def test_lists_and_temporary_rules_decide_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    listed = temporary = 0
    for seed in range(8):
        host = Listed(Random(seed), tmp_path)
        for role in host.policy.roles.values():
            for text in NAMES:
                rule = explain_for(role, Asked(from_text(text), False, KNOWN, text)).best.rule
                listed += rule is not None and rule.listed
                temporary += rule is not None and rule.until is not None

    assert listed > 20 and temporary > 2
