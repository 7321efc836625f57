"""The world of the end-to-end tests: an internet, a guarded host, programs in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.support.both_ways import Mode, again, dig_meaning, in_a_role, reaches_the_kernel
from tests.support.daemon import LISTEN, Daemon
from tests.support.internet import UNBOUND, Internet, open_internet, plug_in
from tests.support.netlab import Cgroup, Guest, Lab, Netns

T = TypeVar("T")

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
    mode: Mode | None = None  # of tests that are run both ways
    shared: bool = False  # by all tests of a module: one daemon, and for each test a role
    _turn: int = 0

    def guard(self, policy: str, **options: Any) -> Daemon:
        """Start `dnsfw up` under this policy; it is ready when this returns."""
        if not self.shared or not self.daemons:
            return self.prepare(policy, **options).start()
        assert not options, "the daemon of a whole module is as it was started"
        (daemon,) = self.daemons
        daemon.put(policy)
        daemon.ask("reload")
        return daemon

    def prepare(self, policy: str, **options: Any) -> Daemon:
        options.setdefault("upstreams", (UNBOUND,))
        options.setdefault("shape", self._shaped)
        daemon = Daemon(self.lab, self.host, self.cgroup, policy, **options)
        self.daemons.append(daemon)
        return daemon

    def next_test(self) -> None:
        """Of a shared world: nobody has asked for anything yet, as far as can be seen."""
        self._turn += 1
        self.guest = self.lab.guest(self.host, self.cgroup, LISTEN)
        self.internet.unbound_log.write_text("")

    def _shaped(self, policy: str) -> str:
        if self.mode is not None:
            policy = self.mode.policy(policy)
        if self.shared:
            policy = in_a_role(policy, f"test{self._turn}", f"/{self.cgroup.path.name}")
        return policy

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
        """Whether it is there; asked again where a name is asked for both ways."""
        host = urlsplit(url).hostname or ""
        by_name = not host.replace(".", "").isdigit() and ":" not in host
        return self.again(lambda: "hello from" in self.curl(url, *options).stdout, kernel=by_name)

    def again(self, act: Callable[[], T], *, kernel: bool = True) -> T:
        """Once; or, both ways, until the kernel has answered what it asks for."""
        return act() if self.mode is None else again(act, self._view, self.mode, kernel=kernel)

    def connect(
        self, host: str, port: int = 80, kind: str = "SOCK_STREAM", wait: float = 2.0
    ) -> str:
        """OK, TIMEOUT or the errno's name: what connect() to a bare address gives."""
        return self.python(_CONNECT, host, str(port), kind, str(wait))

    def dig(self, *argv: str, kernel: bool | None = None) -> str:
        """What dig says; a cookie would always lead past the kernel's answers.

        Both ways: asked over TCP, then until the kernel has answered; all must agree. `kernel`
        false: it never answers this; None: as the command line lets it.
        """

        def ask(*more: str) -> str:
            return self.run("dig", "+time=2", "+tries=1", "+nocookie", *more, *argv).stdout

        if self.mode is None:
            return ask()
        may = reaches_the_kernel(argv) if kernel is None else kernel
        slow = (ask("+tcp"),) if may and "+ignore" not in argv else ()
        return again(ask, self._view, self.mode, kernel=may, first=slow, meaning=dig_meaning)

    def addresses(self, name: str, kind: str = "A") -> list[str]:
        return self.dig("+short", name, kind).split()

    def _view(self) -> dict[str, Any]:
        found: dict[str, Any] = self.daemons[-1].ask("status")["kernel_answers"]
        return found


def open_world(lab: Lab, mode: Mode | None = None, *, shared: bool = False) -> World:
    internet = open_internet(lab)
    host = lab.namespace("host")
    plug_in(lab, internet.netns, host)
    cgroup = lab.cgroup()
    guest = lab.guest(host, cgroup, LISTEN)
    return World(lab, internet, host, cgroup, guest, mode=mode, shared=shared)


def policy_of(rules: Sequence[Any], default: str = "deny", **more: Any) -> str:
    """A policy file of these rules (JSON is YAML)."""
    return json.dumps({"version": 1, "default": default, "rules": list(rules), **more})
