"""What this host has and lacks, and which promise goes with it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dnsfw.datapath import mounts
from dnsfw.datapath.checks import Check, Host
from dnsfw.datapath.doctor_names import name_checks
from dnsfw.datapath.doctor_ways import way_checks
from dnsfw.errors import DatapathError

__all__ = ["Check", "Host", "examine"]

_OLDEST = (6, 1)
_SONAME = "libbpf.so.1"
# linux/capability.h: name, number, what does not work without it
_CAPABILITIES = (
    ("CAP_BPF", 39, "loading the programs"),
    ("CAP_PERFMON", 38, "loading the programs"),
    ("CAP_NET_ADMIN", 12, "attaching the programs"),
    ("CAP_NET_RAW", 13, "the self-test of device hooks"),
    ("CAP_NET_BIND_SERVICE", 10, "listening on port 53"),
    ("CAP_SYS_ADMIN", 21, "roles by executable, and DNS taken over in containers"),
)
_VITAL = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})
_SYS_ADMIN = 21  # stands for CAP_BPF and CAP_PERFMON


def examine(listening: tuple[str, ...] = (), host: Host | None = None) -> tuple[Check, ...]:
    """Every check, what enforcement needs first. `listening`: where a daemon answers now."""
    host = host or Host(listening=listening)
    return (
        _kernel(host),
        *_capabilities(host),
        _libbpf(host),
        _programs(host),
        _cgroup2(host),
        _units(host),
        _bpffs(host),
        _tcx(host),
        _netns_cookie(host),
        _jit(host),
        _btf(host),
        _unprivileged(host),
        _receive_mark(host),
        *way_checks(host),
        *name_checks(host),
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


def _units(host: Host) -> Check:
    """A hybrid host keeps systemd's units in the version 1 tree, where no hook can be."""
    where = host.text("/proc/1/cgroup")
    named = re.search(r"^\d+:name=systemd:/.", where, re.MULTILINE)
    ok = not (named and re.search(r"^0::/$", where, re.MULTILINE))
    return Check(
        "systemd units",
        ok,
        "in the version 2 tree" if ok else "in the version 1 tree",
        "boot with systemd.unified_cgroup_hierarchy=1, or name cgroups by their path",
        "roles by unit: `cgroup: nginx.service` finds nothing",
    )


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


def _receive_mark(host: Host) -> Check:
    ok = host.has_receive_mark()
    return Check(
        "query marks",
        ok,
        "a listener reads whose a query is" if ok else "missing: SO_RCVMARK is refused",
        "run Linux 5.19 or later, and allow setsockopt(SO_RCVMARK) in a container",
        "answers: a query whose sender nobody knows is refused",
    )
