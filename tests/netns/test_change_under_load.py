"""A policy that changes under load: nobody notices, but who shall. Row 140 where nobody is left."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.daemon import LISTEN
from tests.support.netlab import Capture, wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

LISTED = 200_000  # names of a block list; a million takes CI too long
ALLOWED = [{"allow": "*.example.com"}, {"deny": "evil.example.com"}]
NEVER = "203.0.113.9"  # an address that nothing allows

# Asks one name over and over, each question until its answer or for two seconds.
ASK = """
import random, signal, socket, struct, sys, time
going, lost, asked, worst, codes = True, 0, 0, 0.0, {}
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
labels = b"".join(bytes((len(p),)) + p for p in sys.argv[2].encode().split(b"."))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.connect((sys.argv[1], 53))
print("ready", flush=True)
while going:
    number = random.randrange(65536)
    began = time.monotonic()
    s.send(struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1")
    asked += 1
    try:
        while True:
            answer = s.recv(4096)
            if answer[:2] == struct.pack("!H", number):
                break
        code = answer[3] & 15
        codes[code] = codes.get(code, 0) + 1
    except TimeoutError:
        lost += 1
    worst = max(worst, time.monotonic() - began)
print(asked, lost, codes, round(worst, 3), flush=True)
"""
# Opens a new conversation with an address over and over; counts how each ended.
CONNECT = """
import collections, errno, signal, socket, sys, time
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
seen = collections.Counter()
print("ready", flush=True)
while going:
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect((sys.argv[1], 80))
            seen["OK"] += 1
        except OSError as error:
            seen[errno.errorcode.get(error.errno, "TIMEOUT")] += 1
    time.sleep(0.002)
print(dict(seen), flush=True)
"""


def words(process: subprocess.Popen[str]) -> str:
    """End it: what it counted."""
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    return str(process.stdout.read()).strip()


def start(world: World, code: str, *args: str) -> subprocess.Popen[str]:
    process = world.start_python(code, *args)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def listed(path: Path, tag: str) -> None:
    path.write_text("".join(f"n{i}.{tag}.blocked.example\n" for i in range(LISTED)))


def test_a_reload_of_a_long_list_is_noticed_by_nobody(world: World) -> None:
    daemon = world.prepare(policy_of(ALLOWED))
    daemon.environment["DNSFW_CACHE_DIR"] = str(world.lab.scratch / "cache")
    daemon.start()
    (address,) = world.addresses("www.example.com")
    names = daemon.policy.with_name("block.txt")
    with Capture(world.internet.netns, "eth0") as wire:
        allowed = start(world, ASK, LISTEN, "www.example.com")
        refused = start(world, ASK, LISTEN, "evil.example.com")
        flows, never = start(world, CONNECT, address), start(world, CONNECT, NEVER)
        for tag in ("one", "two"):
            listed(names, tag)
            done = daemon.reload(policy_of([*ALLOWED, {"deny": {"list": "block.txt"}}]))
            assert done.returncode == 0, done.stderr
        said = {name: words(p) for name, p in (
            ("allowed", allowed), ("refused", refused), ("flows", flows), ("never", never)
        )}  # fmt: skip
    assert re.match(r"\d{3,} 0 \{0: \d+\} ", said["allowed"]), said
    assert re.match(r"\d{3,} 0 \{3: \d+\} ", said["refused"]), said
    assert set(ast.literal_eval(said["flows"])) == {"OK"}, said
    assert set(ast.literal_eval(said["never"])) == {"EPERM"}, said
    assert wire.to(NEVER) == []
    assert float(said["allowed"].split()[-1]) < 1.0, said


def test_a_temporary_allow_is_gone_on_time_over_a_restart(world: World) -> None:
    daemon = world.guard(policy_of([{"deny": "evil.example.com"}]))
    assert world.addresses("www.example.com") == []
    assert daemon.command("allow", "www.example.com", "--for", "12s").returncode == 0
    began = time.monotonic()
    (address,) = world.addresses("www.example.com")
    assert world.connect(address) == "OK"

    daemon.kill()
    daemon.start()

    assert world.connect(address) == "OK"
    assert daemon.show("status")["temporary"][0]["to"] == "www.example.com"
    time.sleep(max(0.0, began + 12.2 - time.monotonic()))
    assert world.connect(address) == "EPERM"
    wait_until(lambda: daemon.show("status")["temporary"] == [], what="its end in the status")
    assert world.addresses("www.example.com") == []


def test_a_temporary_address_rule_ends_on_time_though_the_daemon_is_dead(world: World) -> None:
    daemon = world.guard(policy_of([{"deny": "evil.example.com"}]))
    assert world.connect(NEVER) == "EPERM"
    assert daemon.command("allow", NEVER, "--for", "5s").returncode == 0
    began = time.monotonic()
    assert world.connect(NEVER) != "EPERM"

    daemon.kill()

    assert world.connect(NEVER) != "EPERM"
    time.sleep(max(0.0, began + 6.0 - time.monotonic()))
    assert world.connect(NEVER) == "EPERM"


def test_row_140_a_pause_ends_on_time_though_the_daemon_is_dead(world: World) -> None:
    daemon = world.guard(policy_of([{"deny": "evil.example.com"}]))
    assert world.connect(NEVER) == "EPERM"
    assert daemon.command("pause", "--for", "5s", "--reason", "test").returncode == 0
    began = time.monotonic()
    assert world.connect(NEVER) != "EPERM"

    daemon.kill()

    time.sleep(max(0.0, began + 6.0 - time.monotonic()))
    assert world.connect(NEVER) == "EPERM"


def test_a_temporary_deny_cuts_what_it_refuses(world: World) -> None:
    daemon = world.guard(policy_of(ALLOWED))
    (address,) = world.addresses("www.example.com")
    assert world.connect(address) == "OK"

    assert daemon.command("deny", ".example.com", "--for", "1m").returncode == 0
    assert world.connect(address) == "EPERM"

    assert daemon.command("deny", "--end").returncode == 0
    (address,) = world.addresses("www.example.com")
    assert world.connect(address) == "OK"
