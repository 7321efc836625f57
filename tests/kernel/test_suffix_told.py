"""What the kernel tells of a refused name is what the engine would have told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.answers import AnswerTable, map_dns
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.refusals import RefusalTable
from dnsfw.engine.effects import Client, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.model import HOST, Lockdown, Name, Nanos, RoleId, RolePlan
from dnsfw.policy.compile import compile_text
from dnsfw.policy.fingerprints import refuses
from dnsfw.policy.policy import Policy
from dnsfw.server.refusing import Refusing
from dnsfw.wire.codes import AD, CD, RD
from dnsfw.wire.name import from_text
from tests.support.kernel_answers import (
    GUEST,
    INSIDE,
    LO,
    XDP,
    Kitchen,
    Told,
    Way,
    name_of,
    opt_record,
    question,
)  # fmt: skip
from tests.support.prints import odd_name, random_policy
from tests.support.wall import ALLOW, WEB, Wall

WAYS = (LO, GUEST, INSIDE, XDP)
OTHERS = {"other": int(WEB)}


class Refused:
    """A kitchen whose kernel refuses by a policy, and the engine that would refuse by it."""

    def __init__(self, wall: Wall, policy: Policy) -> None:
        self.kitchen = Kitchen(wall)
        maps = wall.loaded.maps
        memory = map_dns(maps["dnsfw_dns"])
        self.kitchen.table.switch(answers=True, refusals=True)
        self.table = RefusalTable(maps["dnsfw_suffixes"], AnswerTable(maps, memory), memory)
        self.refusing = Refusing(self.table)
        self.take(policy)

    def take(self, policy: Policy) -> None:
        self.policy = policy
        self.table.switch(self.refusing._build(policy))
        self.table.retire()
        self.engine = Engine(policy, 1, random.Random(1))

    def kernel(self, way: Way, query: bytes, role: RoleId = WEB) -> Told | None:
        return self.kitchen.ask(way, query, role=role)

    def daemon(self, query: bytes, role: RoleId = WEB) -> bytes | None:
        """The reply, if the engine has one at once."""
        client = Client(None, role, Transport.UDP)
        replies = [e for e in self.engine.on_query(query, client, Nanos(1)) if isinstance(e, Reply)]
        return replies[0].wire if replies else None

    def close(self) -> None:
        self.table.switch(None)
        self.table.retire()


pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    """By libbpf alone: under BCC the daemon refuses, not the kernel."""
    kernel = LibbpfBackend().load({})
    yield kernel
    kernel.close()


@pytest.fixture
def refused(wall: Wall) -> Iterator[Refused]:
    made = Refused(wall, policy_of('default: deny\nrules: [allow: "ok.example"]\n'))
    yield made
    made.close()


def policy_of(text: str) -> Policy:
    """`host` and `other` with the same rules."""
    body = text.replace("\n", "\n    ").rstrip()
    dns_at = body.find("\n    dns:")
    body = body[:dns_at] if dns_at > 0 else body
    return compile_text(f"version: 1\n{text}roles:\n  other:\n    {body}\n", known=OTHERS)


def meaning(wire: bytes) -> tuple[object, ...]:
    """Everything that a client can learn from a reply."""
    said = dns.message.from_wire(wire, question_only=False)
    sections = [
        sorted(f"{r.name} {r.ttl} {r.rdtype} {sorted(map(str, r))}" for r in part)
        for part in (said.answer, said.authority, said.additional)
    ]
    options = [(o.otype, o.to_wire()) for o in said.options]
    edns = (said.edns, said.payload, said.ednsflags & 0x8000)
    return (said.id, said.flags, said.rcode(), wire[12:22], sections, options, edns)


def ask(rng: random.Random, name: Name) -> bytes:
    flags = RD | rng.choice((0, 0, AD, CD, AD | CD))
    opt = rng.choice((b"", opt_record(), opt_record(do=True), opt_record(512), opt_record(4096)))
    qtype = rng.choice((1, 1, 28, 28, 65, 16, 2, 255, 12))
    mixed = bytes(c - 32 if 97 <= c <= 122 and rng.random() < 0.5 else c for c in name)
    return question(Name(mixed), qtype, id=rng.randrange(1 << 16), flags=flags, opt=opt)


@pytest.mark.parametrize("seed", range(12))
def test_random_policies_are_told_as_the_engine_tells_them(
    refused: Refused, seed: int, tmp_path: Path
) -> None:
    rng = random.Random(1000 + seed)
    refused.take(random_policy(rng, tmp_path, OTHERS))
    told = 0
    for _ in range(250):
        query = ask(rng, odd_name(rng))
        role = rng.choice((HOST, WEB))
        way = rng.choice((LO, GUEST, XDP)) if role == WEB else LO
        reply = refused.kernel(way, query, role)
        if reply is None:
            continue
        said = refused.daemon(query, role)
        assert said is not None, "the engine would have asked"
        assert meaning(reply.checked().dns) == meaning(said)
        told += 1
    by_default = [r for r in refused.policy.roles.values() if refuses(r) and not r.default]
    if by_default and refused.policy.dns.refuse == "nxdomain":
        assert told > 30


@pytest.mark.parametrize("how", ["nxdomain", "nodata", "refused", "zero"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_form_of_refusal_is_told_at_every_place(refused: Refused, way: Way, how: str) -> None:
    refused.take(
        policy_of(f"default: allow\nrules: [deny: '.x.example']\ndns: {{refuse: {how}}}\n")
    )
    for length in (11, 30, 64, 65, 200, 255):
        name = Name(name_of(length - 10)[:-1] + from_text("x.example"))
        for qtype in (1, 28, 65):
            for opt in (b"", opt_record(do=True)):
                query = question(name, qtype, opt=opt)
                reply = refused.kernel(way, query)
                said = refused.daemon(query)
                assert reply is not None and said is not None
                assert meaning(reply.checked().dns) == meaning(said)


def test_a_role_that_is_locked_down_or_unknown_falls_through(refused: Refused, wall: Wall) -> None:
    query = question("evil.example")
    assert refused.kernel(LO, query) is not None
    assert refused.kernel(LO, query, RoleId(200)) is None
    wall.policy(ALLOW, others=[RolePlan(WEB, ALLOW)], lockdown=Lockdown.ON)
    assert refused.kernel(LO, query) is None


def test_switched_off_or_without_a_table_it_falls_through(refused: Refused) -> None:
    query = question("evil.example")
    active = refused.table.active
    refused.table.switch(None)
    assert refused.kernel(LO, query) is None
    refused.table.switch(active)
    assert refused.kernel(LO, query) is not None
    refused.kitchen.table.switch(answers=False)
    assert refused.kernel(LO, query) is None


def test_an_answer_of_another_epoch_is_in_nobodys_way(refused: Refused) -> None:
    """What was published of a refused name before a swap is still there for a while."""
    query = question("evil.example")
    before = refused.kernel(LO, query)
    refused.kitchen.table.withdraw()
    after = refused.kernel(LO, query)
    assert before is not None and after is not None
    assert before.dns == after.dns


def test_refusals_are_counted_by_role_and_told_a_few_a_second(refused: Refused) -> None:
    before = refused.kitchen.table.role_counters().get(WEB)
    for at in range(200):
        assert refused.kernel(LO, question(f"n{at}.evil.example", 28)) is not None
    after = refused.kitchen.table.role_counters()[WEB]

    assert after.refused - (before.refused if before else 0) == 200
    assert after.fell == (before.fell if before else 0)


def test_the_templates_of_two_tables_fit_beside_the_answers() -> None:
    kinds = len(abi.RefusalKind)
    assert abi.Suffix.TEMPLATES * kinds * abi.Suffix.TABLES < abi.DnsLimit.MAX_ANSWERS
