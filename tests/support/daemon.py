"""`dnsfw up` as a process of its own in a lab, and the commands that speak to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dnsfw
from dnsfw.cli.client import Client
from tests.support.netlab import Cgroup, Guest, Lab, Netns, end, wait_until

ROOT = Path(__file__).resolve().parents[2]
LISTEN = "127.0.53.53"
LISTEN6 = "::1"
_START = 30.0  # seconds until `ready`, ten times what it takes on a busy machine


def dnsfw_argv() -> list[str]:
    """The installed command beside this Python, else the checkout's."""
    installed = Path(sys.executable).with_name("dnsfw")
    if installed.exists():
        return [str(installed)]
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    return [sys.executable, "-P", "-c", f"{path}; from dnsfw.cli.main import main; main()"]


def with_workers(policy: str) -> str:
    """The policy with as many processes as $DNSFW_TEST_WORKERS says: whatever is tested must hold
    with any number. A text that is no JSON object is left as it is.
    """
    if (number := os.environ.get("DNSFW_TEST_WORKERS")) is None:
        return policy
    try:
        found = json.loads(policy)
        dns = {"workers": int(number), **found.get("dns", {})}
        return json.dumps({**found, "dns": dns})
    except (ValueError, AttributeError):
        return policy


class Daemon:
    """One firewall: its policy file, its run and pin directories, its process."""

    def __init__(
        self,
        lab: Lab,
        netns: Netns,
        cgroup: Cgroup,
        policy: str,
        *,
        upstreams: Sequence[str],
        interfaces: Sequence[str] = ("eth0",),
        listen: Sequence[str] = (f"{LISTEN}:53", f"[{LISTEN6}]:53"),
        options: Sequence[str] = (),
        guard_cgroup: bool = True,
        inside: bool = True,
        cwd: Path | None = None,
        shape: Callable[[str], str] = str,
    ) -> None:
        """`shape` gives every policy its last touch."""
        self.netns = netns
        self.cwd = cwd
        self._shape = lambda policy: with_workers(shape(policy))
        self.policy = lab.file("policy.yaml", self._shape(policy))
        self.environment = os.environ | {
            "DNSFW_RUN_DIR": str(lab.scratch / "run"),
            "DNSFW_PIN_DIR": str(lab.bpffs() / "dnsfw"),
            "DNSFW_POLICY": str(self.policy),
        }
        self._home = Guest(netns, cgroup if inside else None, lab.file("empty-resolv.conf", ""))
        self._argv = [*dnsfw_argv(), "up", "--policy", str(self.policy)]
        if guard_cgroup:
            self._argv += ["--cgroup", str(cgroup.path)]
        for option, values in (
            ("--interface", interfaces), ("--listen", listen), ("--upstream", upstreams)
        ):
            for value in values:
                self._argv += [option, value]
        self._argv += options
        self.said: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        lab.closing(self.close)

    def become(self, prefix: Sequence[str], python: str, places: Sequence[str]) -> None:
        """From now on it is started by this, as somebody else, who has modules elsewhere."""
        home = Path(dnsfw.__file__).resolve().parents[1]  # the wheel's, where one is installed
        path = f"import sys; sys.path[:0] = {[str(home), *places]!r}"
        mine = [python, "-P", "-B", "-c", f"{path}; from dnsfw.cli.main import main; main()"]
        self._argv = [*prefix, *mine, *self._argv[len(dnsfw_argv()) :]]

    def start(self) -> Daemon:
        """Start it and wait for `ready`; AssertionError carries all that it said."""
        process = self._home.start(self._argv, env=self.environment, cwd=self.cwd)
        self.process = process
        self.said = []
        ready = threading.Event()
        threading.Thread(target=self._listen, args=(process, ready), daemon=True).start()
        deadline = time.monotonic() + _START
        while not ready.wait(0.02):
            if process.poll() is not None or time.monotonic() > deadline:
                time.sleep(0.1)  # its last words
                raise AssertionError(
                    f"pid {process.pid}, exit {process.poll()}, not ready:\n{''.join(self.said)}"
                )
        return self

    def _listen(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                self.said.append(line)
                if line.startswith("ready"):
                    ready.set()
        except ValueError:
            pass  # closed by `end` while we read

    def attempt(self) -> subprocess.CompletedProcess[str]:
        """Start it where it must fail: how it ended and what it said."""
        return self._home.run(self._argv, env=self.environment)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run another dnsfw command against this daemon."""
        return self.netns.run([*dnsfw_argv(), *argv], env=self.environment, **options)

    def show(self, *argv: str) -> Any:
        """What a command shows with --json."""
        done = self.command(*argv, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """A verb of the control socket, without a process for it."""
        return Client(self.environment["DNSFW_RUN_DIR"]).ask(do, **request)

    def put(self, policy: str) -> None:
        """A new policy in place; nobody reads it yet."""
        self.policy.write_text(self._shape(policy))

    def reload(self, policy: str) -> subprocess.CompletedProcess[str]:
        """Put a new policy in place and reload."""
        self.put(policy)
        return self.command("reload")

    def noted(self) -> None:
        """Wait until it is noted by which policy the kernel's answers were judged: once a second,
        by a thread, when it has changed.
        """
        wait_until(Path(self.environment["DNSFW_RUN_DIR"], "answers").exists)
        time.sleep(1.5)

    def signal(self, how: int) -> None:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(_START)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def close(self) -> None:
        """Ctrl-C: everything it attached must go with it."""
        if self.process is not None:
            end(self.process, signal.SIGINT)
