"""Thousands of random events through the whole engine; the promises hold after each one.

A run is a seed: whatever fails names it. The play holds promises 1 and 2 at every reply;
here they are held at every moment after it too, with 5, 7 and 9 beside them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from random import Random

import pytest

from dnsfw.engine.effects import Ask, Client, Close, Holder, Note, OpenThenReply, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.engine.limits import Limits
from dnsfw.engine.ranges import Kind, kind
from dnsfw.model import (
    HOST,
    NO_ROLE,
    SECOND,
    Addr,
    Entry,
    Lockdown,
    Mode,
    Name,
    Nanos,
    PortSet,
    RoleId,
    Verdict,
    addr_from,
)
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.wire import message, rdata
from dnsfw.wire.message import Record
from dnsfw.wire.name import from_text, labels, to_text
from tests.support.fakes import FixedRng, KernelTable
from tests.support.play import Play, Scene, rr, svcb, told_addresses

SEEDS = range(int(os.environ.get("DNSFW_FUZZ_SEEDS", "12")))
EVENTS = 400
WEB, DB = RoleId(16), RoleId(17)
ROLES = (HOST, WEB, DB)
ASKERS = (*ROLES, *ROLES, *ROLES, NO_ROLE)

LIMITS = Limits(
    grants=14,
    names_per_grant=2,
    names=24,
    addresses_per_name=5,
    addresses_per_answer=4,
    ghosts=8,
    answer_bytes=60_000,
    negative_bytes=40_000,
    failures=8,
    front=12,
    refusals=6,
    pending=8,
    waiters=3,
    closings=4,
    closings_at_once=2,
    asked_a_minute=4,
)

NAMES = [
    "a.ok.com", "b.ok.com", "c.d.ok.com", "ok.com", "bad.ok.com", "ads.net", "x.ads.net",
    "t.track.net", "free.org", "other.org", "localhost", "x.test", "a\\.b.ok.com",
    "secret-" + "s" * 40 + ".made.net", "y.made.net", "cdn.net", "edge.cdn.net",
]  # fmt: skip
ADDRS = [
    *(f"203.0.113.{n}" for n in range(9)), *(f"2001:db8::{n}" for n in range(4)), "10.0.0.1",
    "192.168.1.1", "127.0.0.1", "::1", "169.254.169.254", "64:ff9b::a00:1", "fe80::1", "0.0.0.0",
    "198.51.100.1",
]  # fmt: skip
RULES = [
    "allow: '*.ok.com:443'",
    "allow: .ok.com",
    "allow: a.ok.com:22",
    "allow: free.org:80,443",
    "deny: bad.ok.com",
    "deny: ads.net",
    "deny: other.org:443",
    "deny: '*.track.net'",
    "{deny: '*.made.net', close: asked}",
    "{allow: cdn.net:8443, private: true, ttl: {min: 5s, max: 20s, grace: 3s}}",
    "{deny: '*.ads.net', shared: deny}",
    "deny: 203.0.113.3",
    "allow: 10.0.0.0/8:5432",
    "deny: 203.0.113.4:443",
    "{allow: other.org:22, keep: true, addresses: 2}",
]


def random_policy(rng: Random) -> Policy:
    """`host` and up to two more roles, each of its own rules, default and mode."""
    roles = {}
    named = [role for role in ROLES if role == HOST or rng.random() < 0.8]
    texts = [_text(rng) for _ in named]
    for role, text in zip(named, texts, strict=True):
        host = compile_text(text).host
        roles[role] = RolePolicy(
            role, f"r{role}", host.default, host.rules,
            mode=host.mode, resolved_only=host.resolved_only,
        )  # fmt: skip
    return Policy(roles, compile_text(texts[0]).dns)


def _text(rng: Random) -> str:
    default = rng.choice(("allow", "deny"))
    only = "resolved_only: true\n" if default == "allow" and rng.random() < 0.3 else ""
    mode = "mode: audit\n" if rng.random() < 0.15 else ""
    rules = rng.sample(RULES, rng.randint(1, len(RULES)))
    listed = "".join(f"  - {rule}\n" for rule in rules)
    refuse = rng.choice(("nxdomain", "refused", "nodata"))
    private = rng.choice(("allow", "deny"))
    return (
        f"version: 1\ndefault: {default}\n{mode}{only}rules:\n{listed}"
        f"dns: {{upstreams: [192.0.2.53], refuse: {refuse}, private: {private}}}\n"
    )


@dataclass
class Lease:
    """An address that a client may lawfully use until then."""

    role: RoleId
    addr: Addr
    until: Nanos


@dataclass
class World:
    """A play, and what a suspicious observer remembers of it."""

    rng: Random
    play: Play
    leases: list[Lease] = field(default_factory=list)
    waiting: dict[tuple[object, int], Nanos] = field(default_factory=dict)
    said: dict[tuple[RoleId, Addr], set[Name]] = field(default_factory=dict)
    journal: list[Holder] = field(default_factory=list)
    asked_for: set[tuple[RoleId, Name]] = field(default_factory=set)
    lockdown: Lockdown = Lockdown.OFF
    next_id: int = 0

    # --- events ---

    def query(self) -> None:
        rng = self.rng
        name = rng.choice(NAMES)
        if rng.random() < 0.1:
            name = f"r{rng.randrange(10_000)}.{name}"
        if rng.random() < 0.03:
            self.junk()
            return
        client, role = rng.randrange(4), rng.choice(ASKERS)
        self.next_id = self.next_id % 0xFFFF + 1
        self.waiting[client, self.next_id] = self.play.now
        self.asked_for.add((role, from_text(name)))
        scene = self.play.query(
            name,
            rng.choice(("A", "A", "A", "AAAA", "HTTPS", "TXT", "ANY")),
            client=client,
            role=role,
            id=self.next_id,
            do=rng.random() < 0.2,
            tcp=rng.random() < 0.2,
            size=rng.choice((0, 512, 1232, 4096)),
        )
        self.see(scene)

    def junk(self) -> None:
        wire = self.rng.randbytes(self.rng.randrange(60))
        client = Client("junk", HOST, Transport.UDP)
        effects = self.play.engine.on_query(wire, client, self.play.now)
        assert all(isinstance(effect, Reply | Note) for effect in effects)

    def answer(self) -> None:
        rng = self.rng
        if not self.play.open_asks:
            return
        ask = rng.choice(list(self.play.open_asks.values()))
        query = message.read_query(ask.wire)
        name = to_text(query.name)
        roll = rng.random()
        if roll < 0.08:
            self.see(self.play.upstream(ask, rng.randbytes(rng.randrange(80))))
        elif roll < 0.16:
            self.see(self.play.breaks(ask))
        elif roll < 0.24:
            self.see(self.play.says(ask, rcode=rng.choice((1, 2, 4, 5))))
        elif roll < 0.3:
            self.see(self.play.says(ask, tc=True))
        elif roll < 0.4:
            zone = rng.choice((name, "evil.net"))
            soa = rr(zone, "SOA", ttl=rng.choice((0, 30)))
            self.see(self.play.says(ask, rcode=rng.choice((0, 3)), authority=[soa]))
        else:
            self.see(self.play.says(ask, *self._records(name, query.qtype, asker(self.play, ask))))

    def _records(self, name: str, qtype: int, role: RoleId) -> list[Record]:
        rng = self.rng
        ttl = rng.choice((0, 1, 4, 30, 30, 300, 100_000))
        records = []
        chain = [name]
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            following = rng.choice(NAMES)
            records.append(rr(chain[-1], "CNAME", following, ttl))
            chain.append(following)
        end = chain[-1]
        addrs = rng.sample(ADDRS, rng.randint(0, 6))
        if qtype == message.HTTPS:
            target = rng.choice((".", *NAMES[:9]))
            records.append(svcb(end, target, addrs, priority=rng.choice((0, 1)), ttl=ttl))
        elif qtype == message.TXT:
            records.append(rr(end, "TXT", b"\x02hi", ttl))
        else:
            family = "AAAA" if qtype == message.AAAA else "A"
            mine = [a for a in addrs if (":" in a) == (family == "AAAA")]
            records += [rr(end, family, addr, ttl) for addr in mine]
        records += [rr("stray.ok.com", "A", "203.0.113.8", ttl)] if rng.random() < 0.2 else []
        rng.shuffle(records)
        self._hear(role, chain, records)
        return records

    def _hear(self, role: RoleId, chain: list[str], records: list[Record]) -> None:
        """What an honest reading of the upstream allows the role that asked, and no other:
        addresses at the end of the chain.
        """
        for record in records:
            names = {from_text(n) for n in chain}
            found = set(rdata.addresses(record))
            if record.rtype == message.HTTPS:
                binding = rdata.read_svcb(record.rdata)
                found |= set(binding.hints)
                names.add(binding.target)
            if record.owner in names:
                for addr in found:
                    self.said.setdefault((role, addr), set()).update(names)

    def wait(self) -> None:
        play = self.play
        seconds = self.rng.choice((0.01, 0.3, 1, 1, 5, 12, 40, 90))
        end = Nanos(play.now + round(seconds * SECOND))
        while (due := play.engine.next_deadline()) is not None and due <= end:
            self.see(play.until(max(due, play.now)))  # look after every wake-up
        self.see(play.until(end))

    def swap(self) -> None:
        policy = random_policy(self.rng)
        self.play.policy = policy
        self.leases.clear()  # a deadline moves earlier only by policy
        self.see(self.play.does(self.play.engine.swap_policy(policy, self.play.now)))

    def swap_slowly(self) -> None:
        """As the server does it: who is answered in between is judged by the new policy."""
        play = self.play
        play.policy = random_policy(self.rng)
        self.leases.clear()
        self.see(play.does(play.engine.begin_swap(play.policy, play.now)))
        while play.engine.unjudged:
            self.rng.choice((self.query, self.answer, self.answer, self.wait))()
            self.see(play.does(play.engine.judge_held(play.now, 1)))

    def renew(self) -> None:
        """The kernel was asked for some of what it has, and it ends soon."""
        play = self.play
        for key, published in list(play.published.items()):
            if self.rng.random() < 0.5:
                self.asked_for.add((key.role, Name(key.key[:-4])))
                effects = play.engine.renew(key, published.until, play.now)
                self.see(play.does(effects or []))

    def fail_writes(self) -> None:
        self.play.kernel.refuses = self.rng.randrange(4)

    def lock(self) -> None:
        self.lockdown = self.rng.choice((Lockdown.OFF, Lockdown.OFF, Lockdown.ON))
        effects = self.play.engine.set_lockdown(self.lockdown, self.play.now)
        self.see(self.play.does(effects))

    def restart(self) -> None:
        """kill -9, and a new engine over the kernel's table and the journal."""
        play = self.play
        entries = [Entry(role, addr, g) for (role, addr), g in play.kernel.entries.items()]
        rng = FixedRng(self.rng.randrange(1 << 16))
        play.engine = Engine(play.policy, 2, rng, LIMITS, publishes=True)
        play.open_asks.clear()
        self.waiting.clear()
        self.lockdown = Lockdown.OFF
        self.see(play.does(play.engine.restore(self.journal, entries, play.now)))

    # --- the observer ---

    def see(self, scene: Scene) -> None:
        for effect in scene.effects:
            if isinstance(effect, Close) and id(effect) in self.play.failed:
                self.leases.clear()  # the host failed, so the door is closed
            elif isinstance(effect, Ask):
                self._may_ask(effect)
            elif isinstance(effect, OpenThenReply):
                self.journal += effect.holders
        for heard in scene.heard:
            self._reply(heard.client.route, heard.client.role, heard.wire)
        self._taken_by_shared_deny()
        self._check()

    def _may_ask(self, ask: Ask) -> None:
        """Promise 7: allowed, or one of the look-ups that a block list makes."""
        name = message.read_query(ask.wire).name
        assert self.lockdown is Lockdown.OFF, "a byte left in a lockdown"
        for role, policy in self.play.policy.roles.items():
            judgement = policy.judge(name)
            # In `mode: audit` a refused name is looked up: promise 7 is one of enforcement.
            lets = judgement.answered or policy.mode is Mode.AUDIT
            if name in policy.keeps and asker(self.play, ask) == role:
                return
            if lets and (role, name) in self.asked_for and asker(self.play, ask) == role:
                return
            if policy.default is Verdict.DENY:
                continue
            rule = judgement.rule
            if any(name == exact for exact, _ in policy.closes):
                return
            short = max(map(len, labels(name)), default=0) <= LIMITS.asked_label
            if rule is not None and rule.close == "asked" and short:
                return
        raise AssertionError(f"{to_text(name)} left, though nobody may look it up")

    def _reply(self, route: object, role: RoleId, wire: bytes) -> None:
        heard = message.read_response(wire)
        since = self.waiting.pop((route, heard.id), None)
        assert since is not None, "a reply that nobody waits for"
        assert self.play.now - since < 5 * SECOND, "a reply after the client gave up"
        for addr, ttl in told_addresses(heard):
            if heard.name.endswith(from_text("localhost")):
                continue
            assert kind(addr) is not Kind.SPECIAL
            assert role in self.play.policy.roles, "an address for who has no role"
            if self.play.policy.roles[role].mode is Mode.AUDIT:
                continue  # the kernel lets everything of it pass
            self.leases.append(Lease(role, addr, Nanos(self.play.now + ttl * SECOND)))

    def _taken_by_shared_deny(self) -> None:
        """`shared: deny` is policy too: it may take an address away at any time."""
        self.leases = [
            lease for lease in self.leases
            if not any(
                g.verdict is Verdict.DENY
                and (rule := self.play.policy.rule(g.rule)) is not None
                and rule.shared == "deny"
                for g in self.play.kernel.live(lease.role, lease.addr, self.play.now)
            )
        ]  # fmt: skip

    def _check(self) -> None:
        play, now = self.play, self.play.now
        self.leases = [lease for lease in self.leases if lease.until >= now]
        for lease in self.leases:  # promises 1 and 2, at every moment
            rules = play.policy.roles[lease.role]
            assert play.kernel.opens(rules, lease.addr, now), "a lawful address is dropped"
        ledger = play.engine._ledger
        for (role, addr), grants in play.kernel.entries.items():
            if (role, addr) in ledger._unjudged or (role, addr) in ledger._unwritten:
                continue  # the swap has not ended
            for grant in grants:
                if grant.until <= now:
                    continue
                assert role in play.policy.roles, "a grant of a role that is gone"
                if grant.verdict is Verdict.ALLOW:
                    self._founded(role, addr, grant.ports)
        for since in self.waiting.values():
            assert now - since <= 5 * SECOND, "a client that nobody answers"
        self._bounded()

    def _founded(self, role: RoleId, addr: Addr, ports: PortSet) -> None:
        """Promise 5: some name that this role asked for, and may reach, led there, with at
        least these ports.
        """
        policy = self.play.policy.roles[role]
        left = ports
        for name in self.said.get((role, addr), ()):
            for share in policy.judge(name).shares:
                if share.verdict is Verdict.ALLOW:
                    left = left.minus(share.ports)
        assert not left, "ports that no name of this role gives"

    def _bounded(self) -> None:
        """Promise 9."""
        stats = self.play.engine.stats()
        for size, limit in (
            ("grants", LIMITS.grants),
            ("names", LIMITS.names),
            ("front", LIMITS.front),
            ("refusals", LIMITS.refusals),
            ("pending", LIMITS.pending),
            ("cache_answer_bytes", LIMITS.answer_bytes),
            ("cache_negative_bytes", LIMITS.negative_bytes),
            ("cache_failures", LIMITS.failures),
            ("closings", LIMITS.closings * 2),
        ):
            assert stats[size] <= limit, size
        assert len(self.play.open_asks) <= 3 * LIMITS.pending


def asker(play: Play, ask: Ask) -> RoleId:
    """Whose question an Ask is."""
    lookups = play.engine._lookups
    pending = lookups.table.by_ask(ask.ask)
    if pending is None and (fresh := play.engine._fresh._by_ask.get(ask.ask)) is not None:
        return fresh.key[0]
    if pending is None:  # it was overtaken; nobody waits for it any more
        return lookups.stragglers._tries[ask.ask][1]
    return pending.key.role


@pytest.mark.parametrize("seed", SEEDS)
def test_the_promises_hold_after_every_event(seed: int) -> None:
    rng = Random(seed)
    policy = random_policy(rng)
    engine = Engine(policy, 2, FixedRng(), LIMITS, publishes=True)
    world = World(rng, Play(policy, engine, KernelTable(LIMITS.grants)))
    events = [world.query] * 40 + [world.answer] * 40 + [world.wait] * 14
    events += [world.swap, world.swap_slowly, world.fail_writes, world.lock, world.restart]
    events += [world.renew] * 4

    for _ in range(EVENTS):
        rng.choice(events)()
        world.play.forget()

    world.play.kernel.refuses = 0
    world.see(world.play.does(world.play.engine.set_lockdown(Lockdown.ON, world.play.now)))


def test_the_observer_sees_a_broken_promise() -> None:
    """The checks can fail: an address is told, and the kernel loses it behind our back."""
    rng = Random(0)
    policy = compile_text("version: 1\ndefault: deny\nrules: [allow: .ok.com]\n"
                          "dns: {upstreams: [192.0.2.53]}\n")  # fmt: skip
    play = Play(policy, Engine(policy, 1, FixedRng(), LIMITS), KernelTable())
    world = World(rng, play)
    world.waiting["c", 1] = play.now
    world.asked_for.add((HOST, from_text("ok.com")))
    world.see(play.query("ok.com", client="c", id=1))
    world._hear(HOST, ["ok.com"], [rr("ok.com", "A", "203.0.113.1", 60)])
    world.see(play.answer("ok.com", "203.0.113.1", ttl=60))
    play.kernel.entries.clear()

    with pytest.raises(AssertionError, match="lawful address"):
        world.see(play.after(seconds=1))


def test_the_observer_sees_what_is_opened_for_another_role() -> None:
    """The checks can fail: a grant of one role appears for another that has the same rules."""
    rng = Random(0)
    one = compile_text("version: 1\ndefault: deny\nrules: [allow: .ok.com]\n"
                       "dns: {upstreams: [192.0.2.53]}\n")  # fmt: skip
    host = one.host
    web = RolePolicy(WEB, "web", host.default, host.rules)
    policy = Policy({HOST: host, WEB: web}, one.dns)
    play = Play(policy, Engine(policy, 1, FixedRng(), LIMITS), KernelTable())
    world = World(rng, play)
    addr = addr_from("203.0.113.1")
    world.waiting["c", 1] = play.now
    world.asked_for.add((WEB, from_text("ok.com")))
    world.see(play.query("ok.com", client="c", id=1, role=WEB))
    world._hear(WEB, ["ok.com"], [rr("ok.com", "A", "203.0.113.1", 60)])
    world.see(play.answer("ok.com", "203.0.113.1", ttl=60))
    play.kernel.entries[HOST, addr] = play.kernel.entries[WEB, addr]

    with pytest.raises(AssertionError, match="no name of this role"):
        world.see(play.after(seconds=1))
