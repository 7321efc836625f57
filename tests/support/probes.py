"""What this host can do for the tests, tried once a run: a reason when it cannot."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.netlab import cgroup2_mount

KINDS = {
    "root": "runs as root",
    "bpf": "may load BPF programs, with libbpf and the built object",
    "netns": "may make network namespaces",
    "cgroup": "may make cgroups on a cgroup2 mount",
    "machine": "may guard a whole machine: one that contrib/test --kernels booted",
    "bcc": "has python3-bpfcc and kernel headers",
    "peers": "has unbound, nsd, curl, dig and ping",
    "vlans": "has 802.1Q devices in its kernel",
}
PEERS = ("unbound", "nsd", "curl", "dig", "ping")
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_BPF_MAP_CREATE = 0
_BPF_MAP_TYPE_ARRAY = 2
BCC_PATH = Path("/usr/lib/python3/dist-packages")  # Debian's; a venv does not see it


@cache
def why_not(kind: str) -> str | None:
    """None if the host can, else the reason, in words for the skip."""
    return {
        "root": _root, "bpf": _bpf, "netns": _netns,
        "cgroup": _cgroup, "machine": _machine, "bcc": _bcc, "peers": _peers,
        "vlans": _vlans,
    }[kind]()


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not root"


def _bpf() -> str | None:
    """A map that the kernel makes shows CAP_BPF and the system call in one go."""
    if sys.platform != "linux" or platform.machine() not in _SYS_BPF:
        return f"no bpf() number for {platform.machine()}"
    attr = (ctypes.c_uint32 * 32)(_BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_BPF[platform.machine()], _BPF_MAP_CREATE, attr, ctypes.sizeof(attr))
    if fd < 0:
        return f"bpf(): {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        return str(error)
    return None


def _netns() -> str | None:
    done = subprocess.run(
        ["unshare", "--net", "true"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return done.stderr.strip()
    return None if shutil.which("ip") else "no ip command (iproute2)"


def _cgroup() -> str | None:
    root = cgroup2_mount()
    if root is None:
        return "no cgroup2 mount"
    probe = root / f"dnsfw-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"{root}: {error.strerror}"
    return None


def _machine() -> str | None:
    """What virtme-ng boots says so on its command line; no other machine is thrown away."""
    if "virtme_" in Path("/proc/cmdline").read_text():
        return None
    return "not a kernel booted by contrib/test --kernels"


def _bcc() -> str | None:
    if not (BCC_PATH / "bcc").is_dir():
        return "no python3-bpfcc"
    try:
        ctypes.CDLL("libbcc.so.0")
    except OSError as error:
        return str(error)
    if not [*Path("/lib/modules").glob("*/build"), *Path("/usr/src").glob("linux-headers-*")]:
        return "no kernel headers"
    return None


def _vlans() -> str | None:
    if Path("/proc/net/vlan").exists():
        return None
    found = subprocess.run(["modprobe", "-q", "-n", "8021q"], check=False).returncode == 0
    return None if found else "no VLANs in this kernel"


def _peers() -> str | None:
    missing = [peer for peer in PEERS if shutil.which(peer) is None]
    return f"no {', '.join(missing)}" if missing else None
