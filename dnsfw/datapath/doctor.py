"""What this host has and lacks, and which promise goes with it."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dnsfw.datapath import cgroup, hooks, mounts
from dnsfw.datapath.backend import Backend
from dnsfw.datapath.libbpf import LibbpfBackend, netns_cookie_in_skb_hooks
from dnsfw.errors import DatapathError

_OLDEST = (6, 1)
_SONAME = "libbpf.so.1"
# linux/capability.h: name, number, what does not work without it
_CAPABILITIES = (
    ("CAP_BPF", 39, "loading the programs"),
    ("CAP_PERFMON", 38, "loading the programs"),
    ("CAP_NET_ADMIN", 12, "attaching the programs"),
    ("CAP_NET_RAW", 13, "the self-test of device hooks"),
    ("CAP_NET_BIND_SERVICE", 10, "listening on port 53"),
)
_VITAL = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})
_SYS_ADMIN = 21  # stands for CAP_BPF and CAP_PERFMON
# Name services that answer past resolv.conf, and so past dnsfw.
_SIDE_DOORS = {
    "resolve": "systemd-resolved",
    "mymachines": "systemd-machined",
    "mdns": "Avahi",
    "mdns4": "Avahi",
    "mdns4_minimal": "Avahi",
    "mdns_minimal": "Avahi",
    "wins": "Samba",
    "sss": "SSSD",
    "ldap": "LDAP",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `dnsfw doctor`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""  # for when it is not ok
    lost: str = ""  # the promise that does not hold without it
    vital: bool = False  # nothing can be enforced without it


@dataclass(frozen=True, slots=True)
class Host:
    """What the checks look at; tests give another one."""

    root: Path = Path("/")
    release: str = field(default_factory=lambda: os.uname().release)
    cgroup_root: Callable[[], Path] = cgroup.root
    find_mount: Callable[[str], Path | None] = mounts.where
    has_tcx: Callable[[], bool] = hooks.has_tcx
    has_netns_cookie: Callable[[], bool] = netns_cookie_in_skb_hooks
    load_library: Callable[[str], object] = ctypes.CDLL
    backend: Backend = field(default_factory=LibbpfBackend)

    def text(self, path: str) -> str:
        """The content of a file; empty if it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()


def examine(host: Host | None = None) -> tuple[Check, ...]:
    """Every check, what enforcement needs first."""
    host = host or Host()
    return (
        _kernel(host),
        *_capabilities(host),
        _libbpf(host),
        _programs(host),
        _cgroup2(host),
        _bpffs(host),
        _tcx(host),
        _netns_cookie(host),
        _jit(host),
        _btf(host),
        _unprivileged(host),
        _resolv_conf(host),
        *_nsswitch(host),
    )


def _kernel(host: Host) -> Check:
    found = re.match(r"(\d+)\.(\d+)", host.release)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    oldest = ".".join(map(str, _OLDEST))
    return Check(
        "kernel",
        version >= _OLDEST,
        f"Linux {host.release}",
        f"run Linux {oldest} or later",
        "everything: the programs are written for and tested on later kernels",
        vital=True,
    )


def _capabilities(host: Host) -> Iterator[Check]:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", host.text("/proc/self/status"), re.MULTILINE)
    have = int(found[1], 16) if found else 0
    admin = have >> _SYS_ADMIN & 1
    for name, number, what in _CAPABILITIES:
        ok = bool(have >> number & 1) or (bool(admin) and name in {"CAP_BPF", "CAP_PERFMON"})
        yield Check(
            name,
            ok,
            "held" if ok else "missing",
            f"run as root, or give {name} (systemd: AmbientCapabilities={name})",
            what,
            vital=name in _VITAL,
        )


def _libbpf(host: Host) -> Check:
    try:
        host.load_library(_SONAME)
    except OSError as error:
        return Check(
            "libbpf",
            False,
            str(error),
            "apt-get install libbpf1 (Fedora: dnf install libbpf), or --backend bcc",
            "loading the shipped programs",
        )
    return Check("libbpf", True, _SONAME)


def _programs(host: Host) -> Check:
    try:
        host.backend.load({}).close()
    except DatapathError as error:
        first = str(error).partition("\n")[0]
        return Check(
            "programs",
            False,
            first,
            _lockdown_remedy(host) or "see the lines above, or try --backend bcc",
            "everything: nothing is enforced",
            vital=True,
        )
    return Check("programs", True, f"the kernel takes all of them ({host.backend.name})")


def _lockdown_remedy(host: Host) -> str:
    if "[confidentiality]" in host.text("/sys/kernel/security/lockdown"):
        return "boot without lockdown=confidentiality, which forbids BPF to read packets"
    return ""


def _cgroup2(host: Host) -> Check:
    lost = "EPERM at connect, and judging each socket by its cgroup"
    try:
        top = mounts.usual(host.cgroup_root())
    except DatapathError as error:
        what, _, remedy = str(error).partition("; remedy: ")
        return Check("cgroup2", False, what, remedy, lost)
    hybrid = host.find_mount(mounts.CGROUP1) is not None
    # Units of a host that boots with version 1 are not in the version 2 tree.
    detail = f"{top}, beside version 1: guard the root, not single units" if hybrid else str(top)
    return Check("cgroup2", True, detail)


def _bpffs(host: Host) -> Check:
    found = host.find_mount(mounts.BPFFS)
    return Check(
        "bpffs",
        found is not None,
        str(mounts.usual(found)) if found else "not mounted; `dnsfw up` mounts it",
        "mount -t bpf bpf /sys/fs/bpf",
        "enforcement that outlives the daemon",
    )


def _tcx(host: Host) -> Check:
    ok = host.has_tcx()
    return Check(
        "TCX",
        ok,
        "device hooks are links" if ok else "missing: device hooks use clsact",
        "run Linux 6.6 or later",
        "device hooks that `tc qdisc del` cannot take away",
    )


def _netns_cookie(host: Host) -> Check:
    try:
        ok = host.has_netns_cookie()
    except DatapathError:
        ok = False
    return Check(
        "netns cookie",
        ok,
        "packets are told apart by network namespace"
        if ok
        else "missing in packet hooks: flows of all network namespaces share one key",
        "run Linux 6.15 or later",
        "telling equal addresses of two network namespaces apart",
    )


def _jit(host: Host) -> Check:
    # No such file: the kernel is built with the JIT always on.
    ok = host.text("/proc/sys/net/core/bpf_jit_enable").strip() != "0"
    return Check("BPF JIT", ok, "on" if ok else "off", "sysctl net.core.bpf_jit_enable=1", "speed")


def _btf(host: Host) -> Check:
    ok = host.exists("/sys/kernel/btf/vmlinux")
    return Check(
        "BTF",
        ok,
        "present" if ok else "missing",
        "run a kernel with CONFIG_DEBUG_INFO_BTF",
        "nothing yet: only later hooks (LSM) need it",
    )


def _unprivileged(host: Host) -> Check:
    setting = host.text("/proc/sys/kernel/unprivileged_bpf_disabled").strip()
    return Check(
        "unprivileged BPF",
        setting != "0",
        "off" if setting != "0" else "on: users may load programs",
        "sysctl kernel.unprivileged_bpf_disabled=2",
    )


def _resolv_conf(host: Host) -> Check:
    servers = re.findall(r"^\s*nameserver\s+(\S+)", host.text("/etc/resolv.conf"), re.MULTILINE)
    ok = bool(servers) and all(s.startswith("127.") or s == "::1" for s in servers)
    return Check(
        "resolv.conf",
        ok,
        f"nameserver {', '.join(servers)}" if servers else "names no server",
        "point it at dnsfw: `nameserver 127.0.53.53`",
        "names: queries to other servers are refused, not answered",
    )


def _nsswitch(host: Host) -> Iterator[Check]:
    found = re.search(r"^\s*hosts:(.*)$", host.text("/etc/nsswitch.conf"), re.MULTILINE)
    services = re.sub(r"\[[^]]*\]", " ", found[1]).split() if found else []
    doors = [s for s in services if s in _SIDE_DOORS]
    who = ", ".join(f"{s} ({_SIDE_DOORS[s]})" for s in doors)
    yield Check(
        "nsswitch",
        not doors,
        f"hosts: {' '.join(services) or 'default'}",
        f"take {who} out of the `hosts:` line, or make it ask dnsfw",
        "names found there open no address",
    )
    cache = host.exists("/run/nscd/socket") or host.exists("/var/run/nscd/socket")
    yield Check(
        "nscd",
        not cache,
        "runs and caches names" if cache else "does not run",
        "stop nscd, or set enable-cache hosts no",
        "names: its answers outlive their grants",
    )
