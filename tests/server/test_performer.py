"""Effects become acts, in order; promise 1 above all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dnsfw.datapath.abi import Reason, Verdict
from dnsfw.engine.effects import (
    Ask,
    AskId,
    Client,
    Close,
    Cut,
    Effect,
    Forget,
    Holder,
    Note,
    OpenThenReply,
    Reply,
    Transport,
)
from dnsfw.errors import DatapathError, GrantsFull
from dnsfw.model import DEFAULT_RULE, HOST, Addr, Entry, Name, Nanos
from dnsfw.server.faults import Faults
from dnsfw.server.performer import Performer


class FakeAlarm:
    """Looks at once."""

    def __init__(self, done: list[Any]) -> None:
        self._done = done

    def ask(self, find: Callable[[], Nanos | None]) -> None:
        self._done.append(("alarm", find()))

    def by(self, deadline: Nanos, find: Callable[[], Nanos | None]) -> None:
        self.ask(find)

    def close(self) -> None: ...


@dataclass
class World:
    """Everything around a performer, writing down what was done to it."""

    done: list[Any] = field(default_factory=list)
    refuse: Exception | None = None
    answers: dict[str, list[Effect]] = field(default_factory=dict)  # what the engine returns
    wanted: Nanos | None = None

    def __post_init__(self) -> None:
        self.faults = Faults(lambda text: None)
        self.performer = Performer(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self,
            lambda: Nanos(5),
            self.faults,
            lambda note: self.done.append(("note", note.kind)),
        )
        self.performer.connect(self, FakeAlarm(self.done))  # type: ignore[arg-type]
        self.client = Client(self, HOST, Transport.UDP)

    # sink, journal, asker, alarm, route

    def write(self, entries: Sequence[Entry]) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.done.append(("write", len(entries)))

    def cut(self, flows: object) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.done.append("cut")

    def add(self, holders: Sequence[Holder]) -> None:
        self.done.append(("journal", len(holders)))

    def ask(self, effect: Ask) -> None:
        self.done.append(("ask", effect.ask))
        if effect.ask == 13:
            self.performer.ask_failed(effect.ask, "no route")

    def forget(self, ask: AskId) -> None:
        self.done.append(("forget", ask))

    def send(self, wire: bytes) -> None:
        if wire == b"death":
            raise IndexError
        self.done.append(("reply", wire))

    # engine

    def next_deadline(self) -> Nanos | None:
        return self.wanted

    def late(self, ask: Ask) -> Nanos:
        return ask.deadline

    def on_query(self, wire: bytes, client: Client, now: Nanos) -> list[Effect]:
        if wire == b"death":
            raise IndexError
        return self.answers["query"]

    def on_answer(self, ask: AskId, wire: bytes, now: Nanos) -> list[Effect]:
        return self.answers[wire.decode()]

    def on_ask_failed(self, ask: AskId, why: str, now: Nanos) -> list[Effect]:
        return self.answers["failed"]

    def on_open_failed(self, effect: OpenThenReply, now: Nanos) -> list[Effect]:
        return [Reply(reply.client, b"SERVFAIL") for reply in effect.replies]

    def on_close_failed(self, effect: Close) -> list[Effect]:
        return []

    # helpers

    def acts(self) -> list[Any]:
        return [act for act in self.done if not (isinstance(act, tuple) and act[0] == "alarm")]

    def opening(self) -> OpenThenReply:
        addr = Addr(bytes(16))
        holder = Holder(HOST, addr, Name(b"\1x\0"), DEFAULT_RULE, Nanos(9))
        return OpenThenReply((Entry(HOST, addr),), (holder,), (Reply(self.client, b"answer"),))

    def question(self, number: int) -> Ask:
        return Ask(AskId(number), 0, Transport.UDP, b"", Nanos(9))


def test_row_112_journal_then_kernel_then_client() -> None:
    world = World()
    world.performer.perform([world.opening()])

    assert world.acts() == [("journal", 1), ("write", 1), ("reply", b"answer")]


def test_row_111_what_the_kernel_did_not_take_no_client_hears() -> None:
    world = World(refuse=GrantsFull(10))
    world.performer.perform([world.opening()])

    assert world.acts() == [("journal", 1), ("reply", b"SERVFAIL")]


def test_a_closing_that_the_kernel_refuses_is_counted() -> None:
    world = World(refuse=DatapathError("no"))
    world.performer.perform([Close(()), Cut(()), Reply(world.client, b"on")])

    assert world.performer.unwritten == 2
    assert world.acts() == [("reply", b"on")]


def test_every_kind_of_effect_goes_where_it_belongs() -> None:
    world = World()
    note = Note("refused", Verdict.DENY, Reason.BY_NAME, HOST, Name(b"\0"), DEFAULT_RULE)
    world.performer.perform(
        [world.question(1), Forget(AskId(1)), Close(()), Cut(()), note, Reply(world.client, b"r")]
    )

    assert world.acts() == [
        ("ask", 1), ("forget", 1), ("write", 0), "cut", ("note", "refused"), ("reply", b"r"),
    ]  # fmt: skip


def test_an_ask_that_fails_at_once_waits_its_turn() -> None:
    world = World(answers={"failed": [Reply(World().client, b"late")]})
    world.answers["failed"] = [Reply(world.client, b"late")]
    world.performer.perform([world.question(13), Reply(world.client, b"first")])

    assert world.acts() == [("ask", 13), ("reply", b"first"), ("reply", b"late")]


def test_upstreams_that_all_fail_at_once_do_not_recurse() -> None:
    world = World()
    left = iter(range(5000))
    world.answers["failed"] = []

    def again(ask: AskId, why: str, now: Nanos) -> list[Effect]:
        return [world.question(13)] if next(left, None) is not None else []

    world.on_ask_failed = again  # type: ignore[method-assign]
    world.performer.perform([world.question(13)])

    assert len(world.acts()) == 5001


def test_row_50_a_query_that_breaks_the_engine_breaks_only_itself() -> None:
    world = World(answers={})
    world.answers["query"] = [Reply(world.client, b"fine")]
    world.performer.query(b"death", world.client)
    world.performer.query(b"next", world.client)

    assert world.faults.count == 1
    assert world.acts() == [("reply", b"fine")]


def test_row_50_an_act_that_breaks_does_not_stop_the_others() -> None:
    world = World(refuse=ZeroDivisionError())
    world.performer.perform([world.opening(), Reply(world.client, b"other")])

    assert world.faults.count == 1
    assert world.acts() == [("journal", 1), ("reply", b"other"), ("reply", b"SERVFAIL")]


def test_the_alarm_follows_the_engine() -> None:
    world = World(wanted=Nanos(77))
    world.performer.perform([])

    assert world.done == [("alarm", 77)]


def opened(world: World, number: int) -> OpenThenReply:
    addr = Addr(bytes(15) + bytes((number,)))
    holder = Holder(HOST, addr, Name(b"\1a\0"), DEFAULT_RULE, Nanos(9))
    return OpenThenReply((Entry(HOST, addr),), (holder,), (Reply(world.client, b"%d" % number),))


def test_what_is_heard_together_is_opened_together() -> None:
    world = World()
    for number in (1, 2):
        world.answers[f"answer {number}"] = [Forget(AskId(number)), opened(world, number)]

    def hear() -> None:
        world.performer.answer(AskId(1), b"answer 1")
        world.performer.answer(AskId(2), b"answer 2")
        world.done.append("heard")

    world.performer.together(hear)

    assert world.done == [
        ("forget", 1), ("forget", 2), "heard", ("journal", 2), ("write", 2),
        ("reply", b"1"), ("reply", b"2"), ("alarm", None),
    ]  # fmt: skip


def test_what_closes_comes_after_what_was_opened_before_it() -> None:
    world = World()
    world.answers["answer 1"] = [Forget(AskId(1)), opened(world, 1)]
    world.answers["answer 2"] = [Close((Entry(HOST, Addr(bytes(16))),))]

    def hear() -> None:
        world.performer.answer(AskId(1), b"answer 1")
        world.performer.answer(AskId(2), b"answer 2")

    world.performer.together(hear)

    assert [done for done in world.done if done[0] in ("journal", "write", "reply")] == [
        ("journal", 1), ("write", 1), ("reply", b"1"), ("write", 1),
    ]  # fmt: skip


def test_whatever_hears_what_was_heard_before_it_is_opened() -> None:
    world = World()
    world.answers["answer 1"] = [Forget(AskId(1)), opened(world, 1)]

    def hear() -> None:
        world.performer.answer(AskId(1), b"answer 1")
        raise OSError

    with contextlib.suppress(OSError):
        world.performer.together(hear)

    assert ("reply", b"1") in world.done


def test_what_a_query_opens_is_open_before_the_next_one_is_heard() -> None:
    """The next may be told from the front what this one has put there."""
    world = World()
    world.answers["query"] = [opened(world, 1)]

    def hear() -> None:
        world.performer.query(b"query", world.client)
        world.done.append("heard")

    world.performer.together(hear)

    assert world.done == [
        ("journal", 1), ("write", 1), ("reply", b"1"), ("alarm", None), "heard",
    ]  # fmt: skip


def test_together_a_write_that_fails_is_servfail_for_each() -> None:
    world = World(refuse=GrantsFull(1))
    for number in (1, 2):
        world.answers[f"answer {number}"] = [Forget(AskId(number)), opened(world, number)]

    def hear() -> None:
        world.performer.answer(AskId(1), b"answer 1")
        world.performer.answer(AskId(2), b"answer 2")

    world.performer.together(hear)

    assert [done for done in world.done if done[0] == "reply"] == [("reply", b"SERVFAIL")] * 2


def test_a_client_that_cannot_be_told_takes_nobody_along() -> None:
    world, remembered = World(), list[int]()
    world.performer.on_open = lambda effects: remembered.append(len(effects))
    for number in (1, 2, 3):
        one = opened(world, number)
        if number == 2:
            one = one._replace(replies=(Reply(world.client, b"death"),))
        world.answers[f"answer {number}"] = [Forget(AskId(number)), one]

    def hear() -> None:
        for number in (1, 2, 3):
            world.performer.answer(AskId(number), b"answer %d" % number)

    world.performer.together(hear)

    assert [done for done in world.done if done[0] == "reply"] == [("reply", b"1"), ("reply", b"3")]
    assert (remembered, world.faults.count) == ([3], 1)


def test_questions_that_are_heard_together_go_upstream_together() -> None:
    world = World()

    def hear() -> None:
        for number in (1, 2):
            world.answers["query"] = [world.question(number)]
            world.performer.query(b"", world.client)
            world.done.append("heard")

    world.performer.together(hear)

    assert world.acts() == ["heard", "heard", ("ask", 1), ("ask", 2)]


def test_none_of_many_questions_waits_for_all_the_others() -> None:
    world = World()

    def hear() -> None:
        for number in range(40):
            world.answers["query"] = [world.question(100 + number)]
            world.performer.query(b"", world.client)
            world.done.append("heard")

    world.performer.together(hear)

    acts = world.acts()
    assert acts.index(("ask", 100)) < 20
    assert [act[1] for act in acts if act != "heard"] == [*range(100, 140)]


def test_a_question_is_sent_before_it_is_forgotten() -> None:
    world = World()

    def hear() -> None:
        world.answers["query"] = [world.question(1)]
        world.performer.query(b"", world.client)
        world.performer.perform([Forget(AskId(1))])

    world.performer.together(hear)

    assert world.acts() == [("ask", 1), ("forget", 1)]


def test_a_question_that_fails_at_once_leaves_the_others_alone() -> None:
    world = World()
    world.answers["failed"] = [Reply(world.client, b"SERVFAIL")]

    def hear() -> None:
        for number in (13, 14):
            world.answers["query"] = [world.question(number)]
            world.performer.query(b"", world.client)

    world.performer.together(hear)

    assert world.acts() == [("ask", 13), ("reply", b"SERVFAIL"), ("ask", 14)]


def test_what_is_left_for_the_end_comes_after_the_replies_of_what_was_opened() -> None:
    world = World()
    world.answers["answer 1"] = [Forget(AskId(1)), opened(world, 1)]

    def hear() -> None:
        world.performer.answer(AskId(1), b"answer 1")
        assert world.performer.at_end(lambda: world.done.append("end"))

    world.performer.together(hear)

    assert world.acts()[-2:] == [("reply", b"1"), "end"]
    assert not world.performer.at_end(lambda: None), "nothing is heard now"
