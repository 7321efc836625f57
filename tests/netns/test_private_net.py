"""`dnsfw run --net private`: a namespace behind a veth whose host end is the wall."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath.links import prog_query
from dnsfw.datapath.syscall import AttachType
from tests.support.internet import HOST4, UNBOUND6
from tests.support.netlab import Capture, wait_until
from tests.support.running_command import Runs
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
    pytest.mark.skipif(not Path("/usr/sbin/nft").exists(), reason="no nft"),
]

WWW = "www.example.com"
PRIVATE = ("--net", "private")
FETCH = f"curl -sS --max-time 5 http://{WWW}/"
NEVER = "203.0.113.9"
LO = 1

# A whole UDP datagram in a frame, past every queue: row 17. Only the host's end can see it.
BYPASS = """
import socket, struct, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
sock.bind(("eth0", 0))
sock.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
mac = bytes.fromhex(open("/proc/net/arp").read().split(GW)[1].split()[2].replace(":", ""))
own = sock.getsockname()[4]
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def send(to, port):
    payload = b"bypass-" + to.encode()
    payload += b"x" * (len(payload) % 2)
    udp = struct.pack("!HHHH", 5555, port, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                       socket.inet_aton(MINE), socket.inet_aton(to))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    sock.send(mac + own + b"\\x08\\x00" + head + udp)
for target in sys.argv[1:]:
    for _ in range(5):
        send(target, 9999)
print("sent")
"""
ADDRESSES = """
import socket, subprocess, time
def words(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.split()
route, addr = words("ip", "-4", "route"), words("ip", "-4", "-o", "addr", "show", "eth0")
GW, MINE = route[route.index("via") + 1], addr[3].partition("/")[0]
# What is allowed makes the neighbour known.
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.5", 9999))
while not (table := open("/proc/net/arp").read()).count(GW) or "00:00:00:00:00:00" in table:
    time.sleep(0.02)
"""


@pytest.fixture
def runs(world: World) -> Runs:
    return Runs(world)


def tables(runs: Runs) -> str:
    return runs.world.host.run(["nft", "list", "tables"]).stdout


def devices(runs: Runs) -> str:
    """Their names."""
    return runs.world.host.run(["ls", "/proc/sys/net/ipv4/conf"]).stdout


def forwarding(runs: Runs) -> str:
    keys = ["net.ipv4.conf.eth0.forwarding", "net.ipv4.ip_forward",
            "net.ipv6.conf.all.forwarding"]
    return runs.world.host.run(["sysctl", "-n", *keys]).stdout


def test_switches_go_back_although_a_killed_run_left_a_note(runs: Runs) -> None:
    """Numbers of namespaces come again, and with them what was noted of one that is gone."""
    before = forwarding(runs)
    number = Path(runs.world.host.path).stat().st_ino
    left = Path(f"/run/dnsfw-run/{number}/4194304.json")  # no process has this number
    left.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    left.write_text(json.dumps({"/proc/sys/net/ipv4/conf/eth0/forwarding": "0"}))
    try:
        assert runs.sh("true", *PRIVATE).code == 0

        assert forwarding(runs) == before
        assert not left.exists()
    finally:
        left.unlink(missing_ok=True)


def test_an_allowed_name_is_reached_through_nat_and_another_is_not(runs: Runs) -> None:
    before = forwarding(runs)

    done = runs.sh(
        f"{FETCH}; curl -sS --max-time 5 http://{NEVER}/; echo $?; ip -o link | wc -l",
        *PRIVATE, "--allow", f"{WWW}:80",
    )

    assert done.code == 0, done.err
    assert "hello from" in done.out
    assert done.out.split()[-2:] == ["7", "2"]  # refused at once; lo and eth0
    assert runs.left_nothing()
    assert "dnsfw" not in tables(runs)
    assert "dnsfw" not in devices(runs)
    assert forwarding(runs) == before


def test_over_ipv6_too(runs: Runs) -> None:
    done = runs.sh(f"curl -6 -sS --max-time 5 http://{WWW}/", *PRIVATE, "--allow", f"{WWW}:80")

    if "IPv4 only" in done.err:
        pytest.skip("no forwarding of one device for IPv6 here")
    assert "hello from 2001:db8" in done.out, done.err


@pytest.mark.skipif(
    not Path("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists(), reason="before Linux 6.17"
)
def test_on_a_host_without_ipv4(runs: Runs) -> None:
    runs.world.host.ip("route del default")
    runs.guest = runs.lab.guest(runs.world.host, runs.cgroup, UNBOUND6)

    done = runs.sh(FETCH, *PRIVATE, "--allow", f"{WWW}:80")

    assert "hello from 2001:db8" in done.out, done.err
    assert "IPv6 only" in done.err


def test_row_17_frames_that_skip_queueing_are_judged_at_the_hosts_end(runs: Runs) -> None:
    code = "import sys\n" + ADDRESSES + BYPASS
    with Capture(runs.world.host, "eth0") as capture:
        done = runs.python(
            code, NEVER, "203.0.113.5",
            options=(*PRIVATE, "--allow", "203.0.113.5:9999/udp"),
        )
        assert done.out == "sent\n", done.err
        wait_until(lambda: capture.saw(b"bypass-203.0.113.5"), what="the allowed frame")

        assert not capture.saw(b"bypass-203.0.113.9")


def test_the_host_itself_and_its_services_are_not_open(runs: Runs) -> None:
    runs.world.host.start([sys.executable, "-m", "http.server", "8097"])
    probe = ["curl", "-sS", "--max-time", "5", "http://127.0.0.1:8097/"]
    wait_until(lambda: runs.world.host.run(probe).returncode == 0, what="the host's server")

    done = runs.sh(
        f"gw=$(ip -4 route | awk '/default/ {{print $3}}'); for a in {HOST4} $gw 127.0.0.1; do "
        "curl -s -o /dev/null --max-time 3 http://$a:8097/ && echo reached; done; true",
        *PRIVATE, "--allow", f"{WWW}:80",
    )

    assert done.out == ""


def carries_nothing(runs: Runs) -> bool:
    """Whether no program stands on the host's own lo."""
    with runs.world.host.entered():
        return not any(prog_query(LO, kind) for kind in (
            AttachType.TCX_EGRESS, AttachType.TCX_INGRESS
        ))  # fmt: skip


ASKS = """
import socket, struct, sys
def ask(name):
    labels = b"".join(bytes((len(p),)) + p.encode() for p in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1",
                 ("192.0.2.53", 53))
        reply, peer = s.recvfrom(512)
    return reply[3] & 15, reply[-4:], peer[0]
for name in sys.argv[1:]:
    print(len({ask(name) for _ in range(6)}), *ask(name))
"""


def test_what_is_asked_again_is_answered_on_its_own_lo_and_the_hosts_is_not_touched(
    runs: Runs,
) -> None:
    """The kernel says the same as we did, and what it refuses is in the summary all the same."""
    code = ASKS + "sys.stdout.flush(); sys.stdin.readline()\n"
    command = [sys.executable, "-c", code, WWW, "other.example.net"]
    report = runs.lab.scratch / "report.json"
    run = runs.start(
        *PRIVATE, "--allow", f"{WWW}:80", "--report", str(report), command=command,
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert run.stdout is not None and run.stdin is not None
    said = [run.stdout.readline().split(maxsplit=2) for _ in range(2)]

    assert carries_nothing(runs)
    assert [pin for pin in runs.bpffs.rglob("lo_*")]
    run.stdin.write("\n")
    run.stdin.close()
    assert run.wait(20) == 0

    assert [words[:2] for words in said] == [["1", "0"], ["1", "3"]]
    assert repr(bytes((203, 0, 113, 11))) in said[0][2] and "192.0.2.53" in said[1][2]
    told = json.loads(report.read_text())
    assert told["kernel_answers"]["answered"] >= 3 and told["kernel_answers"]["refused"] >= 3
    (row,) = told["observed"]
    assert (row["name"], row["count"]) == ("other.example.net", 7)
    assert runs.left_nothing() and carries_nothing(runs)


def test_where_the_policy_says_off_every_question_of_a_run_comes_to_us(runs: Runs) -> None:
    policy = runs.file("policy.yaml", policy_of(
        [{"allow": f"{WWW}:80"}], dns={"kernel_answers": "off"}
    ))  # fmt: skip

    done = runs.python(ASKS, WWW, options=(*PRIVATE, "--policy", str(policy)))

    assert done.out.split()[:2] == ["1", "0"], done.err
    assert done.report["kernel_answers"] == {"answered": 0, "refused": 0}


def test_a_run_on_the_hosts_own_network_leaves_its_lo_alone(runs: Runs) -> None:
    run = runs.start("--allow", f"{WWW}:80", command=["sh", "-c", "echo ready; exec sleep 60"])
    assert run.stdout is not None and run.stdout.readline() == "ready\n"

    assert carries_nothing(runs)
    run.send_signal(signal.SIGTERM)
    assert run.wait(20) == 143


def test_nobody_comes_in(runs: Runs) -> None:
    run = runs.start(
        *PRIVATE, "--default", "deny", "-q",
        command=["sh", "-c", "ip -4 -o addr show eth0; exec python3 -m http.server 8096"],
    )
    assert run.stdout is not None
    address = run.stdout.readline().split()[3].partition("/")[0]

    reached = runs.world.host.run(["curl", "-sS", "--max-time", "3", f"http://{address}:8096/"])

    assert reached.returncode != 0
    run.send_signal(signal.SIGTERM)
    run.wait(20)


def test_two_private_runs_and_the_first_to_end_takes_nothing_from_the_other(runs: Runs) -> None:
    go = runs.lab.scratch / "go"
    script = f"while [ ! -e {go} ]; do sleep 0.05; done; {FETCH}"
    first = runs.start(*PRIVATE, "--allow", f"{WWW}:80", command=["sh", "-c", "sleep 60"])
    wait_until(lambda: "dnsfw_run" in tables(runs), what="the first")
    second = runs.start(*PRIVATE, "--allow", f"{WWW}:80", "-q", command=["sh", "-c", script])
    wait_until(lambda: tables(runs).count("dnsfw_run") == 2, what="the second")

    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 143
    go.touch()

    assert "hello from" in second.communicate(timeout=30)[0]
    assert "dnsfw_run" not in tables(runs)
    assert forwarding(runs).split()[0] == "0"


def test_row_48_kill_9_takes_the_network_away_too(runs: Runs) -> None:
    run = runs.start(*PRIVATE, "--default", "deny", command=["sleep", "60"])
    wait_until(lambda: "dnsfw_run" in tables(runs), what="its network")
    wait_until(lambda: runs.cgroups(), what="its cgroup")

    run.kill()
    run.wait(10)

    wait_until(runs.left_nothing, what="the guard's work")
    wait_until(lambda: "dnsfw" not in tables(runs) + devices(runs), what="the network's end")
    assert forwarding(runs).split()[0] == "0"


def test_without_nft_it_says_what_to_install(runs: Runs) -> None:
    runs.environment["PATH"] = str(Path(sys.executable).parent)
    argv = runs.argv(*PRIVATE, "--default", "deny", command=["/bin/true"])

    done = subprocess.run(
        ["/usr/bin/nsenter", f"--net={runs.world.host.path}", "--", *argv],
        capture_output=True, text=True, env=runs.environment, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 3
    assert "apt install nftables" in done.stderr
    assert "dnsfw" not in devices(runs)
