"""Doors: ours from the start, others' when somebody knocks; closed when nobody is left."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.engine.effects import Client
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import Limit, Reason, RoleId
from dnsfw.server import doors as module
from dnsfw.server.doors import DOOR4, DOOR6, Doors, Listener
from dnsfw.server.helper import NoHelper, Wanted
from dnsfw.server.knocks import MOST_OF_A_ROLE, Knock
from tests.support.memory_kernel import MemoryKernel
from tests.support.until import until

WEB, WORKER = RoleId(16), RoleId(17)
HERE, INODE = 4711, Path("/proc/self/ns/net").stat().st_ino


class FakeHelper(NoHelper):
    """Makes sockets in this very namespace, whatever process is named."""

    alive = True  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("gone")
        self.asked: list[int] = []
        self.refused: dict[int, DatapathError | ConfigError] = {}
        self.without_v6 = False
        self.lives = True
        self.at_home: set[int] = set()
        self.answers_on: list[int] = []

    def sockets_in(self, pid: int, wanted: Sequence[Wanted]) -> list[int]:
        self.asked.append(pid)
        if (error := self.refused.get(pid)) is not None:
            raise error
        if self.without_v6 and wanted[0].endpoint.address.version == 6:
            raise DatapathError("cannot listen on ::1")
        made: list[socket.socket] = []
        for one in wanted:
            kind = socket.SOCK_DGRAM if one.transport == "udp" else socket.SOCK_STREAM
            made.append(socket.socket(one.endpoint.family, kind))
            try:
                made[-1].bind(one.endpoint.sockaddr)
            except OSError:
                for sock in made:
                    sock.close()
                raise DatapathError("somebody has it") from None
        return [sock.detach() for sock in made]

    def answer_in(self, network: int, program: int) -> int:
        self.answers_on.append(os.fstat(network).st_ino)
        return 0

    def homes(self, cookies: Sequence[int]) -> Mapping[int, int]:
        return {cookie: 77 for cookie in cookies if cookie in self.at_home}

    def inhabited(self, networks: Sequence[int]) -> frozenset[int]:
        return frozenset(networks if self.lives else ())


@dataclass
class Made:
    doors: Doors
    kernel: MemoryKernel
    helper: FakeHelper
    there: int  # the cookie of this namespace, which plays the container's
    said: list[str] = field(default_factory=list)


@contextmanager
def closing_fd(path: str) -> Iterator[int]:
    """To ask a socket for its namespace needs CAP_NET_ADMIN."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Made]:
    kernel, helper = MemoryKernel(), FakeHelper()

    def echo(wire: bytes, client: Client) -> None:
        client.route.send(wire[::-1])  # type: ignore[attr-defined]

    def equip(listener: Listener) -> None:
        kernel.own(listener.socket.fileno())

    doors = Doors(kernel, equip, echo)
    one = Made(doors, kernel, helper, doors._here)
    monkeypatch.setattr(doors, "_here", HERE)
    monkeypatch.setattr(module, "_network", lambda sock: closing_fd("/proc/self/ns/net"))
    doors.helper = helper
    doors.said = lambda kind, text: one.said.append(text)
    yield one
    doors.close()


def knocked(netns: int, pid: int = 77, role: RoleId = WEB) -> abi.Event:
    empty = abi.Event.unpack(bytes(abi.Event.SIZE))
    return empty._replace(netns=netns, pid=pid, role=role, reason=Reason.NO_DOOR)


async def asks(address: str, port: int, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, port))
        await loop.sock_sendall(sock, query)
        async with asyncio.timeout(5):
            return await loop.sock_recv(sock, 100)


async def test_our_own_doors_are_known_before_anybody_reads_them(made: Made) -> None:
    made.doors.open_here()

    opened = made.kernel.standing_doors[HERE]
    assert len({*opened.udp4, opened.tcp4} - {0}) == Limit.DOORS + 1
    assert len({*made.kernel.owned}) == 2 * (Limit.DOORS + 1)


@pytest.mark.parametrize("address", [str(DOOR4), str(DOOR6)])
async def test_every_door_answers(made: Made, address: str) -> None:
    made.doors.open_here()
    await made.doors.start()

    opened = made.kernel.standing_doors[HERE]
    for port in opened.udp6 if ":" in address else opened.udp4:
        assert await asks(address, port, b"query") == b"yreuq"


async def test_after_a_restart_doors_have_the_ports_of_before_where_they_are_free(
    made: Made,
) -> None:
    made.doors.open_here()
    before = made.kernel.standing_doors[HERE]
    made.doors.close()

    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((str(DOOR4), before.udp4[2]))
        made.doors.open_here()

    now = made.kernel.standing_doors[HERE]
    assert now.udp4[2] != before.udp4[2]
    assert now._replace(udp4=before.udp4) == before


async def test_without_lo_the_start_fails_and_says_so(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DOOR4", module.IPv4Address("192.0.2.1"))  # not of this host

    with pytest.raises(DatapathError, match="is lo up"):
        made.doors.open_here()

    assert made.kernel.standing_doors == {}


async def test_doors_behind_a_lo_that_is_down_are_not_opened(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux binds sockets to them all the same, and nothing ever arrives."""

    def down(sock: socket.socket) -> None:
        raise DatapathError("its lo is down")

    monkeypatch.setattr(module, "_check_lo", down)

    with pytest.raises(DatapathError, match="taken over: its lo is down"):
        made.doors.open_here()
    await made.doors.answer(Knock(made.there, 77, WEB))

    assert made.kernel.standing_doors == {}
    assert "its lo is down" in made.said[0]


async def test_a_knock_opens_doors_in_that_namespace(made: Made) -> None:
    await made.doors.answer(Knock(made.there, 77, WEB))

    opened = made.kernel.standing_doors[made.there]
    assert await asks(str(DOOR4), opened.udp4[3], b"query") == b"yreuq"
    assert made.helper.asked == [77, 77], "IPv4, then IPv6"


async def test_who_knocks_is_heard_in_the_background(made: Made) -> None:
    task = asyncio.ensure_future(made.doors.run())
    made.doors.event(knocked(made.there))

    await until(lambda: made.kernel.standing_doors)

    task.cancel()


async def test_other_events_are_no_knocks(made: Made) -> None:
    made.doors.event(knocked(made.there)._replace(reason=Reason.NEVER_RESOLVED))
    made.doors.event(knocked(made.there, pid=0))

    assert len(made.doors._knocks) == 0


async def test_a_flood_of_knocks_is_bounded(made: Made) -> None:
    for netns in range(10_000):
        made.doors.event(knocked(made.there)._replace(netns=netns))

    assert len(made.doors._knocks) == MOST_OF_A_ROLE


async def test_a_second_knock_opens_nothing(made: Made) -> None:
    await made.doors.answer(Knock(made.there, 77, WEB))
    opened = made.kernel.standing_doors[made.there]

    await made.doors.answer(Knock(made.there, 78, WORKER))

    assert made.kernel.standing_doors[made.there] == opened
    assert made.helper.asked == [77, 77]


async def test_a_namespace_without_ipv6_has_doors_for_ipv4(made: Made) -> None:
    made.helper.without_v6 = True

    await made.doors.answer(Knock(made.there, 77, WEB))

    opened = made.kernel.standing_doors[made.there]
    assert all(opened.udp4)
    assert not any(opened.udp6)


async def test_a_namespace_whose_lo_is_down_is_named_once_and_left_alone(made: Made) -> None:
    made.helper.refused[77] = DatapathError("cannot listen on 127.0.53.53; is its lo up?")

    for _ in range(3):
        await made.doors.answer(Knock(made.there, 77, WEB))

    assert made.kernel.standing_doors == {}
    assert made.helper.asked == [77], "tried again only later"
    assert len(made.said) == 1
    assert "process 77" in made.said[0]
    assert "is its lo up?" in made.said[0]
    assert made.doors.given_up == 1


async def test_a_process_that_has_ended_does_not_hold_up_the_next(made: Made) -> None:
    made.helper.refused[77] = ConfigError("there is no process 77")

    await made.doors.answer(Knock(made.there, 77, WEB))
    await made.doors.answer(Knock(made.there, 78, WEB))

    assert made.there in made.kernel.standing_doors
    assert made.said == []


async def test_a_process_that_is_elsewhere_by_now_opens_nothing(made: Made) -> None:
    await made.doors.answer(Knock(made.there + 1, 77, WEB))

    assert made.kernel.standing_doors == {}
    assert "in another one" in made.said[0]


async def test_without_a_helper_others_are_given_up_and_counted(made: Made) -> None:
    made.doors.helper = NoHelper("no privileged helper, for a reason")

    await made.doors.answer(Knock(made.there, 77, WEB))

    assert made.doors.given_up == 1
    assert "for a reason" in made.said[0]


async def test_one_role_cannot_take_all_the_room(made: Made) -> None:
    """A guarded process may make namespaces as it likes (unshare -rn)."""
    for _ in range(module.Limit.MAX_NETNS):
        if made.doors._room.left(WEB):
            made.doors._room.take(WEB)

    await made.doors.answer(Knock(made.there, 77, WEB))
    assert made.kernel.standing_doors == {}
    assert made.doors.given_up == 1

    made.doors._retry.clear()
    await made.doors.answer(Knock(made.there, 78, WORKER))
    assert made.there in made.kernel.standing_doors


async def test_doors_close_where_no_process_is_left(made: Made) -> None:
    made.doors.open_here()
    await made.doors.answer(Knock(made.there, 77, WEB))

    await made.doors.sweep()
    assert made.there in made.kernel.standing_doors
    made.helper.lives = False
    await made.doors.sweep()

    assert set(made.kernel.standing_doors) == {HERE}
    assert made.doors._room.taken == 0


async def test_doors_of_an_earlier_process_elsewhere_are_forgotten(made: Made) -> None:
    made.doors.open_here()
    made.kernel.standing_doors[999] = made.kernel.standing_doors[HERE]

    made.doors.forget_others()

    assert set(made.kernel.standing_doors) == {HERE}


async def test_where_an_earlier_process_had_doors_they_open_on_its_ports_without_a_knock(
    made: Made,
) -> None:
    await made.doors.answer(Knock(made.there, 77, WEB))
    before = made.kernel.standing_doors[made.there]
    made.doors.close()
    made.helper.at_home = {made.there}
    made.kernel.standing_doors[999] = before  # nobody is there any more
    made.kernel.answered_in = {INODE, 999}

    await made.doors.start()

    assert made.kernel.standing_doors == {made.there: before}
    assert await asks(str(DOOR4), before.udp4[0], b"query") == b"yreuq"
    assert made.kernel.answered_in == {INODE}


async def test_a_port_that_somebody_took_meanwhile_means_others(made: Made) -> None:
    await made.doors.answer(Knock(made.there, 77, WEB))
    before = made.kernel.standing_doors[made.there]
    made.doors.close()
    made.helper.at_home = {made.there}

    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((str(DOOR4), before.udp4[2]))
        await made.doors.start()

    assert await asks(str(DOOR4), made.kernel.standing_doors[made.there].udp4[2], b"q") == b"q"


async def test_the_namespace_is_answered_whatever_became_of_who_knocked_there(made: Made) -> None:
    """The first question is refused, and who asked it may end before anything is attached."""
    await made.doors.answer(Knock(made.there, 77, WEB))

    assert made.helper.answers_on == [INODE]  # by the namespace of the sockets, no process


async def test_what_answers_there_goes_with_the_doors(made: Made) -> None:
    await made.doors.answer(Knock(made.there, 77, WEB))
    assert made.kernel.answered_in == {INODE}

    made.helper.lives = False
    await made.doors.sweep()

    assert made.kernel.answered_in == set()


async def test_a_full_table_leaves_no_socket_behind(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(netns: int, doors: abi.Doors) -> None:
        raise DatapathError("the table is full")

    monkeypatch.setattr(made.kernel, "open_doors", full)

    await made.doors.answer(Knock(made.there, 77, WEB))

    assert made.doors.namespaces == 0
    assert "the table is full" in made.said[0]
