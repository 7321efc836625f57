"""Play: a script of events, and of the effects that must come of them.

    play.query("www.example.com", "A").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=60).expects(OpenThenReply)
    play.after(seconds=71).expects(Close)

The play performs the effects as the server does, on a table that stands for the
kernel, and at every reply it holds the engine to promises 1 and 2: an address that a
client hears is open, and stays open for as long as the answer's TTL. A script fails
when it ends with effects that nobody expected; notes and `Forget` need no mention.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import (
    Ask,
    Client,
    Close,
    Cut,
    Effect,
    Forget,
    Note,
    OpenThenReply,
    Publish,
    Reply,
    Transport,
    Withdraw,
)
from dnsfw.engine.engine import Engine
from dnsfw.engine.limits import Limits
from dnsfw.engine.ranges import is_loopback
from dnsfw.model import (
    HOST,
    SECOND,
    Addr,
    Flow,
    Grant,
    Name,
    Nanos,
    RoleId,
    addr_from,
    addr_text,
)
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.wire import message, rdata, reply
from dnsfw.wire.message import Query, Record, Response
from dnsfw.wire.name import from_text, to_text
from tests.support.fakes import FixedRng, KernelTable

START = Nanos(1_000_000 * SECOND)
_EDE = 15

QUIET = (Note, Forget)  # need no mention in a script


def rr(owner: str, rtype: str, data: str | bytes = b"", ttl: int = 300) -> Record:
    """One record; an address, a name, or raw bytes for other types."""
    kind = qtype_of(rtype)
    if kind == message.SOA:
        return reply.soa(from_text(owner), ttl)
    if isinstance(data, bytes):
        packed = data
    elif kind in (message.A, message.AAAA):
        packed = ip_address(data).packed
    else:
        packed = from_text(data)
    return Record(from_text(owner), kind, 1, ttl, packed)


def svcb(
    owner: str,
    target: str = ".",
    hints: Iterable[str] = (),
    *,
    priority: int = 1,
    ttl: int = 300,
    rtype: str = "HTTPS",
) -> Record:
    """A service binding with address hints."""
    packed = [ip_address(hint).packed for hint in hints]
    v4 = b"".join(p for p in packed if len(p) == 4)
    v6 = b"".join(p for p in packed if len(p) == 16)
    params = [(1, b"\x02h3")] if priority else []
    params += [(rdata.IPV4HINT, v4)] if v4 else []
    params += [(rdata.IPV6HINT, v6)] if v6 else []
    binding = rdata.Svcb(priority, from_text(target), tuple(params))
    return Record(from_text(owner), qtype_of(rtype), 1, ttl, rdata.write_svcb(binding))


def qtype_of(text: str) -> int:
    return int(text[4:]) if text.startswith("TYPE") else int(getattr(message, text))


@dataclass(frozen=True)
class Heard:
    """One reply, as a client reads it."""

    client: Client
    wire: bytes
    message: Response

    @property
    def rcode(self) -> str:
        return message.Rcode(self.message.rcode).name

    @property
    def addresses(self) -> list[str]:
        return [addr_text(a) for r in self.message.answers for a in rdata.addresses(r)]

    @property
    def hints(self) -> list[str]:
        services = (message.SVCB, message.HTTPS)
        found = [rdata.read_svcb(r.rdata) for r in self.message.answers if r.rtype in services]
        return [addr_text(hint) for binding in found for hint in binding.hints]

    @property
    def owners(self) -> list[str]:
        return [to_text(r.owner) for r in self.message.answers]

    @property
    def types(self) -> list[int]:
        return [r.rtype for r in self.message.answers]

    @property
    def ttls(self) -> list[int]:
        return [r.ttl for r in self.message.answers]

    @property
    def soa_ttl(self) -> int | None:
        return rdata.negative_ttl(self.message.authority)

    @property
    def ede(self) -> int | None:
        options = self.message.edns.options if self.message.edns else ()
        found = [value for code, value in options if code == _EDE]
        return int.from_bytes(found[0][:2], "big") if found else None


@dataclass
class Scene:
    """What came of one event."""

    play: Play
    effects: list[Effect]

    def expects(self, *kinds: type) -> Scene:
        """Exactly these kinds of effects, in this order; quiet ones only where they are named."""
        named = set(kinds)
        seen = [e for e in self.effects if type(e) in named or not isinstance(e, self.play.quiet)]
        found = [type(e) for e in seen]
        assert found == list(kinds), f"expected {_names(kinds)}, got {_names(found)}"
        for effect in self.effects:
            self.play.unexpected.pop(id(effect), None)
        return self

    def nothing(self) -> Scene:
        return self.expects()

    @property
    def heard(self) -> list[Heard]:
        """Everything that clients heard in this scene, in order."""
        wires: list[Reply] = []
        for effect in self.effects:
            if isinstance(effect, OpenThenReply):
                if id(effect) not in self.play.failed:
                    wires += effect.replies
            elif isinstance(effect, Reply):
                wires.append(effect)
        return [Heard(r.client, r.wire, message.read_response(r.wire)) for r in wires]

    @property
    def reply(self) -> Heard:
        (one,) = self.heard
        return one

    @property
    def asks(self) -> list[Ask]:
        return [e for e in self.effects if isinstance(e, Ask)]

    @property
    def ask(self) -> Ask:
        (one,) = self.asks
        return one

    @property
    def notes(self) -> list[Note]:
        return [e for e in self.effects if isinstance(e, Note)]

    def note(self, kind: str) -> Note:
        (one,) = [n for n in self.notes if n.kind == kind]
        return one

    @property
    def cut(self) -> list[Flow]:
        return [flow for e in self.effects if isinstance(e, Cut) for flow in e.flows]


@dataclass
class Play:
    """An engine, its clock, and a kernel table to write to."""

    policy: Policy
    engine: Engine
    kernel: KernelTable
    now: Nanos = START
    open_asks: dict[int, Ask] = field(default_factory=dict)
    sent: list[Ask] = field(default_factory=list)  # every byte that went upstream
    unexpected: dict[int, Effect] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    quiet: tuple[type, ...] = QUIET
    published: dict[CacheKey, Publish] = field(default_factory=dict)  # what the kernel answers
    _kept: list[Effect] = field(default_factory=list)  # ids stay unique while these live
    _next_id: int = 0

    # --- events ---

    def query(
        self,
        name: str,
        rtype: str = "A",
        *,
        client: object = 1,
        role: RoleId = HOST,
        rd: bool = True,
        cd: bool = False,
        do: bool = False,
        ad: bool = False,
        size: int = 1232,
        tcp: bool = False,
        id: int | None = None,
    ) -> Scene:
        self._next_id += 1
        number = self._next_id & 0xFFFF if id is None else id
        wire = reply.write_query(
            number, from_text(name), qtype_of(rtype), rd=rd, cd=cd, do=do, ad=ad, size=size
        )
        return self.raw(wire, client=client, role=role, tcp=tcp)

    def raw(
        self, wire: bytes, *, client: object = 1, role: RoleId = HOST, tcp: bool = False
    ) -> Scene:
        way = Transport.TCP if tcp else Transport.UDP
        return self._perform(self.engine.on_query(wire, Client(client, role, way), self.now))

    def answer(
        self,
        name: str,
        *addrs: str,
        rtype: str = "A",
        ttl: int = 300,
        via: Sequence[str] = (),
        rcode: int = 0,
    ) -> Scene:
        """The upstream answers the open question with these addresses, through CNAMEs `via`."""
        owners = [name, *via]
        records = [rr(a, "CNAME", b, ttl) for a, b in pairwise(owners)]
        for addr in addrs:
            records.append(rr(owners[-1], "AAAA" if ":" in addr else "A", addr, ttl))
        return self.says(self.asking(name, rtype), *records, rcode=rcode)

    def says(
        self,
        ask: Ask,
        *records: Record,
        rcode: int = 0,
        authority: Sequence[Record] = (),
        tc: bool = False,
        ad: bool = False,
        ede: tuple[int, str] | None = None,
    ) -> Scene:
        """The upstream says exactly this."""
        query = message.read_query(ask.wire)
        wire = reply.write_reply(
            query, rcode, records, authority, ad=ad, ede=ede, limit=12 if tc else 65_535
        )
        return self.upstream(ask, wire)

    def upstream(self, ask: Ask, wire: bytes) -> Scene:
        """These bytes come back for an Ask."""
        return self._perform(self.engine.on_answer(ask.ask, wire, self.now))

    def breaks(self, ask: Ask, why: str = "connection refused") -> Scene:
        return self._perform(self.engine.on_ask_failed(ask.ask, why, self.now))

    def after(self, seconds: float = 0) -> Scene:
        """Time passes; the engine is woken whenever it wants to be."""
        return self.until(Nanos(self.now + round(seconds * SECOND)))

    def until(self, until: Nanos) -> Scene:
        """The same, to a moment."""
        effects: list[Effect] = []
        while (due := self.engine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self._perform(self.engine.on_deadline(self.now)).effects
        self.now = until
        return Scene(self, effects)

    def swap(self, text: str) -> Scene:
        self.policy = compile_text(text)
        return self._perform(self.engine.swap_policy(self.policy, self.now))

    def forget(self) -> None:
        """A long run: drop what was kept for the end of a script."""
        self.unexpected.clear()
        self.failed.clear()
        self._kept.clear()

    def does(self, effects: list[Effect]) -> Scene:
        """Perform what another call of the engine returned."""
        return self._perform(effects)

    # --- what there is ---

    def asking(self, name: str, rtype: str = "A") -> Ask:
        """The latest open Ask for a question."""
        wanted = (from_text(name), qtype_of(rtype))
        for ask in reversed(self.open_asks.values()):
            query = message.read_query(ask.wire)
            if (query.name, query.qtype) == wanted:
                return ask
        raise AssertionError(f"nobody is asked for {name} {rtype}")

    def asked_names(self) -> list[str]:
        """Every name that left for an upstream, in order."""
        return [to_text(message.read_query(ask.wire).name) for ask in self.sent]

    def grants(self, addr: str, role: RoleId = HOST) -> list[Grant]:
        """What is live on an address in the kernel's table."""
        return self.kernel.live(role, addr_from(addr), self.now)

    def lets(self, addr: str, port: int = 443, proto: int = 6, role: RoleId = HOST) -> bool:
        """Whether the kernel would let a connection to it begin now."""
        rules = self.policy.roles[role]
        return self.kernel.lets(rules, addr_from(addr), proto, port, self.now)

    # --- the performer ---

    def _perform(self, effects: list[Effect]) -> Scene:
        done: list[Effect] = []
        queue = list(effects)
        while queue:
            effect = queue.pop(0)
            done.append(effect)
            self._kept.append(effect)
            if not isinstance(effect, self.quiet):
                self.unexpected[id(effect)] = effect
            match effect:
                case OpenThenReply(entries, _, replies):
                    if self.kernel.write(entries):
                        for one in replies:
                            self._told(one)
                        self.published.update((p.key, p) for p in effect.publish)
                    else:
                        self.failed.add(id(effect))
                        queue += self.engine.on_open_failed(effect, self.now)
                case Close(entries):
                    if not self.kernel.write(entries):
                        self.failed.add(id(effect))
                        queue += self.engine.on_close_failed(effect)
                case Reply():
                    self._told(effect)
                case Publish(key):
                    self.published[key] = effect
                case Withdraw():
                    self.published.clear()
                case Ask(ask):
                    self.open_asks[ask] = effect
                    self.sent.append(effect)
                case Forget(ask):
                    self.open_asks.pop(ask, None)
            self._kernel_tells()
        return Scene(self, done)

    def kernel_answer(
        self, name: str, rtype: str = "A", role: RoleId = HOST, *, do: bool = False
    ) -> Response | None:
        """What the kernel would say by itself now; None: it leaves the question to us."""
        wire = reply.write_query(1, from_text(name), qtype_of(rtype), do=do)
        found = self.published.get(CacheKey.of(role, query := message.read_query(wire)))
        if found is None or self.now >= found.until:
            return None
        age = -((found.born - self.now) // SECOND) if found.born else 0
        return message.read_response(found.template.render(query, age))

    def _kernel_tells(self) -> None:
        """Promises 1 and 2 of every answer that the kernel may give from now to its end."""
        for key, published in list(self.published.items()):
            if published.until <= self.now:
                del self.published[key]
                continue
            wire = reply.write_query(1, Name(key.key[:-4]), int.from_bytes(key.key[-4:-2], "big"))
            heard = message.read_response(published.template.render(message.read_query(wire)))
            rules = self.policy.roles[key.role]
            for addr, ttl in told_addresses(heard):
                if self.policy.dns.refuse == "zero" and not any(addr[12:]):
                    continue
                assert published.born + ttl * SECOND <= published.until, "a TTL past the entry"
                for when in (self.now, Nanos(published.until - 1)):
                    assert self.kernel.opens(rules, addr, when), (
                        f"{to_text(heard.name)}: the kernel tells {addr_text(addr)}, which is "
                        f"closed {(when - self.now) / SECOND:g} s from now"
                    )

    def _told(self, one: Reply) -> None:
        """Promises 1 and 2, held at every reply of every script."""
        heard = message.read_response(one.wire)
        for addr, ttl in told_addresses(heard):
            if self.policy.dns.refuse == "zero" and not any(addr[12:]):
                continue
            rules = self.policy.roles[one.client.role]
            last = Nanos(self.now + ttl * SECOND)
            if is_loopback(addr) or rules.mode.name == "AUDIT":
                continue
            for when in (self.now, last):
                assert self.kernel.opens(rules, addr, when), (
                    f"{to_text(heard.name)}: {addr_text(addr)} was told, but is closed"
                    f" {(when - self.now) / SECOND:g} s later (TTL {ttl})"
                )


def told_addresses(heard: Response) -> list[tuple[Addr, int]]:
    """Every address in an answer section with its TTL, hints too."""
    found = [(addr, r.ttl) for r in heard.answers for addr in rdata.addresses(r)]
    for record in heard.answers:
        if record.rtype in (message.SVCB, message.HTTPS):
            found += [(hint, record.ttl) for hint in rdata.read_svcb(record.rdata).hints]
    return found


def begin(
    policy: str,
    *,
    upstreams: int = 1,
    limits: Limits | None = None,
    publishes: bool = False,
    streams: frozenset[int] = frozenset(),
    kind: type[Play] | None = None,
) -> Play:
    """A play under a policy."""
    compiled = compile_text(policy)
    limits = limits or Limits()
    rng = FixedRng()
    engine = Engine(compiled, upstreams, rng, limits, publishes=publishes, streams=streams)
    return (kind or Play)(compiled, engine, KernelTable(limits.grants))


def query_of(ask: Ask) -> Query:
    return message.read_query(ask.wire)


def _names(kinds: Iterable[type]) -> str:
    return ", ".join(kind.__name__ for kind in kinds) or "nothing"
