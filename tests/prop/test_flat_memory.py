"""A million distinct names below an allowed wildcard: memory stays flat (promise 9)."""

from __future__ import annotations

import os
import resource

from dnsfw.engine.effects import Ask, Client, Note, OpenThenReply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.slots import Piece
from dnsfw.model import HOST, SECOND, Addr, Name, Nanos, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.server.history import History
from dnsfw.wire import message
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query, write_reply
from tests.support.fakes import FixedRng
from tests.support.play import rr

MILLION = 1_000_000
NAMES = int(os.environ.get("DNSFW_NAMES", "15000"))  # through the whole engine
_V4 = bytes(10) + b"\xff\xff"
POLICY = compile_text(
    "version: 1\ndefault: deny\nrules: [{allow: '*.wild.net:443', ttl: {min: 1s, grace: 2s}}]"
)
LIMITS = Limits(
    names=20_000, grants=20_000, addresses_per_rule=5_000, ghosts=2_000, front=1_000,
    answer_bytes=1 << 20, negative_bytes=1 << 18, failures=500, refusals=500,
)  # fmt: skip


def test_rows_105_and_106_a_million_names_leave_the_ledger_as_small_as_before() -> None:
    ledger = Ledger(LIMITS)
    ledger.take_policy(POLICY)
    rule = POLICY.host.rules[0]
    piece = Piece(rule.id, rule.ports, Verdict.ALLOW)
    now = Nanos(SECOND)
    for n in range(MILLION):
        now = Nanos(now + SECOND // 10_000)
        addr = Addr(_V4 + (0xC6120000 + (n * 7 & 0xFFFF)).to_bytes(4, "big"))
        name = Name(b"\x08%08x\x04wild\x03net\x00" % n)
        ledger.hold(HOST, name, (addr,), ((piece, Nanos(now + 3 * SECOND)),), now)
        if n % 1000 == 0:
            ledger.sweep(now)
        if n == MILLION // 5:  # until then its tables fill
            warm = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - warm
    assert grown < 8 << 10, f"{grown} KiB more"
    assert ledger.rule_room.of(HOST, rule.id) == len(ledger) <= LIMITS.addresses_per_rule
    assert ledger.names_held <= LIMITS.names


def test_rows_105_and_106_random_subdomains_keep_engine_and_history_bounded() -> None:
    """DNSFW_NAMES=1000000 for the million: five minutes."""
    engine = Engine(POLICY, 1, FixedRng(), LIMITS)
    history = History(engine.last_names, learnt=2_000, events=2_000, refused=2_000)
    client = Client("c", HOST, Transport.UDP)
    now = Nanos(SECOND)
    for n in range(NAMES):
        now = Nanos(now + SECOND // 2000)  # two thousand a second
        _resolve(engine, history, client, n, now)
        if n % 500 == 0:
            engine.on_deadline(now)

    stats = engine.stats()
    assert stats["grants"] <= LIMITS.addresses_per_rule
    assert stats["names"] <= LIMITS.names and stats["pending"] == 0
    assert stats["front"] <= LIMITS.front and stats["refusals"] <= LIMITS.refusals
    assert stats["cache_answer_bytes"] <= LIMITS.answer_bytes
    assert len(history) <= 6_000
    assert stats["guard_domains"] == 1 and stats["guard_names"] <= 200


def _resolve(engine: Engine, history: History, client: Client, n: int, now: Nanos) -> None:
    name = from_text(f"r{n}.wild.net")
    for effect in engine.on_query(write_query(n & 0xFFFF, name, message.A), client, now):
        if not isinstance(effect, Ask):
            assert isinstance(effect, Note)  # the guard tells, once a window
            continue
        rcode = 3 if n % 4 == 0 else 0
        records = [] if rcode else [rr(f"r{n}.wild.net", "A", f"203.0.{n >> 8 & 127}.{n & 255}", 1)]
        soa = [rr("wild.net", "SOA", ttl=30)] if rcode else []
        wire = write_reply(message.read_query(effect.wire), rcode, records, soa, limit=4096)
        for done in engine.on_answer(effect.ask, wire, now):
            if isinstance(done, OpenThenReply):
                history.opened([done])
