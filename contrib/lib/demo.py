"""What quickstart shows: a guarded host and an internet, both in namespaces of their own.

    guarded host 10.77.0.2 ── eth0 ── eth0 ── 10.77.0.1 internet (DNS, web)

Nothing of the machine's is touched: see tests/support/netlab.py.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.daemon import LISTEN, Daemon  # noqa: E402
from tests.support.netlab import Guest, Lab, Netns, wait_until  # noqa: E402

DNS = "198.51.100.53"
POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.example.com:80"
    ttl: {min: 1s, grace: 2s}
  - deny: "*.tracker.example"
"""
WIDTH = 78
LINES = 12  # of one command's output
_tty = sys.stdout.isatty() and "NO_COLOR" not in os.environ
BOLD, DIM, GREEN, RED, PLAIN = (
    f"\033[{code}m" if _tty else "" for code in ("1", "2", "32", "31", "0")
)


class Unexpected(Exception):
    """The firewall did not do what this page says it does."""


def title(number: int, text: str) -> None:
    print(f"\n{BOLD}{number}  {text}{PLAIN}")


def shown(command: str, answer: str, verdict: str, good: bool) -> None:
    """A command, what came of it, and a mark at the right edge."""
    mark = f"{GREEN}✓{PLAIN}" if good else f"{RED}✗{PLAIN}"
    print(f"   {DIM}$ {command}{PLAIN}")
    for line in answer.strip().splitlines()[:-1]:
        print(f"   {line[:WIDTH - 3]}")
    last = (answer.strip().splitlines() or [""])[-1][: WIDTH - 17]
    print(f"   {last:<{WIDTH - 16}} {mark} {verdict}", flush=True)
    if not good:
        raise Unexpected(f"`{command}` was not {verdict}")


def internet(lab: Lab) -> tuple[Netns, Path]:
    """A nameserver and a web server that own three networks; and the nameserver's log."""
    net = lab.namespace("internet")
    for prefix in ("203.0.113.0/24", "198.51.100.0/24"):
        net.ip(f"route add local {prefix} dev lo")
    net.ip("-6 route add local 2001:db8::/32 dev lo")
    log = lab.file("asked.log", "")
    with log.open("w") as asked:
        net.start([sys.executable, str(ROOT / "contrib/lib/toy_dns.py"), DNS], stdout=asked)
    web = net.start([sys.executable, str(ROOT / "tests/support/web.py"), "80"])
    assert web.stdout is not None
    web.stdout.readline()
    wait_until(lambda: "ready" in log.read_text(), what="the toy nameserver")
    return net, log


def plug_in(lab: Lab, net: Netns, host: Netns) -> None:
    lab.link(host, net)
    net.ip("addr add 10.77.0.1/24 dev eth0")
    net.ip("addr add fd77::1/64 dev eth0")
    host.ip("addr add 10.77.0.2/24 dev eth0")
    host.ip("addr add fd77::2/64 dev eth0")
    host.ip("route add default via 10.77.0.1")
    host.ip("-6 route add default via fd77::1")


def curl(guest: Guest, url: str) -> subprocess.CompletedProcess[str]:
    return guest.run(["curl", "-sS", "--max-time", "5", url])


_CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], 80), 3):
        print("connected")
except OSError as error:
    print(f"connect: {error}")
"""


def connect(guest: Guest, address: str) -> str:
    """connect() to a bare address: the errno is what the application sees."""
    return guest.run([sys.executable, "-c", _CONNECT, address]).stdout.strip()


def tour(guest: Guest, daemon: Daemon, log: Path) -> None:
    print(f"A guarded host and an internet, each in a network namespace.\n{DIM}")
    for line in POLICY.splitlines():
        print(f"   {line}")
    print(PLAIN, end="")

    title(1, "Allowed by a wildcard: opened in the kernel, then answered")
    got = curl(guest, "http://www.example.com/")
    shown("curl http://www.example.com/", got.stdout or got.stderr, "passed", not got.returncode)

    title(2, "Refused by name: no byte of the query goes upstream")
    got = curl(guest, "http://ads.tracker.example/")
    silent = "tracker" not in log.read_text()
    shown("curl http://ads.tracker.example/", got.stdout or got.stderr, "refused",
          got.returncode != 0 and silent)

    title(3, "Refused by address: never resolved here, so the kernel says no")
    said = connect(guest, "203.0.113.66")
    shown("connect 203.0.113.66:80", said, "refused", "Errno 1" in said)

    title(4, "Expired: a TTL of 2 s and 2 s of grace, then the door closes")
    got = curl(guest, "http://short.example.com/")
    shown("curl http://short.example.com/", got.stdout or got.stderr, "passed",
          not got.returncode)
    time.sleep(4.5)  # the lifetime of that grant is what is shown
    said = connect(guest, "203.0.113.30")
    shown("sleep 4.5; connect 203.0.113.30:80", said, "refused", "Errno 1" in said)

    title(5, "What the firewall saw")
    said = "".join(daemon.said).splitlines()
    told = (line.partition(" ")[2] for line in said)
    excerpt("dnsfw up", [line for line in told if line.startswith(("denied", "refused"))])
    excerpt("dnsfw grants", daemon.command("grants").stdout.splitlines())
    status = daemon.command("status").stdout.splitlines()
    packets = next(at for at, line in enumerate(status) if line.startswith("packets"))
    after = next(at for at, line in enumerate(status) if at > packets and line[:1].strip())
    excerpt("dnsfw status", [*status[:1], "...", *status[packets:after], "..."])


def excerpt(command: str, lines: list[str]) -> None:
    """Some lines of a command's output, each cut to the page."""
    print(f"   {DIM}$ {command}{PLAIN}")
    for line in lines[-LINES:]:
        print(f"   {line[: WIDTH - 1]}")


def main() -> int:
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab("quickstart"))
        lab.closing(lab.forget)
        net, log = internet(lab)
        host = lab.namespace("host")
        plug_in(lab, net, host)
        cgroup = lab.cgroup()
        daemon = Daemon(
            lab, host, cgroup, POLICY, upstreams=[DNS], listen=[f"{LISTEN}:53"]
        )
        daemon.start()
        tour(lab.guest(host, cgroup, LISTEN), daemon, log)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unexpected, AssertionError, RuntimeError) as error:
        print(f"\nquickstart could not show it: {error}", file=sys.stderr)
        sys.exit(3)
