"""Several processes that answer (`dns.workers`), each of them killed, over a real wall.

What a dead worker takes with it: what it had read and not yet answered or handed on, at most one
batch. A client here has one question under way a socket, so that is one a socket at most.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import LISTEN, LISTEN6, Daemon
from tests.support.netlab import end, wait_until
from tests.support.roles import WWW4, in_cgroup, role, roles_policy, subject_path
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
    pytest.mark.one_way("where the kernel answers no worker hears of it"),
]  # fmt: skip

WORKERS = 2  # beside the daemon
SOCKETS = 24  # of 12 none came to one of three processes once in 65 times
WWW = "www.example.com"
DNS = {"workers": 1 + WORKERS, "kernel_answers": "off"}
EXAMPLE = policy_of([{"allow": "*.example.com"}], dns=DNS)
OTHER = policy_of([{"allow": "*.example.net"}], dns=DNS)

# Asks one name over and over from many sockets, one question under way a socket; one line of
# JSON a question: when it was sent, when the answer came (null: never), its rcode and answers.
CLIENT = """
import json, os, select, socket, struct, sys, time
server, name, stop, count, patience = sys.argv[1:4] + [int(sys.argv[4]), float(sys.argv[5])]
labels = b"".join(bytes((len(p),)) + p.encode() for p in name.split("."))
socks, poll = {}, select.poll()
for _ in range(count):
    s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((server, 53))
    s.setblocking(False)
    socks[s.fileno()] = [s, 0, 0.0]
    poll.register(s, select.POLLIN)
number, told = 0, []
def ask(row):
    global number
    number = (number + 1) & 0xffff
    row[1:] = number, time.monotonic()
    wire = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1"
    try:
        row[0].send(wire)
    except OSError:  # nobody listened to the one before: asked again when patience ends
        pass
print("begun", flush=True)
for row in socks.values():
    ask(row)
while not os.path.exists(stop):
    for fd, _ in poll.poll(50):
        row = socks[fd]
        try:
            wire = row[0].recv(4096)
        except OSError:  # nobody listens
            time.sleep(0.005)
            told.append([row[2], None, 0, 0])
            ask(row)
            continue
        if wire[:2] == struct.pack(">H", row[1]):
            told.append([row[2], time.monotonic(), wire[3] & 15,
                         struct.unpack_from(">H", wire, 6)[0]])
            time.sleep(0.0003)
            ask(row)
    for row in socks.values():
        if time.monotonic() - row[2] > patience:
            told.append([row[2], None, 0, 0])
            ask(row)
print(json.dumps(told))
"""

Told = list[Any]  # began, ended or None, rcode, answers


class Load:
    """The client, running."""

    def __init__(self, world: World, server: str = LISTEN, patience: float = 3.0) -> None:
        self.stop = world.lab.scratch / f"stop-{time.monotonic_ns()}"
        self.process = world.start_python(
            CLIENT, server, WWW, str(self.stop), str(SOCKETS), str(patience)
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "begun\n"

    def end(self) -> list[Told]:
        self.stop.touch()
        told: list[Told] = json.loads(self.process.communicate(timeout=60)[0])
        return told


def workers(daemon: Daemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = daemon.ask("status")["workers"]
    return rows


def serving(daemon: Daemon) -> bool:
    return all(row["state"] == "serving" for row in workers(daemon))


def guard(world: World, policy: str = EXAMPLE, **options: Any) -> Daemon:
    daemon = world.guard(policy, **options)
    wait_until(lambda: serving(daemon))
    return daemon


def answering(daemon: Daemon) -> Callable[[], bool]:
    """Whether every worker answers more than it did."""
    before = [row["answered"] for row in workers(daemon)]
    return lambda: all(r["answered"] > b for r, b in zip(workers(daemon), before, strict=True))


def status_of(pid: int) -> dict[str, str]:
    rows = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {key: value.strip() for key, _, value in rows}


def test_workers_have_no_rights_at_all(world: World) -> None:
    daemon = guard(world)

    for row in workers(daemon):
        status = status_of(row["pid"])
        assert status["Name"] == "dnsfw-worker" and status["NoNewPrivs"] == "1"
        assert {int(status[cap], 16) for cap in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
        assert int(status["CapBnd"], 16) == 0
        assert status["Seccomp"] == "2"


def test_what_they_answer_is_what_the_daemon_answers_and_is_open(world: World) -> None:
    daemon = guard(world)

    assert world.addresses(WWW) == [WWW4]
    assert world.addresses("evil.example.net") == []
    load, wait = Load(world), answering(daemon)
    wait_until(wait)
    assert all(one[2] == 0 and one[3] == 1 for one in load.end())
    assert world.fetches(f"http://{WWW}/")
    text = daemon.command("status").stdout
    assert text.count("handed on") == WORKERS
    assert f"answered by {1 + WORKERS} processes" in "".join(daemon.said)


@pytest.mark.parametrize("listen", ["127.0.53.53", "::1", "0.0.0.0"])
def test_every_worker_answers_from_the_address_that_was_asked(world: World, listen: str) -> None:
    """The client's sockets are connected: they hear nobody else."""
    text = f"[{listen}]:53" if ":" in listen else f"{listen}:53"
    daemon = guard(world, listen=(text,))
    wait = answering(daemon)
    load = Load(world, "127.3.2.1" if listen == "0.0.0.0" else listen)
    wait_until(wait)
    told = load.end()

    assert all(one[1] is not None and one[3] == 1 for one in told)


def test_row_68_each_worker_decides_by_the_mark_who_asks(world: World) -> None:
    """One name, allowed to one role alone, asked by both at the same time."""
    a, b = in_cgroup(world, "a"), in_cgroup(world, "b")
    policy = json.loads(
        roles_policy(
            web=role([{"cgroup": subject_path(a.guest.cgroup)}]),
            db={"default": "deny", "subjects": [{"cgroup": subject_path(b.guest.cgroup)}],
                "rules": [{"allow": "other.example.net"}]},
        )
    )  # fmt: skip
    daemon = guard(world, json.dumps({**policy, "dns": DNS}))
    stops = [world.lab.scratch / name for name in ("a.stop", "b.stop")]
    clients = [
        one.guest.start(
            [sys.executable, "-c", CLIENT, LISTEN, WWW, str(stop), str(SOCKETS), "3"]
        )
        for one, stop in zip((a, b), stops, strict=True)
    ]
    wait_until(answering(daemon))
    said = []
    for client, stop in zip(clients, stops, strict=True):
        stop.touch()
        said.append(json.loads(client.communicate(timeout=60)[0].splitlines()[-1]))

    allowed, refused = said
    assert len(allowed) > 10 and all(one[2] == 0 and one[3] == 1 for one in allowed)
    assert len(refused) > 10 and all(one[2] == 3 and one[3] == 0 for one in refused)


def test_row_49_workers_that_are_killed_under_load_cost_what_they_had_in_hand(
    world: World,
) -> None:
    daemon = guard(world)
    load, kills = Load(world), 6
    for _ in range(kills):
        wait_until(lambda: serving(daemon))
        wait_until(answering(daemon))
        os.kill(workers(daemon)[0]["pid"], signal.SIGKILL)
        time.sleep(0.1)
    wait_until(lambda: serving(daemon))
    wait_until(answering(daemon))  # those in their place, too
    told = load.end()

    lost = sum(one[1] is None for one in told)
    assert all(one[2] == 0 and one[3] == 1 for one in told if one[1] is not None)
    assert len(told) > 500
    assert lost <= kills * SOCKETS, (lost, len(told))
    assert sum(row["restarts"] for row in workers(daemon)) == kills
    assert sum("its clients are answered by the daemon" in line for line in daemon.said) >= 1


def test_row_48_with_the_daemon_its_workers_die_and_the_next_one_has_its_own(
    world: World,
) -> None:
    daemon = guard(world)
    load = Load(world, patience=1.0)  # not more in all than may wait for one answer
    for _ in range(3):
        wait_until(answering(daemon))
        before = [row["pid"] for row in workers(daemon)]
        daemon.kill()
        daemon.start()  # the port is free: nobody of before holds it
        assert not [pid for pid in before if Path(f"/proc/{pid}/fd/0").exists()]
        wait_until(lambda: serving(daemon))
    wait_until(answering(daemon))
    told = load.end()

    last = told[-SOCKETS:]
    bad = [one for one in told if one[1] is not None and one[2:] != [0, 1]]
    assert not bad, bad[:5]
    late = sum(one[1] is None for one in last)  # than a second: on a busy machine some are
    assert late < SOCKETS / 3, "those of one worker are lost"


def test_no_worker_tells_what_a_reload_has_refused(world: World) -> None:
    """Under load: whoever asked after it had returned hears nothing of before."""
    daemon = guard(world)
    load = Load(world)
    changes: list[tuple[float, float, bool]] = []  # from then, certain since then: allowed
    for number in range(8):
        wait_until(answering(daemon) if number % 2 == 0 else lambda: True)
        began = time.monotonic()
        done = daemon.reload(OTHER if number % 2 == 0 else EXAMPLE)
        assert done.returncode == 0, done.stderr
        changes.append((began, time.monotonic(), bool(number % 2)))
        time.sleep(0.3)
    told = load.end()

    stale = [one for one in told if not lawful(one, changes)]
    assert not stale, stale[:3]
    assert sum(one[3] for one in told) > 100 and sum(one[2] == 3 for one in told) > 100
    assert not any(one[1] is None for one in told)


def lawful(one: Told, changes: list[tuple[float, float, bool]]) -> bool:
    began, ended, rcode, answers = one
    if ended is None:
        return True
    allowed = {True}
    for start, sure, now in changes:
        if sure <= began:
            allowed = {now}
        elif start <= ended:
            allowed |= {now}
    return bool(answers) in allowed and (rcode == 0) is bool(answers)


def test_in_a_lockdown_no_worker_answers(world: World) -> None:
    daemon = guard(world)
    load = Load(world)
    wait_until(answering(daemon))
    assert daemon.command("lockdown", "on").returncode == 0
    since = time.monotonic()
    time.sleep(0.3)
    until = time.monotonic()
    assert daemon.command("lockdown", "off").returncode == 0
    told = load.end()

    during = [one for one in told if one[1] is not None and since < one[0] and one[1] < until]
    assert not any(one[3] for one in during)


# As many as it can, from many sockets, so that every process has its part of them.
FLOOD = """
import os, socket, sys, time
query = b"\\0\\0\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3www\\7example\\3com\\0\\0\\1\\0\\1"
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(24)]
for s in socks:
    s.connect((sys.argv[1], 53))
    s.setblocking(False)
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    for s in socks:
        try:
            s.send(query)
        except OSError:
            pass
"""


def test_row_103_a_flood_of_one_role_keeps_no_other_from_any_process(world: World) -> None:
    a, b = in_cgroup(world, "a"), in_cgroup(world, "b")
    rules = [{"allow": "*.example.com"}]
    policy = json.loads(
        roles_policy(**{
            name: {"default": "deny", "rules": rules,
                   "subjects": [{"cgroup": subject_path(one.guest.cgroup)}]}
            for name, one in (("web", a), ("db", b))
        })
    )  # fmt: skip
    daemon = guard(world, json.dumps({**policy, "dns": DNS}))
    assert b.looks_up() == [WWW4]
    flood = a.guest.start([sys.executable, "-u", "-c", FLOOD, LISTEN])
    assert flood.stdout is not None and flood.stdout.readline() == "ready\n"
    stop = world.lab.scratch / "calm.stop"
    calm = b.guest.start([sys.executable, "-c", CLIENT, LISTEN, WWW, str(stop), "8", "3"])
    time.sleep(4)
    stop.touch()
    told = json.loads(calm.communicate(timeout=60)[0].splitlines()[-1])
    end(flood)

    rows = {row["name"]: row for row in daemon.ask("status")["roles"]}
    lost = sum(one[1] is None for one in told)
    # It asks again at once: where the machine is slow, that is about its part.
    assert max(lost, rows["db"]["dropped"]) <= len(told) // 100, (lost, len(told))
    assert len(told) > 100


def test_where_the_kernel_answers_workers_see_what_falls_through(world: World) -> None:
    policy = policy_of([{"allow": "*.example.com"}], dns={"workers": 1 + WORKERS})
    daemon = guard(world, policy)
    load = Load(world)
    wait_until(lambda: daemon.ask("status")["kernel_answers"]["answered"] > 200)
    told = load.end()

    assert all(one[3] == 1 for one in told)
    assert sum(row["answered"] + row["handed_on"] for row in workers(daemon)) < len(told) // 2


@pytest.mark.parametrize("option", ["SO_REUSEPORT", "SO_REUSEADDR", ""])
def test_row_83_a_start_fails_where_somebody_has_the_port_though_he_would_share(
    world: World, option: str
) -> None:
    share = f"s.setsockopt(socket.SOL_SOCKET, socket.{option}, 1)" if option else ""
    other = subprocess.Popen(
        ["nsenter", f"--net={world.host.path}", sys.executable, "-u", "-c",
         f"import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\n{share}\n"
         f"s.bind(('{LISTEN}', 53))\nprint('bound')\ntime.sleep(60)"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert other.stdout is not None and other.stdout.readline() == "bound\n"
        done = world.prepare(EXAMPLE).attempt()
    finally:
        other.kill()
        other.wait()

    assert done.returncode == 2
    assert "another program has that port" in done.stderr


def test_row_83_nobody_of_another_user_gets_a_share_of_the_queries(world: World) -> None:
    """Nor of our own: he gets a socket, and no query."""
    daemon = guard(world)
    thief = (
        "import os, socket, sys\nos.setuid(int(sys.argv[1]))\n"
        "s = socket.socket(type=socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        f"s.bind(('{LISTEN}', 53))\nprint('bound', flush=True)\ns.settimeout(2)\n"
        "try:\n    s.recv(100)\n    print('stolen')\nexcept TimeoutError:\n    print('nothing')\n"
    )
    enter = ["nsenter", f"--net={world.host.path}", sys.executable, "-c", thief]
    stranger = subprocess.run([*enter, "65534"], capture_output=True, text=True, check=False)
    own = subprocess.Popen([*enter, "0"], stdout=subprocess.PIPE, text=True)
    assert own.stdout is not None and own.stdout.readline() == "bound\n"
    load = Load(world)
    wait_until(answering(daemon))
    got = own.communicate(timeout=30)[0]
    told = load.end()

    assert "bound" not in stranger.stdout and "Error" in stranger.stderr
    assert got == "nothing\n"
    assert not any(one[1] is None for one in told)


def test_names_alone_are_answered_by_several_processes_too(world: World) -> None:
    daemon = guard(
        world, EXAMPLE, options=("--dns-only",), guard_cgroup=False, interfaces=()
    )
    load = Load(world)
    wait_until(answering(daemon))
    told = load.end()

    assert all(one[3] == 1 for one in told)


def test_row_83_nobody_takes_one_address_of_a_listener_on_all(world: World) -> None:
    """With SO_REUSEPORT a process of our own user could, and would be asked in our place."""
    daemon = guard(world, listen=("0.0.0.0:53",))
    thief = (
        "import socket, sys\ns = socket.socket(type=socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "try:\n    s.bind(('127.3.2.1', 53))\nexcept OSError as error:\n"
        "    sys.exit(print(error.errno))\ns.settimeout(2)\n"
        "try:\n    s.recv(100)\n    print('stolen')\nexcept TimeoutError:\n    print('nothing')\n"
    )
    got = world.start_python(thief)
    wait = answering(daemon)
    load = Load(world, "127.3.2.1")
    wait_until(wait)
    told = load.end()

    assert got.communicate(timeout=30)[0] != "stolen\n"
    assert all(one[1] is not None and one[3] == 1 for one in told)


BINDS = """
import socket, sys
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    for where in sys.argv[1:]:
        family = socket.AF_INET6 if ":" in where else socket.AF_INET
        s = socket.socket(family, kind)
        for option in (socket.SO_REUSEPORT, socket.SO_REUSEADDR):
            s.setsockopt(socket.SOL_SOCKET, option, 1)
        if where == "127.0.53.53":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        try:
            s.bind((where, 53))
            print("bound", end=" ")
        except OSError as error:
            print(error.errno, end=" ")
"""


def test_row_83_a_port_where_dnsfw_answers_is_its_own_also_while_it_does_not_run(
    world: World,
) -> None:
    """With SO_REUSEPORT by one device, else after a crash: and every role may reach it there."""
    daemon = guard(world)
    ours = (LISTEN, LISTEN6, "0.0.0.0", "::")
    refused = [str(errno.EPERM)] * 2 * len(ours)

    assert world.python(BINDS, *ours).split() == refused
    assert world.python(BINDS, "127.3.2.1").split() == ["bound"] * 2
    daemon.kill()
    assert world.python(BINDS, *ours).split() == refused
    daemon.start()
    wait_until(lambda: serving(daemon))
    assert world.addresses(WWW) == [WWW4]
