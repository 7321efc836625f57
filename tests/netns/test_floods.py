"""Row 103 end to end: one role sends all it can, another asks one question after the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.netlab import Guest, end
from tests.support.roles import below, role, subject_path
from tests.support.world import World

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]  # fmt: skip

NOBODY = "192.0.2.53"  # routed, and silent
SAME, CALM = "www.example.com", "only4.example.com"

# Sends questions without waiting for answers until SIGTERM.
FLOOD = f"""
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
for s in socks:
    s.connect(({NOBODY!r}, 53))
    s.setblocking(False)
print("ready", flush=True)
for s, query in zip(itertools.cycle(socks), queries()):
    try:
        s.send(query)
    except OSError:
        pass
"""
# Each has a cookie, which the kernel's own answers leave to the daemon.
REPEATED = """
import itertools
def queries():
    query = bytes.fromhex("beef01000001000000000001") + b"\\3www\\7example\\3com\\0\\0\\1\\0\\1"
    query += bytes.fromhex("00002904d000000000000c000a0008") + b"a cookie"
    while True:
        yield query
"""
# Nobody has an answer ready: each is asked upstream.
FRESH = """
import itertools
def queries():
    for number in itertools.count():
        name = b"\\x08n%07d\\7example\\3com\\0" % number
        yield bytes.fromhex("beef01000001000000000000") + name + b"\\0\\1\\0\\1"
"""
# Asks one after the other; prints how many were answered, and the time of the slowest but 1 %.
ONE_BY_ONE = f"""
import socket, time
query = bytes.fromhex("beef01000001000000000000") + b"\\x05only4\\x07example\\x03com\\0\\0\\1\\0\\1"
times = []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(2)
    s.connect(({NOBODY!r}, 53))
    for _ in range(200):
        began = time.monotonic()
        try:
            s.send(query)
            s.recv(512)
            times.append(time.monotonic() - began)
        except TimeoutError:
            pass
        time.sleep(0.005)
times.sort()
print(len(times), times[len(times) * 99 // 100 - 1])
"""


def two_roles(world: World) -> tuple[Guest, Guest]:
    """Workloads of the roles `web` and `db`, which both may ask."""
    made = [below(world, name) for name in ("web", "db")]
    policy = {
        "version": 1, "default": "deny", "dns": {"takeover": True},
        "roles": {
            "web": role([{"cgroup": subject_path(made[0])}], [{"allow": "*.example.com:80"}]),
            "db": role([{"cgroup": subject_path(made[1])}], [{"allow": f"{CALM}:80"}]),
        },
    }  # fmt: skip
    world.guard(json.dumps(policy))
    web, db = (world.lab.guest(world.host, cgroup, NOBODY) for cgroup in made)
    return web, db


@contextmanager
def flooding(guest: Guest, queries: str) -> Iterator[None]:
    flood = guest.start([sys.executable, "-u", "-c", queries + FLOOD])
    assert flood.stdout is not None
    assert flood.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        end(flood)


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("queries", [REPEATED, FRESH], ids=["repeated", "fresh"])
def test_row_103_a_flood_of_one_role_does_not_delay_another(world: World, queries: str) -> None:
    """Of names that were asked before, and of ones that nobody has ever asked for."""
    web, db = two_roles(world)
    for guest, name in ((web, SAME), (db, CALM)):
        assert "203.0.113." in guest.run(["dig", "+time=2", "+tries=2", "+short", name, "A"]).stdout

    with flooding(web, queries):
        answered, slowest = db.run([sys.executable, "-c", ONE_BY_ONE]).stdout.split()

    status = world.daemons[0].show("status")
    rows = {row["name"]: row for row in status["roles"]}
    # Whether Python or the filter before its queue drops the flood is a matter of speed.
    kept_out = status["packets"].get("asker-rate", {"denied": 0})["denied"]
    assert rows["web"]["dropped"] + kept_out > 1000
    assert rows["db"]["dropped"] == 0
    assert int(answered) >= 198  # the queue may run over before anybody knows of a flood
    assert float(slowest) < 0.5
