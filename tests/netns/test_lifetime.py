"""When doors close, and what lives on: deadlines, flows, kill -9, restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dnsfw.datapath import bpf
from dnsfw.datapath.syscall import Closing
from dnsfw.policy import kept
from dnsfw.policy.compile import compile_text
from tests.support.daemon import LISTEN
from tests.support.internet import PAIRS as NAMES
from tests.support.netlab import Capture, end, wait_until
from tests.support.programs import DISCARD, ECHO, LOAD, PAIRS, PROBES, TALK
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

NEVER = ("203.0.113.9", "2001:db8::9")
SHORT = policy_of([
    {"allow": "*.example.com:80,9000", "ttl": {"min": "1s", "grace": "2s"}},
    {"allow": "*.pairs.example:9"},
])
DEADLINE = 4.0  # TTL 2 s and 2 s of grace


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def last_line(process: subprocess.Popen[str]) -> list[str]:
    """End it with SIGTERM: the words of what it prints then."""
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    return process.stdout.read().split()


def closed(world: World, address: str) -> None:
    """By the kernel's own clock; what is in use was renewed once more before its end."""
    wait_until(lambda: world.connect(address) == "EPERM", 10 * DEADLINE, f"the end of {address}")


def discard_server(world: World) -> None:
    ready(world.internet.netns.start([sys.executable, "-u", "-c", DISCARD]))


def echo_server(world: World) -> None:
    ready(world.internet.netns.start([sys.executable, "-u", "-c", ECHO, "9000"]))


@pytest.mark.parametrize(("kind", "address"), [("A", "203.0.113.30"), ("AAAA", "2001:db8::30")])
def test_an_address_closes_when_its_ttl_and_grace_are_over(
    world: World, kind: str, address: str
) -> None:
    world.guard(SHORT)

    assert world.addresses("short.example.com", kind) == [address]
    assert world.connect(address) == "OK"
    time.sleep(DEADLINE + 0.5)  # the deadline is the kernel's own clock

    assert world.connect(address) == "EPERM"


@pytest.mark.usefixtures("answers")
def test_row_116_a_program_that_remembers_too_long_is_told_of_with_the_name(world: World) -> None:
    daemon = world.guard(SHORT)
    world.addresses("short.example.com")
    closed(world, "203.0.113.30")

    wait_until(
        lambda: any("(short.example.com): expired" in line for line in daemon.said),
        what="the event with the name",
    )


@pytest.mark.usefixtures("answers")
def test_row_108_a_dead_upstream_leads_to_no_stale_answer(world: World) -> None:
    world.guard(SHORT)
    assert world.addresses("short.example.com") == ["203.0.113.30"]
    end(world.internet.unbound)
    closed(world, "203.0.113.30")

    stale = world.dig("+time=8", "short.example.com", kernel=False)

    assert "203.0.113.30" not in stale
    assert "SERVFAIL" in stale
    assert world.connect("203.0.113.30") == "EPERM"


def test_asking_again_opens_it_again(world: World) -> None:
    world.guard(SHORT)
    world.addresses("short.example.com")
    time.sleep(DEADLINE + 0.5)

    assert world.fetches("http://short.example.com/")


@pytest.mark.usefixtures("answers")
def test_row_115_a_download_outlives_its_ttl(world: World) -> None:
    world.guard(SHORT)

    download = world.guest.start(
        ["curl", "-sS", "--max-time", "30", "http://slow.example.com/slow?seconds=6"]
    )
    time.sleep(DEADLINE + 1)
    refused = world.connect("203.0.113.31"), world.connect("2001:db8::31")
    said, _ = download.communicate(timeout=30)

    assert "EPERM" in refused
    assert said.splitlines()[-1] == "done"
    assert download.returncode == 0


@pytest.mark.usefixtures("answers")
def test_row_109_a_ttl_of_zero_lives_for_the_floor_and_a_week_for_the_cap(world: World) -> None:
    daemon = world.guard(policy_of([
        {"allow": "*.example.com:80", "ttl": {"min": "5s", "max": "60s", "grace": "2s"}},
    ]))

    zero = world.dig("zero.example.com", kernel=False).partition("ANSWER SECTION:\n")[2].split()
    week = world.dig("long.example.com").partition("ANSWER SECTION:\n")[2].split()

    assert int(zero[1]) <= 5
    assert int(week[1]) <= 60
    assert world.connect("203.0.113.32") == "OK"
    assert "203.0.113.33" in daemon.command("grants").stdout


@pytest.mark.usefixtures("answers")
def test_row_112_ten_thousand_answers_are_connected_to_at_once_without_a_drop(
    world: World,
) -> None:
    """Half of them each way: a name that is asked once is answered by the daemon."""
    world.guard(SHORT)
    discard_server(world)
    half = NAMES // 4

    other = world.start_python(PAIRS, LISTEN, str(half), str(half))
    mine = world.python(PAIRS, LISTEN, "0", str(half), timeout=240)
    theirs, _ = other.communicate(timeout=240)

    assert mine == f"{half} 0 []"
    assert theirs.strip() == f"{half} 0 []"


def test_row_48_kill_9_leaves_the_wall_up_and_entries_expire_by_themselves(world: World) -> None:
    daemon = world.guard(SHORT)
    world.addresses("short.example.com")
    world.addresses("www.example.com")

    daemon.kill()

    assert world.connect("203.0.113.11") == "OK"
    assert world.connect(NEVER[0]) == "EPERM"
    time.sleep(DEADLINE + 0.5)
    assert world.connect("203.0.113.30") == "EPERM"


def standing(world: World) -> dict[str, int]:
    """The programs that stand pinned, by the kernel's number."""
    found = {}
    for pin in world.lab.bpffs().glob("dnsfw/abi*/prog_*"):
        with Closing(bpf.obj_get(pin)) as program:
            found[pin.name] = bpf.object_id(program)
    return found


def test_row_48_a_restart_takes_over_programs_and_policy_as_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = world.lab.scratch / "cache"
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(cache))
    daemon = world.guard(SHORT)
    (kept,) = cache.glob("*.policy")
    before, written = standing(world), kept.stat().st_mtime_ns

    daemon.kill()
    daemon.start()

    assert before and standing(world) == before
    assert kept.stat().st_mtime_ns == written  # nobody had to compile
    assert world.connect("www.example.com", 80) == "OK"
    assert world.connect(NEVER[0]) == "EPERM"


def test_row_48_a_poisoned_policy_on_disk_opens_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, with a right seal, and of this very policy's place: but not root's alone."""
    cache = world.lab.scratch / "cache"
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(cache))
    daemon = world.guard(SHORT)
    daemon.kill()
    (kept_file,) = cache.glob("*.policy")
    texts = kept.texts_now(daemon.policy)
    poison = compile_text("version: 1\ndefault: allow\n", str(daemon.policy))
    assert kept.keep(daemon.policy, poison, texts) is not None
    assert kept.recall(daemon.policy, {}) is not None  # who may write as root, may
    os.chown(kept_file, 4242, -1)

    daemon.start()

    assert world.connect(NEVER[0]) == "EPERM"
    assert kept_file.stat().st_uid == 0  # compiled again


def test_row_51_kill_9_and_a_restart_under_load_leak_nothing_and_cut_nothing(
    world: World,
) -> None:
    daemon = world.guard(SHORT)
    echo_server(world)
    assert world.addresses("www.example.com") == ["203.0.113.11"]
    assert world.addresses("www.example.com", "AAAA") == ["2001:db8::11"]
    talks = [
        ready(world.start_python(TALK, address, "9000"))
        for address in ("203.0.113.11", "2001:db8::11")
    ]
    load = ready(world.start_python(LOAD, LISTEN))

    with Capture(world.internet.netns, "eth0") as capture:
        probes = ready(world.start_python(PROBES, *NEVER))
        for _ in range(3):
            time.sleep(0.5)  # probes and load go on while it lives, and while it does not
            daemon.kill()
            time.sleep(0.3)
            daemon.start()
        time.sleep(0.5)
        tried, passed = map(int, last_line(probes))
        leaked = [frame for address in NEVER for frame in capture.to(address)]
    asked, answered = map(int, last_line(load))

    assert leaked == []
    assert passed == 0
    assert tried > 500
    assert answered > asked / 10
    for talk in talks:
        assert last_line(talk)[0] == "alive"
    assert world.connect("203.0.113.11") == "OK", "grants are adopted"


@pytest.mark.usefixtures("answers")
def test_row_113_reload_under_load_leaks_nothing_and_cuts_nothing(world: World) -> None:
    daemon = world.guard(SHORT)
    echo_server(world)
    discard_server(world)
    assert world.addresses("www.example.com") == ["203.0.113.11"]
    talk = ready(world.start_python(TALK, "203.0.113.11", "9000"))
    load = ready(world.start_python(LOAD, LISTEN))
    other = policy_of([
        {"allow": "*.example.com:80,9000", "ttl": {"min": "1s", "grace": "2s"}},
        {"allow": "*.pairs.example:9"},
        {"deny": "198.51.100.200/32"},
    ])

    with Capture(world.internet.netns, "eth0") as capture:
        probes = ready(world.start_python(PROBES, *NEVER))
        for policy in [other, SHORT] * 4:
            done = daemon.reload(policy)
            assert done.returncode == 0, done.stderr
        pairs = world.python(PAIRS, LISTEN, "9000", "500")
        _, passed = map(int, last_line(probes))
        leaked = [frame for address in NEVER for frame in capture.to(address)]
    asked, answered = map(int, last_line(load))

    assert leaked == []
    assert passed == 0
    assert pairs == "500 0 []"
    assert answered > asked * 0.9
    assert last_line(talk)[0] == "alive"


@pytest.mark.usefixtures("answers")
def test_row_114_a_removed_rule_cuts_its_flows_within_a_second(world: World) -> None:
    daemon = world.guard(SHORT)
    echo_server(world)
    world.addresses("www.example.com")
    world.addresses("only4.example.com")
    ready(world.start_python(TALK, "203.0.113.11", "9000"))
    kept = ready(world.start_python(TALK, "203.0.113.13", "9000"))

    with Capture(world.internet.netns, "eth0") as before:
        time.sleep(0.5)
    done = daemon.reload(policy_of([{"allow": "only4.example.com:80,9000"}]))
    time.sleep(1)  # what promise 4 gives
    with Capture(world.internet.netns, "eth0") as after:
        time.sleep(2)

    assert done.returncode == 0, done.stderr
    assert before.to("203.0.113.11")
    assert after.to("203.0.113.11") == []
    assert after.to("203.0.113.13")
    assert world.connect("203.0.113.11", 9000) == "EPERM"
    assert last_line(kept)[0] == "alive"


def test_row_124_a_bad_file_keeps_the_old_policy_and_says_where(world: World) -> None:
    daemon = world.guard(SHORT)

    done = daemon.reload('version: 1\ndefault: deny\nrules:\n  - alow: "www.example.com"\n')

    assert done.returncode in (1, 2)
    assert "policy.yaml:4" in done.stderr
    assert world.fetches("http://www.example.com/")
    assert world.connect(NEVER[0]) == "EPERM"


def test_a_reload_that_denies_a_name_closes_what_it_had_opened(world: World) -> None:
    daemon = world.guard(SHORT)
    assert world.fetches("http://www.example.com/")

    daemon.reload(policy_of([{"allow": "*.example.com:80"}, {"deny": "www.example.com"}]))

    assert world.connect("203.0.113.11") == "EPERM"
    assert world.fetches("http://only4.example.com/")


def test_row_52_a_second_daemon_is_refused_and_the_first_goes_on(world: World) -> None:
    daemon = world.guard(SHORT)

    second = world.prepare(SHORT).attempt()

    assert second.returncode == 3
    assert str(daemon.pid) in second.stderr + second.stdout
    assert world.fetches("http://www.example.com/")


def test_row_53_a_hook_that_cannot_be_attached_fails_the_start_and_leaves_nothing(
    world: World,
) -> None:
    done = world.prepare(SHORT, interfaces=("eth0", "nosuch0")).attempt()

    assert done.returncode in (2, 3)
    assert "nosuch0" in done.stderr + done.stdout
    assert world.connect(NEVER[0]) == "OK"


def test_row_40_a_connection_older_than_the_wall_is_ended_when_the_policy_refuses_it(
    world: World,
) -> None:
    echo_server(world)
    refused = ready(world.start_python(TALK, NEVER[0], "9000"))
    allowed = ready(world.start_python(TALK, "203.0.113.200", "9000"))

    world.guard(policy_of([{"allow": "203.0.113.200:9000"}]))
    assert refused.stdout is not None
    said = refused.stdout.readline().split()

    assert said[0] == "cut"
    assert last_line(allowed)[0] == "alive"


def test_sigterm_leaves_the_wall_up_and_down_takes_it_away(world: World) -> None:
    daemon = world.guard(SHORT)

    daemon.signal(signal.SIGTERM)
    standing = world.connect(NEVER[0])
    done = daemon.command("down")

    assert standing == "EPERM"
    assert done.returncode == 0, done.stderr
    assert world.connect(NEVER[0]) == "OK"


def test_try_undoes_itself_unless_confirm_comes(world: World) -> None:
    daemon = world.guard(SHORT, options=("--try", "2s"))

    assert world.connect(NEVER[0]) == "EPERM"
    assert daemon.process is not None
    daemon.process.wait(20)

    assert world.connect(NEVER[0]) == "OK"


def test_confirm_keeps_what_try_began(world: World) -> None:
    daemon = world.guard(SHORT, options=("--try", "2s"))

    done = daemon.command("confirm")
    time.sleep(3)

    assert done.returncode == 0, done.stderr
    assert world.connect(NEVER[0]) == "EPERM"


def test_lockdown_stops_all_but_loopback_and_survives_a_restart(world: World) -> None:
    daemon = world.guard(SHORT)
    world.addresses("www.example.com")

    assert daemon.command("lockdown", "on").returncode == 0
    locked = world.connect("203.0.113.11")
    asked = world.dig("only4.example.com")
    daemon.kill()
    daemon.start()
    still = world.connect("203.0.113.11")
    assert daemon.command("lockdown", "off").returncode == 0

    assert locked == still == "EPERM"
    assert "203.0.113.13" not in asked
    wait_until(lambda: world.fetches("http://www.example.com/"), what="the end of lockdown")
