"""A lab for one test: namespaces, links, a cgroup and a bpffs of its own, always cleaned.

Nothing here touches the machine's own interfaces, routes or resolv.conf: links are made
inside the namespaces, the cgroup is a new child of the cgroup2 mount, pins live in a
bpffs that only the lab mounts. Names come from the test's, so a run that was killed is
cleaned by the next one of the same test.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_CLONE_NEWNET = 0x40000000
_NETNS_DIR = Path("/run/netns")
_LABS = Path("/run/dnsfw-lab")  # one directory and one lock a test; root's alone
_PATIENCE = 10.0  # seconds a process has to end after a signal, ten times what it needs
_libc = ctypes.CDLL(None, use_errno=True)


def cgroup2_mount() -> Path | None:
    """Where cgroup v2 is mounted: beside v1 on hybrid hosts, hidden by `ip netns exec`."""
    for mountinfo in ("/proc/self/mountinfo", "/proc/1/mountinfo"):
        with contextlib.suppress(OSError):
            for line in Path(mountinfo).read_text().splitlines():
                before, _, after = line.partition(" - ")
                if after.split(" ", 1)[0] == "cgroup2":
                    return Path(before.split(" ")[4])
    return None


def sh(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; a failure raises with what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def wait_until(ready: Any, seconds: float = _PATIENCE, what: str = "") -> None:
    """Poll a condition of another process; AssertionError names what never came."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what or ready}"
        time.sleep(0.01)


@dataclass(slots=True)
class Netns:
    """A network namespace; every process started here is ended with the lab."""

    name: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return _NETNS_DIR / self.name

    def ip(self, *argv: str) -> None:
        """`ip -n NAME ...`; each argument may hold several words."""
        sh("ip", "-n", self.name, *" ".join(argv).split())

    def sysctl(self, key: str, value: str | int) -> None:
        self.run(["sysctl", "-qw", f"{key}={value}"])

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside; the caller looks at its exit status."""
        options.setdefault("timeout", 60)
        return subprocess.run(
            ["nsenter", f"--net={self.path}", "--", *argv],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, **options,
        )

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a process inside; stdout and stderr are pipes unless the caller says."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.STDOUT)
        options.setdefault("stdin", subprocess.DEVNULL)
        process: subprocess.Popen[str] = subprocess.Popen(
            ["nsenter", f"--net={self.path}", "--", *argv], text=True, **options
        )
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside; sockets made here stay here after it has left."""
        with Path("/proc/thread-self/ns/net").open() as home, self.path.open() as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket of this namespace, for the test's own process (never guarded)."""
        with self.entered():
            return socket.socket(family, kind, proto)

    def close(self) -> None:
        for process in self.processes:
            end(process)
        self.processes.clear()
        if self.path.exists():
            sh("ip", "netns", "del", self.name)


def end(process: subprocess.Popen[str], how: int = signal.SIGTERM) -> None:
    """End one process by its pid: asked first, killed if it does not listen."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_PATIENCE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup of our own, a child of the cgroup2 mount, never the root."""

    path: Path

    def close(self) -> None:
        """Kill what is left inside and remove it (the kernel needs a moment to let go)."""
        with contextlib.suppress(FileNotFoundError):
            for child in sorted(self.path.rglob("*"), reverse=True):
                if child.is_dir():
                    Cgroup(child).close()
            if "1" in (self.path / "cgroup.procs").read_text().split():
                raise RuntimeError(f"{self.path} holds the machine's init: nothing is killed")
            (self.path / "cgroup.kill").write_text("1")
            wait_until(lambda: not (self.path / "cgroup.procs").read_text(), what="empty cgroup")
            self.path.rmdir()


_ENTER = """
set -e
if [ -n "$1" ]; then echo $$ > "$1/cgroup.procs"; fi
if [ -n "$2" ]; then mount --bind "$2" /etc/resolv.conf; fi
if [ -n "$3" ]; then mount --bind "$3" /etc/nsswitch.conf; fi
shift 3
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """A place to run programs as a workload: a namespace, a cgroup, a resolv.conf.

    The files are bound in a private mount namespace, so the machine's own stay as they are.
    """

    netns: Netns
    cgroup: Cgroup | None = None
    resolv_conf: Path | None = None
    nsswitch: Path | None = None

    def argv(self, argv: Sequence[str]) -> list[str]:
        places = (
            str(self.cgroup.path) if self.cgroup else "",
            str(self.resolv_conf or ""),
            str(self.nsswitch or ""),
        )
        private = ["unshare", "--mount", "--propagation", "private"] if any(places[1:]) else []
        return [*private, "sh", "-c", _ENTER, "sh", *places, *argv]

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return self.netns.run(self.argv(argv), **options)

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        return self.netns.start(self.argv(argv), **options)


class Lab:
    """Everything one test made, by a name of its own; `close` removes all of it."""

    def __init__(self, title: str) -> None:
        self.id = hashlib.blake2s(title.encode(), digest_size=3).hexdigest()
        self.title = title
        _LABS.mkdir(exist_ok=True)
        self._lock: IO[str] = (_LABS / f"{self.id}.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # the same test in another run: one at a time
        self._stack = contextlib.ExitStack()
        self.scratch = _LABS / self.id
        self._bpffs: Path | None = None
        self._clear()  # a killed run's
        self.scratch.mkdir()
        self._stack.callback(self._clear)

    def _clear(self) -> None:
        """Every pin goes with its file system, and every file with the directory."""
        subprocess.run(
            ["umount", "-l", str(self.scratch / "bpf")], capture_output=True, check=False
        )
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._stack.close()
        finally:
            self._lock.close()
            with contextlib.suppress(OSError):  # locks of other labs are in it
                _LABS.rmdir()

    def forget(self) -> None:
        """Leave no lock file either; only for a lab that nobody else waits for."""
        (_LABS / f"{self.id}.lock").unlink(missing_ok=True)

    def closing(self, call: Any, *args: Any) -> None:
        """Run this when the lab closes, before what was made earlier is removed."""
        self._stack.callback(call, *args)

    def namespace(self, role: str) -> Netns:
        """A new namespace with lo up; what a killed run left under its name goes first."""
        name = f"dnsfw-{self.id}-{role}"
        if (_NETNS_DIR / name).exists():
            for pid in sh("ip", "netns", "pids", name).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            sh("ip", "netns", "del", name)
        sh("ip", "netns", "add", name)
        netns = Netns(name)
        self._stack.callback(netns.close)
        # Duplicate address detection would hold every new IPv6 address back for a second.
        netns.sysctl("net.ipv6.conf.all.accept_dad", 0)
        netns.sysctl("net.ipv6.conf.default.accept_dad", 0)
        netns.ip("link set lo up")
        return netns

    def link(self, a: Netns, b: Netns, a_name: str = "eth0", b_name: str = "eth0") -> None:
        """A veth pair made inside the two namespaces: it never shows on the machine."""
        sh(*f"ip link add {a_name} netns {a.name} type veth peer name {b_name} netns {b.name}"
            .split())
        a.ip(f"link set {a_name} up")
        b.ip(f"link set {b_name} up")

    def cgroup(self, name: str = "") -> Cgroup:
        root = cgroup2_mount()
        assert root is not None, "no cgroup2 mount"
        made = Cgroup(root / f"dnsfw-{self.id}{name and '-' + name}")
        made.close()  # a killed run's
        made.path.mkdir()
        self._stack.callback(made.close)
        return made

    def bpffs(self) -> Path:
        """A bpffs of our own: unmounting it lets go of every pin in it."""
        if self._bpffs is None:
            self._bpffs = self.scratch / "bpf"
            self._bpffs.mkdir(mode=0o700)
            sh("mount", "-t", "bpf", "bpf", str(self._bpffs))
        return self._bpffs

    def file(self, name: str, text: str) -> Path:
        """A file of the lab, readable by all, written by root alone."""
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    def guest(self, netns: Netns, cgroup: Cgroup | None, *nameservers: str) -> Guest:
        """A workload's place whose resolv.conf names these servers and nothing else."""
        lines = [f"nameserver {server}\n" for server in nameservers]
        resolv = self.file(
            f"resolv-{netns.name}-{'-'.join(nameservers)}.conf",
            "".join([*lines, "options timeout:2 attempts:2\n"]),
        )
        # Without this a host's nss-resolve would ask systemd-resolved past resolv.conf.
        nsswitch = self.file("nsswitch.conf", "hosts: files dns\npasswd: files\ngroup: files\n")
        return Guest(netns, cgroup, resolv, nsswitch)


class Capture:
    """Every frame that an interface sees, both ways, kept until asked for."""

    def __init__(self, netns: Netns, interface: str) -> None:
        self.frames: list[bytes] = []
        everything = 0x0003  # ETH_P_ALL
        self._socket = netns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything))
        self._socket.bind((interface, everything))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._one = threading.Lock()  # who reads; frames stay in order
        self._closed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.is_set():
            select.select([self._socket], [], [], 0.05)  # seconds: how soon `close` is heard
            self._take()

    def _take(self) -> None:
        """All that has passed by now, whether the thread had its turn or not."""
        with self._one:
            while not self._closed:
                try:
                    self.frames.append(self._socket.recv(65535, socket.MSG_DONTWAIT))
                except OSError:  # nothing waits; or the link has gone, which is told once
                    return

    def saw(self, *needles: bytes) -> bool:
        """Whether any one frame holds all of these byte strings."""
        self._take()
        return any(all(needle in frame for needle in needles) for frame in list(self.frames))

    def to(self, address: str) -> list[bytes]:
        """The frames whose IP destination is this address."""
        self._take()
        v6 = ":" in address
        packed = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, address)
        start, kind = (38, b"\x86\xdd") if v6 else (30, b"\x08\x00")
        return [
            frame for frame in list(self.frames)
            if frame[12:14] == kind and frame[start : start + len(packed)] == packed
        ]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)
        self._take()
        with self._one:
            self._closed = True
            self._socket.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
