"""A guest's question is answered before anybody judges it: as who judges it would have it, or it
goes back to be judged.
"""

from __future__ import annotations

import random
import struct
from itertools import product

import pytest

from dnsfw.datapath.abi import Fall, Stage
from dnsfw.datapath.bpf import prog_test_run
from dnsfw.datapath.tables import number_key
from dnsfw.model import HOST, Reason, RoleId
from dnsfw.wire.codes import IN
from dnsfw.wire.name import from_text
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template
from tests.support.kernel_answers import (
    EDGE,
    GUEST,
    GUEST4,
    GUEST_L3,
    HERE4,
    WEB,
    Kitchen,
    Told,
    Way,
    as_wire,
    question,
    with_check,
)
from tests.support.packets import IP4, UDP, Part
from tests.support.wall import ALLOW, DENY, MAIL, RolePlan, Wall

NAME = "www.example.com"
WIRE = from_text(NAME)
LINKS = (GUEST, EDGE, GUEST_L3)
ROLES = (HOST, WEB, MAIL, RoleId(18))
BACK = {
    GUEST: Stage.BACK, EDGE: Stage.BACK_EDGE, GUEST_L3: Stage.BACK_L3,
}  # fmt: skip
_CTX, _IFINDEX_AT, _CB_AT = 192, 40, 48
_LOOKED_AT = 0x646E7366


@pytest.fixture
def kitchen(wall: Wall) -> Kitchen:
    made = Kitchen(wall)
    wall.policy(ALLOW, others=[RolePlan(role, DENY) for role in ROLES if role != HOST])
    for role in ROLES:
        told = Template(WIRE, 0, [Record(WIRE, 1, IN, 300, bytes([192, 0, 2, role]))])
        made.publish(told, NAME, role=role)
    return made


def asks(by: str = GUEST4, name: str = NAME) -> Part:
    return IP4(HERE4, with_check(UDP(53, question(name)), by, HERE4), src=by)


def told_as(reply: Told | None) -> int | None:
    """The role whose answer this is."""
    return None if reply is None else reply.dns[-1]


@pytest.mark.parametrize("way", LINKS, ids=str)
def test_whose_question_it_is_the_answer_says_as_the_judge_does(
    kitchen: Kitchen, wall: Wall, way: Way
) -> None:
    rng = random.Random(5)
    rules = [
        ("198.51.100.0/24", 0), ("198.51.100.5/32", 0),
        ("198.51.100.0/24", kitchen.guest), ("198.51.100.5/32", wall.device),
    ]  # fmt: skip
    every = product((None, MAIL, RoleId(18)), repeat=len(rules))
    for link, sources in product((HOST, WEB), every):
        if rng.random() < 0.6:
            continue
        for key in list(wall.table("dnsfw_sources").keys()):
            wall.table("dnsfw_sources").delete(key)
        for (prefix, device), role in zip(rules, sources, strict=True):
            if role is not None:
                wall.source_is(prefix, role, device)
        wall.device_is(kitchen.guest, link)
        kitchen.table.switch(answers=False)
        judged = wall.judge(way.program, asks(), device=kitchen.guest)
        kitchen.table.switch(answers=True)

        answered = told_as(kitchen.run(way, asks(), role=link))

        assert judged.reason is Reason.LISTENER
        assert answered == (None if judged.mark == HOST else judged.mark)


@pytest.mark.parametrize("way", LINKS, ids=str)
def test_the_socket_of_a_subject_goes_before_its_link(
    kitchen: Kitchen, wall: Wall, way: Way
) -> None:
    """A test run's packet has a socket of whoever runs it: here of the root's cgroup."""
    wall.cgroup_is(1, MAIL)

    judged = wall.judge("dnsfw_guest_in", asks(name="b.example"), device=kitchen.guest)

    assert told_as(kitchen.run(way, asks())) == judged.mark


@pytest.mark.parametrize("way", LINKS, ids=str)
def test_an_answered_question_is_counted_as_one_that_was_judged(
    kitchen: Kitchen, wall: Wall, way: Way
) -> None:
    def counted() -> tuple[int, int]:
        mine = wall.sink.role_counters().get(WEB)
        return wall.sink.counters()[Reason.LISTENER].allowed, mine.allowed if mine else 0

    before = counted()
    assert kitchen.run(way, asks()) is not None
    assert counted() == (before[0] + 1, before[1] + 1)
    assert kitchen.run(way, asks(name="b.example")) is None
    assert counted() == (before[0] + 2, before[1] + 2), "once, by who judged it"
    assert kitchen.falls() == {Fall.ANSWERED: 1, Fall.MISS: 1}


@pytest.mark.parametrize("way", LINKS, ids=str)
def test_what_cannot_go_back_to_be_judged_is_dropped(
    kitchen: Kitchen, wall: Wall, way: Way
) -> None:
    """By no order of writes does a question pass that nobody judged."""
    wall.table("dnsfw_stages").delete(number_key(BACK[way]))

    assert kitchen.run(way, asks()) is not None
    assert wall.judge(way.program, asks(name="b.example"), device=kitchen.guest).verdict is DENY


@pytest.mark.parametrize("way", LINKS, ids=str)
@pytest.mark.parametrize("left", [_LOOKED_AT, 0, 3, 5, 0xFFFFFFFF])
def test_what_others_left_in_the_packets_scratch_opens_nothing(
    kitchen: Kitchen, wall: Wall, way: Way, left: int
) -> None:
    """At most it is judged without a look, and the daemon answers."""
    ctx = bytearray(_CTX)
    struct.pack_into("=I", ctx, _IFINDEX_AT, kitchen.guest)
    struct.pack_into("=I", ctx, _CB_AT, left)
    fd = wall.loaded.programs[way.program].fd
    for packet, passes in ((asks(), True), (asks("127.0.0.1"), False)):
        frame = as_wire(way, packet)
        ran = prog_test_run(fd, frame, ctx=bytes(ctx), room=2048)
        if ran.data == frame:
            assert ran.retval == (way.passed if passes else 2)
        else:
            assert passes and left != _LOOKED_AT
