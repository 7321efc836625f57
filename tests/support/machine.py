"""A whole machine behind `dnsfw up`, with an internet in a namespace of its own.

    the machine 10.77.0.2 ── eth0 ── eth0 ── 10.77.0.1 internet (DNS, web, a caller)

The internet stands for two things: what is far away, and a container of the machine
that was there before the wall. Only for kernels booted by contrib/test --kernels.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from dnslib import DNSRecord

from tests.support.daemon import LISTEN, ROOT, dnsfw_argv
from tests.support.netlab import Lab, Netns, sh, wait_until

DNS = "198.51.100.53"
CALLER = "10.77.0.1"
HOST, HOST6 = "10.77.0.2", "fd77::2"
POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.example.com:80"
    ttl: {min: 15m}  # of an emulated CPU
  - deny: "*.tracker.example"
"""
PATIENCE = 180.0  # seconds until `ready`: an emulated CPU on a busy machine
SOON = 20.0  # seconds for what takes milliseconds


class Machine:
    """The machine, what is plugged into it, and the firewall of its own."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.internet = lab.namespace("internet")
        self._plug_in()
        self._asked = lab.file("asked.log", "")
        self._serve()
        self.older = socket.create_server((HOST, 8080))  # listens before there is a wall
        lab.closing(self.older.close)
        # A container's, who will speak to whom this machine may not
        self.stranger = self.internet.socket(socket.AF_INET, socket.SOCK_DGRAM)
        lab.closing(self.stranger.close)
        self.said: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        lab.closing(self.end)

    def _plug_in(self) -> None:
        far = self.internet
        sh(*f"ip link add eth0 type veth peer name eth0 netns {far.name}".split())
        self.lab.closing(sh, "ip", "link", "del", "eth0")
        far.ip("link set eth0 up")
        for prefix in ("203.0.113.0/24", "198.51.100.0/24"):
            far.ip(f"route add local {prefix} dev lo")
        far.ip("-6 route add local 2001:db8::/32 dev lo")
        far.ip(f"addr add {CALLER}/24 dev eth0")
        far.ip("addr add fd77::1/64 dev eth0 nodad")
        for command in (
            "link set lo up", "link set eth0 up", f"addr add {HOST}/24 dev eth0",
            f"addr add {HOST6}/64 dev eth0 nodad", f"route add default via {CALLER}",
            "-6 route add default via fd77::1",
        ):
            sh("ip", *command.split())

    def _serve(self) -> None:
        toy = [sys.executable, str(ROOT / "contrib/lib/toy_dns.py"), DNS]
        with self._asked.open("w") as log:
            self.internet.start(toy, stdout=log)
        web = self.internet.start([sys.executable, str(ROOT / "tests/support/web.py"), "80"])
        assert web.stdout is not None
        web.stdout.readline()
        wait_until(lambda: "ready" in self.asked(), PATIENCE, "the toy nameserver")

    def asked(self) -> str:
        """Every query that the nameserver got."""
        return self._asked.read_text()

    # the firewall

    def up(self) -> None:
        """`dnsfw up` as an operator types it; returns when it is ready."""
        policy = self.lab.file("policy.yaml", POLICY)
        argv = [*dnsfw_argv(), "up", "--policy", str(policy), "--upstream", DNS]
        process = subprocess.Popen(
            argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.process, self.said = process, []
        ready = threading.Event()
        threading.Thread(target=self._listen, args=(process, ready), daemon=True).start()
        deadline = time.monotonic() + PATIENCE
        while not ready.wait(0.1):
            if process.poll() is not None or time.monotonic() > deadline:
                time.sleep(1)  # its last words
                raise AssertionError(f"exit {process.poll()}, not ready:\n" + "".join(self.said))

    def _listen(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(line)
            if line.startswith("ready"):
                ready.set()

    def end(self, how: int = signal.SIGINT) -> int | None:
        """Its exit status, or None if it does not run."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def command(self, *argv: str) -> str:
        """What another dnsfw command says."""
        done = subprocess.run(
            [*dnsfw_argv(), *argv], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # programs of the machine; this process is one

    def resolve(self, name: str, kind: str = "A") -> DNSRecord:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(SOON)
            sock.sendto(DNSRecord.question(name, kind).pack(), (LISTEN, 53))
            return DNSRecord.parse(sock.recv(4096))

    def fetch(self, address: str) -> str:
        with socket.create_connection((address, 80), SOON) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with sock.makefile() as page:
                return page.read()

    def traces(self) -> dict[str, str]:
        """Everything that a firewall could have left."""
        looks = {
            "links": "bpftool link show",
            "programs": "bpftool prog show",
            "maps": "bpftool map show",
            "qdiscs": "tc qdisc",
            "addresses": "ip -o addr",
            "routes": "ip route show table all",
        }
        seen = {what: _dnsfw_only(what, sh(*look.split()).stdout) for what, look in looks.items()}
        for directory in ("/run/dnsfw", "/sys/fs/bpf"):
            # A lock that is unlinked could be held twice: the file stays, empty.
            found = {str(path) for path in Path(directory).rglob("*")} - {"/run/dnsfw/lock"}
            seen[directory] = "\n".join(sorted(found))
        seen["resolv.conf"] = Path("/etc/resolv.conf").read_text()
        return seen


def _dnsfw_only(what: str, text: str) -> str:
    """A machine has programs of its own, whose numbers and times change."""
    if what not in ("programs", "maps"):
        return text
    return "\n".join(line for line in text.splitlines() if "dnsfw" in line)


def kernel_at_least(*wanted: int) -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= wanted


def from_outside(netns: Netns, act: str) -> str:
    """What a program of another namespace prints, in the same (root) cgroup."""
    done = netns.run([sys.executable, "-c", act], timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
