"""DNS taken over: real clients whose resolv.conf names servers that dnsfw never asks.

The servers they name are either real resolvers that would tell (8.8.8.8 lives in the test's
internet) or addresses where nobody is. What answers is dnsfw, and no client sees that.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dnsfw.datapath.links import prog_query
from dnsfw.datapath.syscall import AttachType
from tests.support.daemon import Daemon
from tests.support.internet import OTHER_RESOLVER
from tests.support.netlab import Capture, Guest, Lab, Netns, wait_until
from tests.support.roles import below, role, subject_path
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

NOBODY, NOBODY6 = "192.0.2.53", "2001:db8:dead::53"  # routed, and silent
ALLOWED, DENIED = "www.example.com", "hit.tracker.example"
POLICY = policy_of([{"allow": "*.example.com:80"}], dns={"takeover": True})

# getaddrinfo() of a static musl program: asks all servers at once and looks who replies.
MUSL = """
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	char text[64];
	int failed = getaddrinfo(argv[1], "80", &hints, &found);
	if (failed)
		return puts(gai_strerror(failed)), 1;
	for (; found; found = found->ai_next) {
		void *at = found->ai_family == AF_INET
			? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
			: (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
		puts(inet_ntop(found->ai_family, at, text, sizeof(text)));
	}
	return 0;
}
"""
DNSPYTHON = """
import sys, dns.message, dns.query
query = dns.message.make_query(sys.argv[2], "A")
for ask in (dns.query.udp, dns.query.tcp):
    reply = ask(query, sys.argv[1], timeout=5)  # raises UnexpectedSource
    print([str(item) for rrset in reply.answer for item in rrset])
"""
NODE = """
const { Resolver } = require('dns').promises;
const resolver = new Resolver();
resolver.resolve4(process.argv[1]).then(found => console.log(found.join(' ')),
                                        error => console.log(error.code));
"""


def silent_guest(world: World, *servers: str) -> Guest:
    """A workload whose resolv.conf names these, in the guarded host and cgroup."""
    return world.lab.guest(world.host, world.cgroup, *servers)


def compiled(lab: Lab) -> str:
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-gcc is not installed (musl-tools)")
    source, program = lab.file("musl.c", MUSL), lab.scratch / "musl"
    subprocess.run(["musl-gcc", "-static", "-o", program, source], check=True)
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def guarded(world: World) -> World:
    """Nobody in it knows where dnsfw is."""
    world.guard(POLICY)
    world.guest = silent_guest(world, NOBODY, OTHER_RESOLVER)
    return world


# every client, both families


@pytest.mark.parametrize("server", [NOBODY, NOBODY6])
def test_glibc_resolves_and_connects(world: World, server: str) -> None:
    world.guard(POLICY)
    world.guest = silent_guest(world, server)

    assert "203.0.113.11" in world.run("getent", "ahostsv4", ALLOWED).stdout
    assert "2001:db8::11" in world.run("getent", "ahostsv6", ALLOWED).stdout
    assert world.fetches(f"http://{ALLOWED}/")
    assert world.run("getent", "ahosts", DENIED).stdout == ""


@pytest.mark.parametrize("servers", [(NOBODY, OTHER_RESOLVER), (NOBODY6, NOBODY)])
def test_a_static_musl_program_with_two_servers_on_one_socket_resolves(
    world: World, servers: tuple[str, str]
) -> None:
    world.guard(POLICY)
    world.guest = silent_guest(world, *servers)
    program = compiled(world.lab)

    done = world.run(program, ALLOWED)

    assert set(done.stdout.split()) == {"203.0.113.11", "2001:db8::11"}
    assert world.run(program, DENIED).returncode == 1


@pytest.mark.parametrize("server", [NOBODY, NOBODY6])
def test_dig_sees_the_server_that_it_asked(world: World, server: str) -> None:
    world.guard(POLICY)
    world.guest = silent_guest(world, server)

    for options in ([], ["+tcp"], [f"@{server}"], [f"@{server}", "+tcp"]):
        seen = world.dig(*options, ALLOWED, "A")
        assert "203.0.113.11" in seen
        assert f"SERVER: {server}#53" in seen


@pytest.mark.parametrize("server", [NOBODY, NOBODY6])
def test_dnspython_that_looks_at_the_source_believes_the_reply(
    guarded: World, server: str
) -> None:
    pytest.importorskip("dns")

    assert guarded.python(DNSPYTHON, server, ALLOWED).splitlines() == ["['203.0.113.11']"] * 2


def test_c_ares_resolves(guarded: World) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed (nodejs)")

    assert guarded.run("node", "-e", NODE, ALLOWED).stdout.strip() == "203.0.113.11"
    assert guarded.run("node", "-e", NODE, DENIED).stdout.strip() == "ENOTFOUND"


# nobody else is asked


@pytest.mark.usefixtures("answers")
def test_row_56_and_57_another_resolver_is_never_reached(guarded: World) -> None:
    """8.8.8.8 would answer: the control asks it from outside."""
    asked_outside = guarded.internet.netns.run(["dig", "+short", f"@{OTHER_RESOLVER}", DENIED])
    assert "203.0.113.71" in asked_outside.stdout

    with Capture(guarded.internet.netns, "eth0") as capture:
        seen = guarded.dig(f"@{OTHER_RESOLVER}", DENIED, kernel=True)
        over_tcp = guarded.dig("+tcp", f"@{OTHER_RESOLVER}", DENIED)
        assert "203.0.113.11" in guarded.dig(f"@{OTHER_RESOLVER}", ALLOWED, kernel=True)

    for answer in (seen, over_tcp):
        assert "status: NXDOMAIN" in answer
        assert "EDE: 15" in answer
    assert capture.to(OTHER_RESOLVER) == []
    assert not capture.saw(b"tracker")


@pytest.mark.usefixtures("answers")
def test_row_58_encrypted_dns_to_other_servers_is_refused(guarded: World) -> None:
    """DoT, DoQ and DoH by address: no name opened it."""
    for port, kind in ((853, "SOCK_STREAM"), (853, "SOCK_DGRAM"), (443, "SOCK_STREAM"),
                       (443, "SOCK_DGRAM"), (5443, "SOCK_DGRAM")):
        assert guarded.connect(OTHER_RESOLVER, port, kind) == "EPERM", (port, kind)


def test_a_name_that_is_refused_goes_nowhere(guarded: World) -> None:
    guarded.dig("hit.tracker.example")

    assert not guarded.internet.asked("hit.tracker.example")
    assert guarded.run("curl", "-m2", "http://203.0.113.71/").returncode != 0


def test_resolv_conf_that_names_dnsfw_itself_works_as_before(guarded: World) -> None:
    assert "203.0.113.11" in guarded.dig("@127.0.53.53", ALLOWED)
    assert "SERVER: 127.0.53.53#53" in guarded.dig("@127.0.53.53", ALLOWED)


def test_status_counts_what_was_taken(guarded: World) -> None:
    guarded.dig(f"@{NOBODY}", ALLOWED)

    packets = guarded.daemons[0].show("status")["packets"]

    assert packets["taken"]["allowed"] >= 1


# over reload, restart and crash


def test_takeover_begins_and_ends_with_a_reload(world: World) -> None:
    daemon = world.guard(policy_of([{"allow": "*.example.com:80"}]))
    world.guest = silent_guest(world, NOBODY)
    assert "203.0.113.11" not in world.dig(ALLOWED)

    assert daemon.reload(POLICY).returncode == 0
    assert "203.0.113.11" in world.dig(ALLOWED)
    assert daemon.reload(policy_of([{"allow": "*.example.com:80"}])).returncode == 0
    assert "203.0.113.11" not in world.dig(ALLOWED)


def test_row_48_after_a_crash_queries_are_refused_and_a_restart_takes_them_again(
    guarded: World,
) -> None:
    daemon = guarded.daemons[0]
    assert "203.0.113.11" in guarded.dig(ALLOWED)

    daemon.kill()
    with Capture(guarded.internet.netns, "eth0") as capture:
        assert "203.0.113.11" not in guarded.dig(f"@{OTHER_RESOLVER}", ALLOWED)
    assert capture.to(OTHER_RESOLVER) == [], "the wall leads it to a door that nobody answers"
    daemon.start()

    assert "203.0.113.11" in guarded.dig(ALLOWED)


STEALS = """
import socket, sys
for port in map(int, sys.argv[1:]):
    for address in ("127.0.53.53", "0.0.0.0"):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            s.bind((address, port))
            print("bound", end=" ")
        except OSError as error:
            print(error.errno, end=" ")
"""


def doors_of(guarded: World) -> list[str]:
    """The ports of its doors over UDP and IPv4."""
    shown = guarded.python("print(open('/proc/net/udp').read())")
    local = (line.split()[1] for line in shown.splitlines()[1:] if line.strip())
    ports = (int(place[9:], 16) for place in local if place.startswith("3535007F"))
    return sorted(str(port) for port in ports if port != 53)


@pytest.mark.one_way("nobody is answered meanwhile")
def test_row_83_the_doors_of_a_daemon_that_died_are_for_the_next_one(guarded: World) -> None:
    daemon = guarded.daemons[0]
    doors = doors_of(guarded)
    assert len(doors) == 4

    daemon.kill()
    assert guarded.python(STEALS, *doors).split() == ["1"] * 8
    daemon.start()

    assert doors_of(guarded) == doors
    assert "203.0.113.11" in guarded.dig(ALLOWED)


# another network namespace


@pytest.fixture
def box(world: World) -> Iterator[Guest]:
    """A container: the guarded cgroup in a namespace without a way out.

    It has a device, or getaddrinfo() would look for no address (AI_ADDRCONFIG).
    """
    netns = world.lab.namespace("box")
    netns.ip("link add eth0 type veth peer name eth1")
    netns.ip("link set eth0 up")
    netns.ip("addr add 10.99.0.2/24 dev eth0")
    netns.ip("addr add fd99::2/64 dev eth0")
    yield world.lab.guest(netns, world.cgroup, NOBODY, NOBODY6)


def digs(guest: Guest, *argv: str) -> str:
    return guest.run(["dig", "+time=2", "+tries=1", *argv]).stdout


def knock(guest: Guest, daemon: Daemon) -> None:
    """The first query of a namespace is refused while its doors open."""
    wait_until(lambda: "203.0.113.11" in digs(guest, ALLOWED), what="doors in the container")


def test_a_container_is_served_inside_its_own_namespace(world: World, box: Guest) -> None:
    daemon = world.guard(POLICY)
    knock(box, daemon)

    for options in ([], ["+tcp"], [f"@{NOBODY6}"], [f"@{NOBODY6}", "+tcp"]):
        assert "203.0.113.11" in digs(box, *options, ALLOWED), options
    assert "status: NXDOMAIN" in digs(box, DENIED)
    assert "203.0.113.11" in box.run(["getent", "ahostsv4", ALLOWED]).stdout
    assert box.run([compiled(world.lab), ALLOWED]).returncode == 0


def test_a_container_is_answered_by_the_kernel_on_its_own_lo_until_its_doors_close(
    world: World, box: Guest
) -> None:
    """As the role of its socket, which no mark and no root of that namespace can change."""
    daemon = world.guard(POLICY)
    knock(box, daemon)

    def answered() -> int:
        return int(daemon.show("status")["kernel_answers"]["answered"])

    for _ in range(3):
        digs(box, "+nocookie", ALLOWED)
    before = answered()
    seen = digs(box, "+nocookie", ALLOWED)
    assert "203.0.113.11" in seen and f"SERVER: {NOBODY}#53" in seen
    assert answered() == before + 1

    assert daemon.reload(POLICY.replace("*.example.com", "other.example")).returncode == 0
    assert "status: NXDOMAIN" in digs(box, "+nocookie", ALLOWED)
    daemon.signal(signal.SIGINT)
    with box.netns.entered():
        assert prog_query(1, AttachType.TCX_EGRESS) == ()


def test_row_48_a_container_is_answered_while_the_daemon_is_dead_and_when_it_is_back(
    world: World, box: Guest
) -> None:
    """On its own lo: what answers there is pinned, and the doors are where they were."""
    daemon = world.guard(POLICY)
    box.start(["sleep", "60"])  # whom the next daemon finds there
    knock(box, daemon)
    for _ in range(3):
        digs(box, "+nocookie", ALLOWED)
    daemon.noted()
    asker = box.start([sys.executable, "-u", "-c", ALL_THE_TIME])
    assert asker.stdout is not None and asker.stdout.readline() == "ready\n"

    daemon.kill()
    assert "203.0.113.11" in digs(box, "+nocookie", ALLOWED)
    assert "203.0.113.13" not in digs(box, "+nocookie", "only4.example.com")  # nobody to ask
    daemon.start()
    assert "203.0.113.13" in digs(box, "+nocookie", "only4.example.com")  # without a knock
    asker.send_signal(signal.SIGTERM)
    asked, failed = map(int, asker.stdout.read().split())

    assert asked > 10 and failed == 0
    with box.netns.entered():
        assert len(prog_query(1, AttachType.TCX_EGRESS)) == 1
    daemon.signal(signal.SIGINT)
    with box.netns.entered():
        assert prog_query(1, AttachType.TCX_EGRESS) == ()


def test_what_answers_in_a_container_goes_with_it_and_with_its_doors(world: World) -> None:
    box: Netns = world.lab.namespace("gone")
    guest = world.lab.guest(box, world.cgroup, NOBODY)
    daemon = world.guard(POLICY)
    knock(guest, daemon)
    pins = world.lab.bpffs() / "dnsfw"
    assert len(list(pins.rglob("lo_*"))) == 1

    daemon.kill()
    box.close()
    daemon.start()

    assert list(pins.rglob("lo_*")) == []


def test_a_containers_socket_opens_doors_before_its_first_query(world: World, box: Guest) -> None:
    world.guard(POLICY)

    done = box.run([sys.executable, "-c", (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "time.sleep(1)\n"  # a runtime that sets up, an interpreter that imports
        f"print(socket.getaddrinfo({ALLOWED!r}, 80)[0][4][0])"
    )])  # fmt: skip

    assert done.stdout.strip() in ("203.0.113.11", "2001:db8::11"), done.stderr


def test_a_container_whose_lo_is_down_is_refused_with_the_reason(
    world: World, box: Guest
) -> None:
    box.netns.ip("link set lo down")
    daemon = world.guard(POLICY)

    sleeper = box.start([sys.executable, "-c", (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )])  # fmt: skip
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "ready\n"

    assert "203.0.113.11" not in digs(box, ALLOWED)
    wait_until(lambda: "its lo is down" in "".join(daemon.said), what="the reason in the log")
    state = box.netns.run(["ip", "-br", "link", "show", "lo"]).stdout
    assert "DOWN" in state, "nobody brought it up"


def test_doors_do_not_keep_a_containers_namespace_alive(world: World) -> None:
    """A veth goes with its namespace; a socket of ours would hold both."""
    box: Netns = world.lab.namespace("gone")
    world.host.ip("link add away type veth peer name eth0 netns " + box.name)
    guest = world.lab.guest(box, world.cgroup, NOBODY)
    knock(guest, world.guard(POLICY))

    box.close()

    def away() -> bool:
        return world.host.run(["ip", "link", "show", "away"]).returncode != 0

    wait_until(away, 30, "the end of the namespace")


def test_a_restart_serves_the_container_again(world: World, box: Guest) -> None:
    daemon = world.guard(POLICY)
    knock(box, daemon)

    daemon.kill()
    daemon.start()

    knock(box, daemon)


def test_nothing_is_left_in_a_container_after_down(world: World, box: Guest) -> None:
    daemon = world.guard(POLICY)
    knock(box, daemon)

    assert daemon.command("down").returncode == 0

    assert box.netns.run(["ss", "-Hlntu"]).stdout == ""


# Asks until SIGTERM, again and again by one socket; prints how often, and how often in vain.
ALL_THE_TIME = f"""
import signal, socket, sys, time
running = True
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
query = b"beef"[:2] + bytes.fromhex("01000001000000000000")
query += b"\\x03www\\x07example\\x03com\\0\\0\\1\\0\\1"
asked = failed = 0
print("ready")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
while running:
    asked += 1
    try:
        s.sendto(query, ({NOBODY!r}, 53))
        reply, peer = s.recvfrom(512)
        failed += reply[-4:] != bytes((203, 0, 113, 11)) or peer[0] != {NOBODY!r}
    except OSError:
        failed += 1
    time.sleep(0.01)
print(asked, failed)
"""


# whose query it is


def two_roles(world: World, *servers: str) -> tuple[Guest, Guest]:
    """Workloads of the roles `web`, which may ask for ALLOWED, and `db`, which may not."""
    made = [below(world, name) for name in ("web", "db")]
    policy = {
        "version": 1, "default": "deny", "rules": [{"allow": "nothing.example"}],
        "dns": {"takeover": True},
        "roles": {
            "web": role([{"cgroup": subject_path(made[0])}]),
            "db": role([{"cgroup": subject_path(made[1])}], [{"allow": "only4.example.com:80"}]),
        },
    }  # fmt: skip
    world.guard(json.dumps(policy))
    web, db = (world.lab.guest(world.host, cgroup, *servers) for cgroup in made)
    return web, db


@pytest.mark.parametrize("options", [(), ("+tcp",)], ids=["udp", "tcp"])
@pytest.mark.parametrize("server", [NOBODY, NOBODY6])
def test_a_taken_query_is_judged_as_the_role_that_sends_it(
    world: World, server: str, options: tuple[str, ...]
) -> None:
    web, db = two_roles(world, server)

    assert "203.0.113.11" in digs(web, *options, ALLOWED)
    assert "status: NXDOMAIN" in digs(db, *options, ALLOWED)
    assert "203.0.113.13" in digs(db, *options, "only4.example.com")


# Asks for www.example.com with a mark of its own choice; prints the answer's code.
FORGED = f"""
import socket, subprocess, sys, time
if sys.argv[1] == "alone":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
query = bytes.fromhex("beef01000001000000000000") + b"\\x03www\\x07example\\x03com\\0\\0\\1\\0\\1"
for attempt in range(100):  # its doors open while it knocks
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(3)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(sys.argv[2]))
            s.sendto(query, ({NOBODY!r}, 53))
            print(s.recv(512)[3] & 15)
            break
    except PermissionError:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("place", ["here", "alone"])
def test_nobody_chooses_his_role_by_a_mark(world: World, place: str) -> None:
    """SO_MARK is root's, and anybody's in a namespace that he made himself (unshare -rUn)."""
    nxdomain = "3"
    web, db = two_roles(world, NOBODY)
    assert "203.0.113.11" in digs(web, ALLOWED)
    number = next(r["id"] for r in world.daemons[0].show("status")["roles"] if r["name"] == "web")
    alone = ["unshare", "-rUn"] if place == "alone" else []

    done = db.run([*alone, sys.executable, "-c", FORGED, place, str(number)])

    assert done.stdout.strip() == nxdomain, done.stderr


# Root of a namespace of his own rewrites marks there after the hooks have written them.
REWRITTEN = f"""
import socket, subprocess, sys, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
rules = (
    "add table ip t\\nadd chain ip t c {{ type filter hook prerouting priority -300; }}\\n"
    "add rule ip t c meta mark set " + sys.argv[2]
)
subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
query = bytes.fromhex("beef01000001000000000000") + b"\\x03www\\x07example\\x03com\\0\\0\\1\\0\\1"
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
for attempt in range(100):
    try:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(3)
            s.connect(({NOBODY!r}, 53))
            stream = kind == socket.SOCK_STREAM
            s.send(len(query).to_bytes(2, "big") + query if stream else query)
            print(s.recv(512)[5 if stream else 3] & 15)
            break
    except PermissionError:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_nobody_chooses_his_role_by_rules_in_a_namespace_of_his_own(
    world: World, kind: str
) -> None:
    """Packet filters there run behind the hook: no mark of theirs is a role's."""
    web, db = two_roles(world, NOBODY)
    assert "203.0.113.11" in digs(web, ALLOWED)
    number = next(r["id"] for r in world.daemons[0].show("status")["roles"] if r["name"] == "web")

    done = db.run(["unshare", "-rUn", sys.executable, "-c", REWRITTEN, kind, str(number)])

    assert done.stdout.strip() in {"3", "5"}, done  # NXDOMAIN, or refused


def test_who_is_not_guarded_is_refused_and_never_taken_for_host(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com"}], dns={"takeover": True}))
    outside = world.lab.guest(world.host, None, "127.0.53.53")

    for options in ([], ["+tcp"]):
        answer = digs(outside, *options, ALLOWED)
        assert "status: REFUSED" in answer, answer
        assert "EDE: 18" in answer
