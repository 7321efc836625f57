"""The ledger against a model that keeps every holding in one flat list."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.engine.ledger import Judge, Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.places import Chain
from dnsfw.engine.slots import Piece, opens_alone
from dnsfw.model import (
    HOST,
    SECOND,
    Addr,
    Entry,
    Grant,
    Name,
    Nanos,
    PortRange,
    PortSet,
    RoleId,
    RuleId,
    Verdict,
    addr_from,
)
from dnsfw.wire.name import from_text

ALLOW, DENY = Verdict.ALLOW, Verdict.DENY
PORTS = (80, 443, 8443)
SETS = [PortSet.of([PortRange(6, p, p) for p in ports]) for ports in ((80,), (443,), (80, 443))]
PIECES = [
    Piece(RuleId(300), SETS[0], ALLOW),
    Piece(RuleId(301), SETS[1], ALLOW),
    Piece(RuleId(302), SETS[1], ALLOW),  # the same ports by another rule
    Piece(RuleId(303), SETS[2], DENY),
    Piece(RuleId(304), SETS[0], DENY, yields=False),
]
NAMES = [from_text(f"n{i}.net") for i in range(4)]
ADDRS = [addr_from(f"192.0.2.{i}") for i in range(3)]


@dataclass
class Naive:
    """Every (address, name, piece) with the latest deadline it was given."""

    holdings: dict[tuple[Addr, Name, Piece], Nanos] = field(default_factory=dict)

    def hold(self, addr: Addr, name: Name, piece: Piece, until: Nanos) -> None:
        key = (addr, name, piece)
        self.holdings[key] = max(until, self.holdings.get(key, until))

    def rejudge(self, refused: set[Name], now: Nanos) -> None:
        """Refused names go; a piece that ended comes back for as long as the name's others."""
        kept: dict[tuple[Addr, Name, Piece], Nanos] = {}
        for (addr, name, piece), until in self.holdings.items():
            live = [v for k, v in self.holdings.items() if k[:2] == (addr, name) and v > now]
            if live and name not in refused:
                kept[addr, name, piece] = until if until > now else min(live)
        self.holdings = kept

    def open(self, addr: Addr, port: int, now: Nanos) -> Verdict | None:
        """What the kernel must say of a port; None: nothing."""
        live = [
            piece
            for (held, _, piece), until in self.holdings.items()
            if held == addr and until > now and piece.ports.covers(6, port)
        ]
        if any(p.verdict is DENY and not p.yields for p in live):
            return DENY
        if any(p.verdict is ALLOW for p in live):
            return ALLOW
        return DENY if live else None


def said(ledger: Ledger, addr: Addr, port: int, now: Nanos) -> Verdict | None:
    """The kernel's reading of what it was told: closing slots first."""
    live = [g for g in ledger.written(HOST, addr) if g.until > now and g.ports.covers(6, port)]
    if any(g.verdict is DENY for g in live):
        return DENY
    return ALLOW if live else None


HOLD = st.tuples(
    st.just("hold"),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(ADDRS), min_size=1, max_size=3),
    st.lists(
        st.tuples(st.sampled_from(PIECES), st.integers(1, 60)), min_size=1, max_size=2,
        unique_by=lambda claim: claim[0],
    ),
)  # fmt: skip
WAIT = st.tuples(st.just("wait"), st.integers(1, 40))
JUDGE = st.tuples(st.just("judge"), st.sets(st.sampled_from(NAMES)))
STEPS = st.lists(st.one_of(HOLD, HOLD, HOLD, WAIT, JUDGE), max_size=40)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_port_is_what_the_flat_list_says(steps: list[tuple[object, ...]]) -> None:
    ledger, naive = Ledger(Limits()), Naive()
    told: dict[Addr, Entry] = {}
    now = Nanos(SECOND)

    def judge(refused: set[Name]) -> Judge:
        return lambda _role, addr, name, _chain: [
            key[2] for key in naive.holdings if key[:2] == (addr, name) and name not in refused
        ]

    def tell(entries: list[Entry]) -> None:
        for entry in entries:
            assert len(entry.grants) <= 4
            told[entry.addr] = entry

    for step in steps:
        match step:
            case ("hold", name, addrs, claims):
                until = [(piece, Nanos(now + s * SECOND)) for piece, s in claims]
                out = ledger.hold(HOST, name, addrs, until, now)
                tell(out.entries)
                for addr in out.held:
                    for piece, when in until:
                        naive.hold(addr, name, piece, when)
            case ("wait", seconds):
                now = Nanos(now + seconds * SECOND)
                while (due := ledger.next_sweep()) is not None and due <= now:
                    tell(ledger.sweep(now))
            case ("judge", names):
                tell(ledger.rejudge(judge(names), lambda role, piece: False, now))
                naive.rejudge(names, now)
        for addr in ADDRS:
            for port in PORTS:
                assert said(ledger, addr, port, now) is naive.open(addr, port, now)
            written = told[addr].grants if addr in told else ()
            assert ledger.written(HOST, addr) == written

    now = Nanos(now + 1000 * SECOND)
    tell(ledger.sweep(now))
    assert len(ledger) == 0 and ledger.names_held == 0 and ledger.next_sweep() is None
    assert all(not entry.grants for entry in told.values())


SOME = st.tuples(st.just("some"), st.integers(1, 2))


@settings(max_examples=300, deadline=None)
@given(st.lists(HOLD, min_size=1, max_size=12), st.sets(st.sampled_from(NAMES)),
       st.lists(st.one_of(HOLD, SOME), max_size=12))  # fmt: skip
def test_who_comes_while_the_held_is_judged_finds_it_judged(
    before: list[tuple[object, ...]], refused: set[Name], steps: list[tuple[object, ...]]
) -> None:
    """One ledger is judged at once, its twin some at a time."""
    one, other = Ledger(Limits()), Ledger(Limits())
    told: list[dict[Addr, tuple[Grant, ...]]] = [{}, {}]
    now = Nanos(SECOND)

    def judge(_role: RoleId, addr: Addr, name: Name, _chain: Chain) -> list[Piece]:
        return [] if name in refused else [PIECES[(len(name) + addr[-1]) % len(PIECES)]]

    def tell(number: int, entries: list[Entry]) -> None:
        told[number] |= {entry.addr: entry.grants for entry in entries}

    def hold(name: Name, addrs: list[Addr], claims: list[tuple[Piece, int]]) -> None:
        until = [(piece, Nanos(now + s * SECOND)) for piece, s in claims]
        for number, ledger in enumerate((one, other)):
            (piece, end), lone = until[0], list[Entry]()
            alone = len(until) == 1 and opens_alone(piece)
            new = list(dict.fromkeys(addrs))
            if not alone or not ledger.hold_alone(HOST, name, new, piece, end, lone):
                lone = ledger.hold(HOST, name, addrs, until, now).entries
            tell(number, lone)

    for _, *args in before:
        hold(*args)  # type: ignore[arg-type]
    tell(0, one.rejudge(judge, lambda *_: False, now))
    other.begin_judging(judge, lambda *_: False)
    for step in steps:
        match step:
            case ("hold", *args):
                hold(*args)  # type: ignore[arg-type]
            case ("some", int(most)):
                tell(1, other.judge_some(most, now))
    while other.unjudged:
        tell(1, other.judge_some(1, now))

    for addr in ADDRS:
        for number, ledger in enumerate((one, other)):
            written = told[number].get(addr, ())
            assert written == ledger.written(HOST, addr), "the kernel knows what the ledger does"
        assert one.written(HOST, addr) == other.written(HOST, addr)
    assert one.names_held == other.names_held


@settings(max_examples=200, deadline=None)
@given(st.lists(HOLD, min_size=1, max_size=15), st.integers(1, 30))
def test_a_failed_write_takes_back_exactly_itself(
    holds: list[tuple[object, ...]], seconds: int
) -> None:
    ledger, twin = Ledger(Limits()), Ledger(Limits())
    now = Nanos(SECOND)
    *before, last = holds
    for _, name, addrs, claims in before:
        until = [(piece, Nanos(now + s * SECOND)) for piece, s in claims]
        for one in (ledger, twin):
            one.hold(HOST, name, addrs, until, now)
        now = Nanos(now + seconds * SECOND // 10)
    for one in (ledger, twin):
        while (due := one.next_sweep()) is not None and due <= now:
            one.sweep(now)

    _, name, addrs, claims = last
    out = ledger.hold(HOST, name, addrs, [(p, Nanos(now + s * SECOND)) for p, s in claims], now)
    undone = {entry.addr: entry.grants for entry in ledger.revert(out.holders, now)}

    for addr in out.held:
        assert undone[addr] == twin.written(HOST, addr)
    assert len(ledger) == len(twin) and ledger.names_held <= twin.names_held


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(1, 99), st.integers(0, 20)),
        max_size=80,
    )
)
def test_no_live_grant_ends_early_and_no_table_outgrows_its_limit(
    steps: list[tuple[int, int, int, int]],
) -> None:
    limits = Limits(grants=4, names_per_grant=3, names=8, addresses_per_name=3, ghosts=4)
    ledger = Ledger(limits)
    promised: dict[tuple[Addr, PortSet], Nanos] = {}
    now = Nanos(SECOND)
    for who, where, ttl, wait in steps:
        now = Nanos(now + wait * SECOND)
        if wait % 3 == 0:
            ledger.sweep(now)
        addr, name = addr_from(f"192.0.2.{where}"), from_text(f"n{who}.net")
        piece = PIECES[who % 3]
        until = Nanos(now + ttl * SECOND)
        out = ledger.hold(HOST, name, [addr], [(piece, until)], now)
        for held in out.held:
            key = (held, piece.ports)
            promised[key] = max(until, promised.get(key, until))
        for (held, ports), when in promised.items():
            if when > now:
                live = [g for g in ledger.written(HOST, held) if g.until >= when]
                assert any(not ports.minus(g.ports) for g in live)
        assert len(ledger) <= limits.grants
        assert ledger.names_held <= limits.names
        assert len(ledger._ghosts) <= limits.ghosts
        assert len(ledger._due) <= 2 * len(ledger) + 65
