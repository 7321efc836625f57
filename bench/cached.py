"""How much Python does a cached query cost, from the datagram's bytes to the reply's?

`Engine.on_query` reads, judges, ages every TTL and writes; dnslib and dnspython only parse
the query and pack a reply whose records they hold ready. What the replies say is compared
before a clock runs. 1,000 names, asked in turn.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence

import dnslib
from support import Contender, Report, Table, arguments, contest, each, package_version
from zone import answer, long_answer, numbered, policy, query

from dnsfw.engine.effects import Ask, Client, OpenThenReply, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.policy.compile import compile_text

NAMES = 1_000
_CLIENT = Client(0, HOST, Transport.UDP, "127.0.0.1")
_COOKIE = bytes.fromhex("000a0008") + b"8 octets"
_ASKED_AT = Nanos(1_000 * SECOND)
_NOW = Nanos(1_007 * SECOND)  # seven seconds later: TTLs must be patched


def main() -> None:
    options = arguments(__doc__)
    report = Report(
        "cached", dnslib=package_version("dnslib"), dnspython=package_version("dnspython")
    )
    queries = [query(numbered(i), i) for i in range(NAMES)]
    for title, upstream in (("one address", answer), ("an alias and 4 addresses", long_answer)):
        report.tables.append(_contest(title, queries, upstream, options.rounds))
    report.publish(options)


def _contest(
    title: str, queries: Sequence[bytes], upstream: Callable[[bytes], bytes], rounds: int
) -> Table:
    engine = warmed(queries, upstream)
    by_dnslib = _dnslib([upstream(q) for q in queries])
    _same_replies(engine, by_dnslib, queries)
    ask = _asker(engine)
    refused = [query(f"n{i}.tracker.example", i) for i in range(NAMES)]
    cookies = [q[:-2] + len(_COOKIE).to_bytes(2, "big") + _COOKIE for q in queries]
    for other in (*refused, *cookies):
        ask(other)
    contenders = [
        Contender("dnsfw", lambda: each(ask, queries), "dnslib"),
        Contender("dnsfw, a refused name", lambda: each(ask, refused), "dnslib"),
        Contender("dnsfw, a query with a cookie", lambda: each(ask, cookies), "dnslib"),
        Contender("dnslib", lambda: each(by_dnslib, queries)),
    ]
    if (by_dnspython := _dnspython([upstream(q) for q in queries])) is not None:
        contenders.append(Contender("dnspython", lambda: each(by_dnspython, queries), "dnslib"))
    return contest(f"a cached query: {title}", "µs", contenders, rounds)


def warmed(queries: Sequence[bytes], upstream: Callable[[bytes], bytes]) -> Engine:
    """An engine that has asked for all of these."""
    engine = Engine(compile_text(policy()), 1, random.SystemRandom())
    for wire in queries:
        for effect in engine.on_query(wire, _CLIENT, _ASKED_AT):
            if isinstance(effect, Ask):
                engine.on_answer(effect.ask, upstream(effect.wire), _ASKED_AT)
    return engine


def _asker(engine: Engine) -> Callable[[bytes], bytes]:
    on_query = engine.on_query

    def ask(wire: bytes) -> bytes:
        effect = on_query(wire, _CLIENT, _NOW)[0]
        if isinstance(effect, OpenThenReply):
            effect = effect.replies[0]
        return effect.wire if isinstance(effect, Reply) else b""

    return ask


def _dnslib(answers: Sequence[bytes]) -> Callable[[bytes], bytes]:
    held = {}
    for wire in answers:
        record = dnslib.DNSRecord.parse(wire)
        held[str(record.q.qname), record.q.qtype] = record.rr

    def ask(wire: bytes) -> bytes:
        asked = dnslib.DNSRecord.parse(wire)
        reply = asked.reply(aa=0)
        reply.add_answer(*held[str(asked.q.qname), asked.q.qtype])
        return bytes(reply.pack())

    return ask


def _dnspython(answers: Sequence[bytes]) -> Callable[[bytes], bytes] | None:
    """None where it is not installed: it comes with the tests."""
    try:
        from dns import message
    except ImportError:
        return None
    held = {}
    for wire in answers:
        parsed = message.from_wire(wire)
        held[parsed.question[0].name, parsed.question[0].rdtype] = parsed.answer

    def ask(wire: bytes) -> bytes:
        asked = message.from_wire(wire)
        reply = message.make_response(asked)
        reply.answer = held[asked.question[0].name, asked.question[0].rdtype]
        return bytes(reply.to_wire())

    return ask


def _same_replies(
    engine: Engine, other: Callable[[bytes], bytes], queries: Sequence[bytes]
) -> None:
    ask = _asker(engine)
    for wire in queries:
        ours, theirs = (dnslib.DNSRecord.parse(say(wire)) for say in (ask, other))
        mine, held = ({(str(r.rname), r.rtype, str(r.rdata)) for r in m.rr} for m in (ours, theirs))
        if mine != held or ours.header.id != theirs.header.id or not mine:
            sys.exit(f"the replies differ:\n{ours}\n{theirs}")


if __name__ == "__main__":
    main()
