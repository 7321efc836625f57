"""The world of the end-to-end tests: an internet, a guarded host, programs in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.daemon import LISTEN, Daemon
from tests.support.internet import UNBOUND, Internet, open_internet, plug_in
from tests.support.netlab import Cgroup, Guest, Lab, Netns

_CONNECT = """
import errno, socket, sys
host, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, getattr(socket, kind)) as s:
    s.settimeout(float(sys.argv[4]))
    try:
        s.connect((host, port))
        if kind == "SOCK_DGRAM":
            s.send(b"ping")
            s.recv(100)
        print("OK")
    except TimeoutError:
        print("TIMEOUT")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@dataclass(slots=True)
class World:
    """An internet and a host whose every program runs in one guarded cgroup."""

    lab: Lab
    internet: Internet
    host: Netns
    cgroup: Cgroup
    guest: Guest  # the workload: dnsfw is its only nameserver
    daemons: list[Daemon] = field(default_factory=list)
    asks: int = 1  # how often `dig` asks each question

    def guard(self, policy: str, **options: Any) -> Daemon:
        """Start `dnsfw up` under this policy; it is ready when this returns."""
        return self.prepare(policy, **options).start()

    def prepare(self, policy: str, **options: Any) -> Daemon:
        options.setdefault("upstreams", (UNBOUND,))
        daemon = Daemon(self.lab, self.host, self.cgroup, policy, **options)
        self.daemons.append(daemon)
        return daemon

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A program of the workload."""
        return self.guest.run(argv, **options)

    def python(self, code: str, *args: str, **options: Any) -> str:
        """What a Python program of the workload prints."""
        done = self.run(sys.executable, "-c", code, *args, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start_python(self, code: str, *args: str, **options: Any) -> subprocess.Popen[str]:
        return self.guest.start([sys.executable, "-u", "-c", code, *args], **options)

    def curl(self, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("curl", "-sS", "--max-time", "5", *options, url)

    def fetches(self, url: str, *options: str) -> bool:
        return "hello from" in self.curl(url, *options).stdout

    def connect(
        self, host: str, port: int = 80, kind: str = "SOCK_STREAM", wait: float = 2.0
    ) -> str:
        """OK, TIMEOUT or the errno's name: what connect() to a bare address gives."""
        return self.python(_CONNECT, host, str(port), kind, str(wait))

    def dig(self, *argv: str) -> str:
        """What dig says; a cookie would always lead past the kernel's answers.

        Asked `asks` times, the daemon answers first and the kernel later: all must agree.
        """
        told = [
            self.run("dig", "+time=2", "+tries=1", "+nocookie", *argv).stdout
            for _ in range(self.asks)
        ]
        assert len({_meaning(text) for text in told}) == 1, "\n".join(told)
        return told[-1]

    def addresses(self, name: str, kind: str = "A") -> list[str]:
        return self.dig("+short", name, kind).split()


def _meaning(said: str) -> tuple[str, ...]:
    """What dig says but for TTLs, ids, the order of records and its own remarks."""
    kept = []
    for line in said.splitlines():
        if "status: " in line:
            kept.append(line.split("status: ")[1].split(",")[0])
        elif line and not line.startswith(";"):
            words = line.split()
            kept.append(" ".join(w for at, w in enumerate(words) if at != 1 or not w.isdigit()))
    return tuple(sorted(kept))


def open_world(lab: Lab) -> World:
    internet = open_internet(lab)
    host = lab.namespace("host")
    plug_in(lab, internet.netns, host)
    cgroup = lab.cgroup()
    return World(lab, internet, host, cgroup, lab.guest(host, cgroup, LISTEN))


def policy_of(rules: Sequence[Any], default: str = "deny", **more: Any) -> str:
    """A policy file of these rules (JSON is YAML)."""
    return json.dumps({"version": 1, "default": default, "rules": list(rules), **more})
