"""A soak of the kernel's answers by real connects: TTLs at random, reloads, kills, restarts.

The model is two lists of moments: when which policy was in force, and when the daemon was being
reloaded. Whoever asked after a reload had returned hears nothing of the old policy; and an
address that was told can be reached, but for who asked while a reload took it away.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import dataclass

import pytest

from tests.support.internet import UNBOUND
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
    pytest.mark.needs_peers,
]

SEEDS = range(7, 7 + int(os.environ.get("DNSFW_SOAK_SEEDS", "1")))
MOST = 40.0  # seconds, on a machine that is busy; else about ten
STEPS = ("reload", "reload", "kill", "reload", "kill", "reload")
PORT = 5300
ALWAYS, AT_TIMES, NEVER = "a.soak.example", "b.soak.example", "c.soak.example"

# An upstream: whatever is asked for is the web server, for a second or a few.
UPSTREAM = """
import random, socket, struct, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    wire, peer = sock.recvfrom(4096)
    end = 12
    while wire[end]:
        end += wire[end] + 1
    question = wire[12 : end + 5]
    a = question[-4:-2] == b"\\0\\1"
    reply = wire[:2] + struct.pack(">HHHHH", 0x8180, 1, a, 0, 0) + question
    if a:
        ttl = random.choice((1, 1, 2, 3, 5))
        reply += b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, ttl, 4) + bytes((203, 0, 113, 11))
    sock.sendto(reply, peer)
"""

# A client: one line a look-up, with the moments before and after it, and what connect() said.
CLIENT = """
import json, os, random, socket, struct, sys, time
end, stop, names, n = time.monotonic() + float(sys.argv[1]), sys.argv[2], sys.argv[3:], 0
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(0.4)
print("begun", flush=True)
while time.monotonic() < end and not os.path.exists(stop):
    name = random.choice(names)
    n = (n + 1) & 0xffff
    labels = b"".join(bytes((len(p),)) + p.encode() for p in name.split("."))
    began = time.monotonic()
    try:
        sock.sendto(struct.pack(">HHHHHH", n, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1",
                    ("127.0.53.53", 53))
        while (wire := sock.recv(4096))[:2] != struct.pack(">H", n):
            pass
    except OSError:
        continue  # the daemon is dead, and this one is not held
    rcode, count, said = wire[3] & 15, struct.unpack_from(">H", wire, 6)[0], ""
    if count:
        with socket.socket() as s:
            s.settimeout(2)
            try:
                s.connect((socket.inet_ntoa(wire[-4:]), 80))
                said = "OK"
            except OSError as error:
                said = type(error).__name__
    print(json.dumps([name, began, time.monotonic(), rcode, count, said]))
    time.sleep(0.002)
"""


@dataclass
class Told:
    """One look-up, and what came of it."""

    name: str
    began: float
    ended: float
    rcode: int
    count: int
    said: str


def rules(*names: str) -> str:
    return policy_of([{"allow": [f"{name}:80" for name in names]}])


@pytest.mark.parametrize("seed", SEEDS)
def test_no_stale_answer_passes_and_every_told_address_is_reached(
    world: World, seed: int
) -> None:
    """Promises 1 and 2 over reloads and kills."""
    rng = random.Random(seed)
    upstream = world.internet.netns.start([sys.executable, "-c", UPSTREAM, UNBOUND, str(PORT)])
    assert upstream.stdout is not None and upstream.stdout.readline() == "ready\n"
    wide, narrow = rules(ALWAYS, AT_TIMES), rules(ALWAYS)
    daemon = world.guard(wide, upstreams=(f"{UNBOUND}:{PORT}",))
    stop = world.lab.scratch / "stop"
    client = world.start_python(CLIENT, str(MOST), str(stop), ALWAYS, ALWAYS, AT_TIMES, NEVER)
    assert client.stdout is not None and client.stdout.readline() == "begun\n"
    allowed = True
    # From when on is AT_TIMES refused (or allowed); and between which moments it may be either.
    changes: list[tuple[float, float, bool]] = [(0.0, 0.0, True)]
    for step in STEPS:
        time.sleep(rng.uniform(0.2, 1.0))
        began = time.monotonic()
        if step == "reload":
            allowed = not allowed
            assert daemon.reload(wide if allowed else narrow).returncode == 0
            changes.append((began, time.monotonic(), allowed))
        else:
            daemon.kill()
            time.sleep(rng.uniform(0, 0.5))
            daemon.start()
    time.sleep(1)
    stop.touch()
    said = client.communicate(timeout=30)[0]
    told = [Told(*json.loads(line)) for line in said.splitlines()]
    view = daemon.show("status")["kernel_answers"]

    wrong = [one for one in told if not lawful(one, changes)]
    assert not wrong, wrong[:3]
    assert len(told) > 300 and sum(one.said == "OK" for one in told) > 100, len(told)
    assert view["answered"] > 50, view


def lawful(one: Told, changes: list[tuple[float, float, bool]]) -> bool:
    """What the model says of one look-up."""
    if one.name == NEVER:
        return one.count == 0
    overlapping = [c for c in changes if c[0] <= one.ended and one.began <= c[1]]
    before = [c for c in changes if c[1] < one.began]
    settled = not overlapping
    may = one.name == ALWAYS or before[-1][2]
    if one.count and settled and not may:
        return False  # an answer of a policy that was over when it was asked for
    if one.count and one.said != "OK":
        return not settled and one.name != ALWAYS
    return True
