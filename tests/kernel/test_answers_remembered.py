"""What the tables say of an address is remembered for a tick of the kernel's clock: of that address
alone, and no longer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Fall
from dnsfw.model import addr_from
from dnsfw.wire.codes import IN
from dnsfw.wire.name import from_text
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template
from tests.support.kernel_answers import GUEST, GUEST4, HERE4, XDP, Kitchen, Told, Way, question
from tests.support.until import until
from tests.support.wall import Wall

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]

NAME = from_text("www.example.com")
WAYS = pytest.mark.parametrize("way", [GUEST, XDP], ids=str)


@pytest.fixture
def kitchen(wall: Wall) -> Kitchen:
    made = Kitchen(wall)
    made.publish(Template(NAME, 0, [Record(NAME, 1, IN, 300, bytes([192, 0, 2, 1]))]), NAME)
    return made


def neighbours(address: str) -> list[str]:
    """Addresses that are remembered in the same place: `slot_for` of dns.h."""
    want = slot_for(address)
    start = int(ip_address(address)) + 1
    found = (str(ip_address(start + at)) for at in range(2000))
    return [one for one in found if slot_for(one) == want]


def slot_for(address: str) -> int:
    raw = addr_from(address)
    words = (int.from_bytes(raw[at : at + 8], "little") for at in (0, 8))
    first, second = words
    return ((first ^ second) * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 58


def asks(kitchen: Kitchen, way: Way, **more: str) -> Callable[[], Told | None]:
    return lambda: kitchen.ask(way, question(NAME), **more)


@WAYS
async def test_a_listener_that_is_gone_is_forgotten(kitchen: Kitchen, way: Way) -> None:
    ask = asks(kitchen, way)
    assert ask() is not None

    table = kitchen.wall.table("dnsfw_listeners")
    table.delete(abi.ListenerKey(kitchen.wall.netns, addr_from(HERE4), 53).pack())
    await until(lambda: _answers_no_more(kitchen, ask))


def _answers_no_more(kitchen: Kitchen, ask: Callable[[], Told | None]) -> bool:
    before = kitchen.falls().get(Fall.ANSWERED, 0)
    with suppress(AssertionError):  # at a guest's link it is judged then, and dropped
        ask()
    return kitchen.falls().get(Fall.ANSWERED, 0) == before


@WAYS
async def test_a_source_that_became_this_hosts_own_is_found_out(kitchen: Kitchen, way: Way) -> None:
    """Row 104: it is forged then."""
    ask = asks(kitchen, way)
    assert ask() is not None

    kitchen.wall.keep_locals(GUEST4)
    await until(lambda: _answers_no_more(kitchen, ask))


def test_what_is_remembered_of_one_is_said_of_no_other(kitchen: Kitchen) -> None:
    """Addresses that share the place: asked for right behind each other."""
    to, by = neighbours(HERE4)[0], neighbours(GUEST4)
    kitchen.wall.keep_locals(by[0])

    for _ in range(20):
        assert kitchen.ask(XDP, question(NAME)) is not None
        assert kitchen.ask(XDP, question(NAME), to=to) is None
        assert kitchen.ask(XDP, question(NAME), by=by[0]) is None
        assert kitchen.ask(XDP, question(NAME), by=by[1]) is not None
    assert kitchen.falls() == {Fall.ANSWERED: 40, Fall.SOURCE: 20}
