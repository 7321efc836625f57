"""kill -9 in the middle of a reload, at every boundary between two of its steps, with a restart by
the new policy or by the old one: rows 48 and 113. What is wrapped to die there: support/killed.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dnsfw.datapath import abi, bpf
from tests.support.daemon import LISTEN, ROOT, Daemon, dnsfw_argv
from tests.support.killed import WISH
from tests.support.netlab import Lab
from tests.support.world import World, open_world, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

NEVER = "203.0.113.9"  # both refuse
WWW, BOTH = "203.0.113.11", "203.0.113.13"  # of www, which the new one refuses, and of only4
OLD_FIXED, NEW_FIXED, BOTH_FIXED = "203.0.113.41", "203.0.113.42", "203.0.113.43"
PAIRS = 300  # names that close: several slices of the walk
PAIR = "198.18.0.7"
LONG = {"ttl": {"min": "30m"}}  # no grant ends by itself, however slow the machine is
RULES = [{"allow": "only4.example.com:80", **LONG}, {"allow": f"{BOTH_FIXED}:80"}]
# Another role, so that there is a moment between two flips; and rules for two slices.
ROLES = {"other": {"subjects": [{"uid": 4241}], "default": "deny", "rules": [
    {"allow": [f"10.9.{n >> 8}.{n & 255}" for n in range(300)]},
]}}  # fmt: skip
OLD = policy_of([
    *RULES, {"allow": "www.example.com:80", **LONG}, {"allow": "*.pairs.example:80", **LONG},
    {"allow": f"{OLD_FIXED}:80"},
], roles=ROLES)  # fmt: skip
NEW = policy_of([*RULES, {"allow": f"{NEW_FIXED}:80"}], roles=ROLES)

# In the order in which a reload reaches them; until the first the kernel answers by the old one.
POINTS = [
    "aside 1", "aside 2", "withdrawn 1", "flip 1", "flip 2", "begun 1", "generation 1",
    "walk 1", "walk 3", "bury 1", "generation 2", "finish 1", "hand over 1", "flows 1",
]  # fmt: skip
WITHDRAWN = POINTS.index("withdrawn 1")
FLIPPED = POINTS.index("begun 1")

CONNECT = """
import errno, socket, sys
for host in sys.argv[1:]:
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect((host, 80))
            print("OK")
        except OSError as error:
            print(errno.errorcode.get(error.errno, "TIMEOUT"))
"""
# Asks for every name until each has been answered: rcode by name, of the last round.
ASK = """
import socket, struct, sys, time
def wire(number, name):
    labels = b"".join(bytes((len(p),)) + p for p in name.encode().split(b"."))
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1"
names, said = sys.argv[3:], {}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[2]))
s.connect((sys.argv[1], 53))
for number, name in enumerate(names):
    for _ in range(3):
        s.send(wire(number, name))
        try:
            answer = s.recv(4096)
            while answer[:2] != struct.pack("!H", number):
                answer = s.recv(4096)
            said[number] = answer[3] & 15
            break
        except (TimeoutError, ConnectionRefusedError):
            said[number] = -1
print(*said.values())
"""


@pytest.fixture(scope="module")
def mortal() -> Iterator[tuple[World, Daemon]]:
    """One world for all of them; its daemon can be told where to die."""
    with Lab("reload killed") as lab:
        world = open_world(lab)
        daemon = world.prepare(OLD)
        daemon.environment["DNSFW_CACHE_DIR"] = str(lab.scratch / "cache")
        code = (
            f"import sys; sys.path.append({str(ROOT)!r}); from tests.support.killed import arm;"
            f" arm({str(lab.scratch)!r}); from dnsfw.cli.main import main; main()"
        )
        daemon._argv = [sys.executable, "-P", "-c", code, *daemon._argv[len(dnsfw_argv()) :]]
        yield world, daemon


def asks(world: World, *names: str, patience: float = 2.0) -> list[int]:
    return [int(word) for word in world.python(ASK, LISTEN, str(patience), *names).split()]


def connects(world: World, *hosts: str) -> dict[str, bool]:
    """Whether the wall lets it try."""
    said = world.python(CONNECT, *hosts).split()
    return {host: word != "EPERM" for host, word in zip(hosts, said, strict=True)}


def is_up_by_the_old_one(world: World, daemon: Daemon) -> None:
    if daemon.process is None or daemon.process.poll() is not None:
        daemon.put(OLD)
        daemon.start()
    else:
        assert daemon.reload(OLD).returncode == 0
    names = ("www.example.com", "only4.example.com")
    pairs = [f"p{number}.pairs.example" for number in range(PAIRS)]
    assert set(asks(world, *names * 3, *pairs)) == {0}, "and the kernel answers the first two"
    assert connects(world, WWW, BOTH, PAIR, OLD_FIXED, NEW_FIXED, NEVER) == {
        WWW: True, BOTH: True, PAIR: True, OLD_FIXED: True, NEW_FIXED: False, NEVER: False,
    }  # fmt: skip


@contextmanager
def asked_all_the_time(world: World) -> Iterator[None]:
    """By somebody whose questions fall in between."""
    endless = f"import itertools\n{ASK}".replace(
        "enumerate(names)", "enumerate(itertools.cycle(names[:2]))"
    ).replace("(number,", "(number % 65536,").replace('"!H", number', '"!H", number % 65536')
    asker = world.start_python(endless, LISTEN, "0.2", "www.example.com", "only4.example.com")
    try:
        time.sleep(0.1)
        yield
    finally:
        asker.kill()
        asker.wait()


def dies_at(world: World, daemon: Daemon, point: str) -> None:
    (world.lab.scratch / WISH).write_text(point)
    with asked_all_the_time(world):
        done = daemon.reload(NEW)
        assert "in force" not in done.stdout and done.returncode != 0, f"{point} was not reached"
        assert "the daemon" in done.stderr, done.stderr
        assert daemon.process is not None and daemon.process.wait(20) == -9


def table(world: World, name: str) -> dict[bytes, bytes]:
    (path,) = world.lab.bpffs().glob(f"dnsfw/abi*/{name}")
    found = bpf.map_of(bpf.obj_get(path))
    try:
        return dict(found.items())
    finally:
        found.close()


def leaves_nothing_behind(world: World) -> None:
    """One table a role, which it looks at, and every grant's rule is alive."""
    roles = {
        int.from_bytes(key, "little"): abi.Role.unpack(value)
        for key, value in table(world, "dnsfw_roles").items()
    }
    fixed = {
        (key.role, key.table) for key in map(abi.FixedKey.unpack, table(world, "dnsfw_fixed"))
    }
    assert fixed <= {(number, role.table) for number, role in roles.items() if role.configured}
    rules = {int.from_bytes(key, "little") for key in table(world, "dnsfw_rules")}
    grants = map(abi.Grant.unpack, table(world, "dnsfw_grants").values())
    assert {rule for grant in grants for until, rule in zip(
        grant.slots[0::5], grant.slots[1::5], strict=True) if until} <= rules  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_row_48_a_reload_that_is_killed_is_whole_after_a_restart(
    mortal: tuple[World, Daemon], point: str
) -> None:
    world, daemon = mortal
    is_up_by_the_old_one(world, daemon)

    dies_at(world, daemon, point)

    at = POINTS.index(point)
    dead = connects(world, NEVER, BOTH, BOTH_FIXED, OLD_FIXED, NEW_FIXED)
    assert not dead[NEVER], "what both refuse"
    assert dead[BOTH] and dead[BOTH_FIXED], "what both allow is never shut"
    if at < WITHDRAWN or at >= FLIPPED:
        assert (dead[OLD_FIXED], dead[NEW_FIXED]) == (at < WITHDRAWN, at >= FLIPPED)
    if at >= WITHDRAWN:
        assert asks(world, "www.example.com", patience=0.2) != [0], "a stale answer"

    daemon.start()

    assert asks(world, *("www.example.com", "only4.example.com") * 2) == [3, 0, 3, 0]
    assert connects(
        world, NEVER, WWW, PAIR, "198.18.1.43", OLD_FIXED, NEW_FIXED, BOTH, BOTH_FIXED
    ) == {
        NEVER: False, WWW: False, PAIR: False, "198.18.1.43": False, OLD_FIXED: False,
        NEW_FIXED: True, BOTH: True, BOTH_FIXED: True,
    }  # fmt: skip
    leaves_nothing_behind(world)


@pytest.mark.parametrize("point", POINTS[1::4])
def test_row_48_and_by_the_old_policy_when_that_is_what_is_started(
    mortal: tuple[World, Daemon], point: str
) -> None:
    """Whoever sees a reload fail puts the old file back."""
    world, daemon = mortal
    is_up_by_the_old_one(world, daemon)
    dies_at(world, daemon, point)

    daemon.put(OLD)
    daemon.start()

    assert not connects(world, NEW_FIXED)[NEW_FIXED]
    assert asks(world, *("www.example.com", "only4.example.com") * 2) == [0, 0, 0, 0]
    assert all(connects(world, WWW, BOTH, OLD_FIXED, BOTH_FIXED).values())
    assert not connects(world, NEVER)[NEVER]
    leaves_nothing_behind(world)
