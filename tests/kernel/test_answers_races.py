"""Answers that change while they are read: readers on one CPU, the daemon on the other.

An update frees the old element, and the next one takes it, perhaps for another key, under
whoever still copies it. Batches leave a reader a fifth of a microsecond between the two.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dnsfw.datapath import answers, links
from dnsfw.datapath.abi import Fall
from dnsfw.datapath.answers import AnswerKey
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.own import netns_cookie
from dnsfw.datapath.swap import rcu_barrier
from dnsfw.datapath.syscall import AttachType
from dnsfw.model import HOST, Name, Nanos
from dnsfw.wire.codes import IN
from dnsfw.wire.query import peek
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template
from tests.support.kernel_answers import SERVER4, Kitchen, answer_of, name_of, opt_record, question
from tests.support.netlab import Lab, Netns
from tests.support.packets import IP4, UDP, Ether
from tests.support.wall import LATER, Wall, boottime

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]

SECONDS = 2.0
TXT = 16
# Asks the same question for some seconds; every reply is one of those it may be, or a line.
READER = """
import socket, sys, time
server, query, seconds = sys.argv[1], bytes.fromhex(sys.argv[2]), float(sys.argv[3])
right = {bytes.fromhex(reply) for reply in sys.argv[4:]}
s = socket.socket()
s.close()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((server, 53))
s.settimeout(0.001)
print("ready", flush=True)
heard = wrong = 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    for _ in range(100):
        s.send(query)
        try:
            reply = s.recv(4096)
        except OSError:
            continue
        heard += 1
        if reply not in right:
            wrong += 1
print(heard, wrong)
"""


@pytest.fixture(scope="module")
def stand() -> Iterator[tuple[Netns, Kitchen]]:
    """Queries over lo are answered there, as `host`'s; what falls through is swallowed."""
    loaded = LibbpfBackend().load({})
    with Lab("tests/kernel/answer races") as lab:
        netns = lab.namespace("host")
        netns.ip("link add eth0 type veth peer name eth1")
        sink = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind((SERVER4, 53))
        with netns.entered():
            wall = Wall(loaded, socket.if_nametoindex("eth0"), netns_cookie())
            kitchen = Kitchen(wall)
            fd = loaded.programs["dnsfw_tc_lo"].fd
            link = links.link_create(fd, 1, AttachType.TCX_EGRESS)
        yield netns, kitchen
        os.close(link)
        sink.close()
    loaded.close()


def text(name: Name, letter: bytes, size: int) -> Template:
    strings = b"".join(bytes([255]) + letter * 255 for _ in range(size // 256))
    rest = size % 256
    return Template(name, 0, [Record(name, TXT, IN, 300, strings + bytes([rest]) + letter * rest)])


def while_read(
    netns: Netns, query: bytes, right: list[bytes], change: Callable[[], None]
) -> tuple[int, int]:
    """`change` again and again while somebody asks: how many replies, and how many wrong."""
    replies = [reply.hex() for reply in right]
    argv = [sys.executable, "-c", READER, SERVER4, query.hex(), str(SECONDS), *replies]
    reader = netns.start(argv)
    assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        change()
    heard, wrong = reader.stdout.read().split()
    reader.wait(10)
    return int(heard), int(wrong)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        pytest.param(name_of(20), (200, 150), id="small"),
        pytest.param(name_of(24), (1100, 900), id="big"),
        pytest.param(name_of(200), (900, 700), id="long name"),
    ],
)
def test_no_reply_is_a_mix_of_two(
    stand: tuple[Netns, Kitchen], name: Name, sizes: tuple[int, int]
) -> None:
    """One key with two answers in turn, and another key that takes each freed element."""
    netns, kitchen = stand
    now = boottime()
    query = question(name, TXT, opt=opt_record())
    first, second = text(name, b"a", sizes[0]), text(name, b"b", sizes[1])
    key = AnswerKey(HOST, name, TXT)
    other = AnswerKey(HOST, Name(name[:1] + b"q" + name[2:]), TXT)
    kitchen.table.delete(key)  # another class's
    born, until = Nanos(now + LATER), Nanos(now + 10 * LATER)
    rows = [answer_of(template, born, until) for template in (first, second)]
    third = answer_of(text(other.name, b"c", sizes[0]), born, until)
    kind = answers._kind_of(key, rows[0])
    assert kind is not None
    table = kitchen.wall.table(kind.table)
    encoded = [kitchen.table.encode(key, row, kind) for row in rows]
    strange = kitchen.table.encode(other, third, kind)
    before = kitchen.table.counters()

    turns = [encoded[0], strange, encoded[1], strange] * 250

    def change() -> None:
        table.update_many(turns)

    asked = peek(query)
    assert asked is not None
    right = [template.render(asked) for template in (first, second)]
    heard, wrong = while_read(netns, query, right, change)

    after = kitchen.table.counters()
    assert heard > 1000
    assert wrong == 0
    assert after[Fall.ANSWERED] - before[Fall.ANSWERED] >= heard


PACKETS = 3_000_000  # a second
RUNS = 6  # until a reader was disturbed


def test_what_takes_a_freed_element_is_never_told_for_it(
    stand: tuple[Netns, Kitchen],
) -> None:
    """An answer that has ended, so that the packet stays a query and can be run again and
    again; and one of another key that has not, in the element that the first one left.
    """
    netns, kitchen = stand
    wall, now = kitchen.wall, boottime()
    key = AnswerKey(HOST, name_of(30), TXT)
    other = key._replace(name=Name(key.name[:1] + b"q" + key.name[2:]))
    template = text(key.name, b"a", 1100)
    far = Nanos(now + 100 * LATER)
    ended = kitchen.table.encode(key, answer_of(template, now, now), answers._BIG)
    live = kitchen.table.encode(other, answer_of(template, now, far), answers._BIG)
    table = wall.table("dnsfw_answers_big")
    turns = [ended, live] * 500
    query = question(key.name, TXT, opt=opt_record())
    frame = Ether(IP4(SERVER4, UDP(53, query), src="127.0.0.1"))
    before = kitchen.table.counters()

    def run() -> None:
        with netns.entered():
            wall.run("dnsfw_answer_lo", frame, device=1, mark=HOST, repeat=PACKETS)

    moved: dict[Fall, int] = {}
    for runs in range(1, RUNS + 1):
        with ThreadPoolExecutor(1) as pool:
            ran = pool.submit(run)
            while not ran.done():
                table.update_many(turns)
            ran.result()
        after = kitchen.table.counters()
        moved = {fall: after[fall] - before[fall] for fall in after if after[fall] != before[fall]}
        assert sum(moved.values()) == PACKETS * runs
        assert set(moved) <= {Fall.EXPIRED, Fall.MISS, Fall.CHANGED}, moved
        if moved.get(Fall.CHANGED):
            break
    assert moved.get(Fall.CHANGED, 0) > 0, "no reader was ever disturbed: the test shows nothing"


def test_row_108_nothing_old_is_told_once_withdraw_has_returned(
    stand: tuple[Netns, Kitchen],
) -> None:
    """The daemon withdraws, waits for whoever is on the way, and publishes the next answer."""
    netns, kitchen = stand
    name, far = name_of(30), Nanos(boottime() + 10 * LATER)
    query = question(name, TXT)
    key = AnswerKey(HOST, name, TXT)
    asked = peek(query)
    assert asked is not None
    client = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((SERVER4, 53))
    client.settimeout(0.02)
    for turn in range(300):
        told = text(name, b"%d" % (turn % 10), 20)
        kitchen.table.publish(key, answer_of(told, far, far))
        client.send(query)
        assert client.recv(4096) == told.render(asked)
        kitchen.table.withdraw()
        if turn % 50 == 0:
            rcu_barrier()
            client.send(struct.pack("!H", turn) + query[2:])
            with pytest.raises(TimeoutError):
                client.recv(4096)
    client.close()
