"""What the kernel refuses of itself, as replies, and in step with the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.answers import Answer
from dnsfw.datapath.refusals import Prepared
from dnsfw.errors import DatapathError
from dnsfw.model import Reason
from dnsfw.policy.compile import compile_text
from dnsfw.policy.fingerprints import Blame
from dnsfw.server import refusing
from dnsfw.server.refusing import STOPS, Refusing
from dnsfw.wire.message import AAAA, TXT, A, read_query, read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

DENY = "version: 1\ndefault: deny\nrules: [allow: a.com]\n"


class FakeTable:
    """A table that remembers; `fails` as one that the kernel does not take."""

    def __init__(self) -> None:
        self.on: Prepared | None = None
        self.made = 0
        self.filler = None
        self.fails = False
        self.retired = 0

    @property
    def active(self) -> Prepared | None:
        return self.on

    def prepare(
        self,
        units: int,
        write: Callable[[memoryview, int], None],
        replies: Mapping[tuple[int, int], Answer],
    ) -> Prepared:
        if self.fails:
            raise DatapathError("no memory")
        self.made += 1
        write(memoryview(bytearray(units * abi.Bucket.SIZE)), self.made)
        return Prepared(self.made % 2, self.made, self.made, units, ())

    def switch(self, to: Prepared | None) -> None:
        self.on = to

    def retire(self) -> None:
        self.retired += 1


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


def made(table: FakeTable) -> Refusing:
    return Refusing(table)  # type: ignore[arg-type]


async def settled(one: Refusing) -> None:
    while one._task is not None and not one._task.done():
        await asyncio.wait([one._task])


async def test_a_start_prepares_it_aside(table: FakeTable) -> None:
    one = made(table)

    one.begin(compile_text(DENY))
    assert table.on is None
    await settled(one)

    assert table.on is not None and one.bytes > 0 and table.retired == 1


async def test_a_reload_has_it_ready_and_switches_in_one_store(table: FakeTable) -> None:
    one, policy = made(table), compile_text(DENY)
    one.begin(compile_text(DENY))
    await settled(one)

    await one.prepare(policy)
    one.stop()
    assert table.on is None  # while the policies change
    one.take(policy)

    assert table.on is not None and table.on.generation == 2


async def test_a_policy_that_nobody_prepared_is_caught_up_with(table: FakeTable) -> None:
    one = made(table)

    one.take(compile_text(DENY))  # a temporary rule, in one step of the loop
    assert table.on is None
    await settled(one)

    assert table.on is not None


async def test_a_policy_that_was_overtaken_is_never_in_force(table: FakeTable) -> None:
    one, last = made(table), compile_text(DENY)

    one.begin(compile_text(DENY.replace("a.com", "b.com")))
    one.take(last)
    await settled(one)

    assert one._ready is not None and one._ready[0] is last


async def test_a_policy_that_comes_back_does_not_refuse_by_the_one_in_between(
    table: FakeTable,
) -> None:
    """A temporary rule that is ended at once: its table may take the other's place by then."""
    one, written = made(table), compile_text(DENY)
    one.begin(written)
    await settled(one)

    one.stop()
    one.take(compile_text(DENY.replace("a.com", "b.com")))
    await asyncio.sleep(0)  # its table is being made
    one.stop()
    one.take(written)
    assert table.on is None
    await settled(one)

    assert one._ready is not None and one._ready == (written, table.on)


async def test_what_a_reload_has_prepared_is_not_freed_before_it_is_in_force(
    table: FakeTable,
) -> None:
    one, policy = made(table), compile_text(DENY)
    one.begin(compile_text(DENY.replace("a.com", "b.com")))
    await asyncio.sleep(0)

    await one.prepare(policy)
    await settled(one)
    assert table.retired == 0
    one.take(policy)
    await settled(one)

    assert table.retired == 1


async def test_switched_off_it_refuses_nothing(table: FakeTable) -> None:
    one = made(table)
    one.begin(compile_text(DENY))
    await settled(one)

    one.take(compile_text(DENY + "dns: {kernel_answers: off}\n"))

    assert table.on is None


async def test_what_cannot_be_built_is_said_and_costs_nothing_else(table: FakeTable) -> None:
    one = made(table)
    table.fails = True

    one.begin(compile_text(DENY))
    await settled(one)

    assert table.on is None and "no memory" in one.trouble


@pytest.mark.parametrize("how", ["nxdomain", "refused", "nodata", "zero"])
@pytest.mark.parametrize("name", ["x.net", "a-longer.name.in-front.of.it.example"])
def test_a_reply_is_right_for_names_of_any_length(how: str, name: str) -> None:
    """The kernel puts the client's own question before it."""
    policy = compile_text(DENY + f"dns: {{refuse: {how}}}\n")
    for qtype in (A, AAAA, TXT):
        answer = refusing._reply(Blame(Reason.NAME_DEFAULT, None), qtype, policy)
        query = read_query(write_query(7, from_text(name), qtype))
        counts = (1, answer.answers, answer.authority, 1)
        header = b"".join(n.to_bytes(2, "big") for n in (7, answer.flags | 0x100, *counts))

        heard = read_response(header + query.question + answer.tail + answer.opt)

        assert heard.name == from_text(name)
        owners = {record.owner for record in (*heard.answers, *heard.authority)}
        assert owners <= {from_text(name)}
        for record in heard.authority:
            assert from_text("nobody.invalid") in record.rdata


def test_names_that_the_engine_answers_itself_are_left_to_it() -> None:
    assert {from_text("localhost"), from_text("in-addr.arpa")} <= set(STOPS)


async def test_a_list_whose_names_share_their_last_labels_is_refused_too(
    table: FakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no room for all of them where these say that they lie."""
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"n{at}.hosting.example\n" for at in range(3000)))
    one = made(table)

    one.begin(compile_text(f"version: 1\ndefault: allow\nrules: [deny: {{list: {listed}}}]\n"))
    await settled(one)

    assert table.on is not None and not one.trouble
