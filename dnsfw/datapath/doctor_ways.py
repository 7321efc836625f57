"""Ways around a packet hook: other processes that act for one, other families, other cgroups."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from dnsfw.datapath import mounts
from dnsfw.datapath.checks import Check, Host
from dnsfw.errors import DatapathError

__all__ = ["way_checks"]

# Whoever reaches one of these has somebody else run programs or send packets for him.
_HELPERS = {
    "/run/docker.sock": "Docker",
    "/run/containerd/containerd.sock": "containerd",
    "/run/podman/podman.sock": "Podman",
    "/run/crio/crio.sock": "CRI-O",
    "/run/buildkit/buildkitd.sock": "BuildKit",
    "/run/libvirt/libvirt-sock": "libvirt",
    "/var/snap/lxd/common/lxd/unix.socket": "LXD",
    "/run/incus/unix.socket": "Incus",
    "/run/dbus/system_bus_socket": "D-Bus (systemd starts units for who may ask)",
}
# Address families whose packets pass no hook of ours, and what shows that they are there.
_FAMILIES = {
    "vsock": ("/dev/vsock",),
    "TIPC": ("/proc/net/tipc", "/sys/module/tipc"),
    "Bluetooth": ("/sys/class/bluetooth",),
    "CAN": ("/proc/net/can",),
    "RDS": ("/sys/module/rds",),
    "SMC": ("/sys/module/smc",),
    "Phonet": ("/proc/net/phonet",),
}
_WRITABLE_BY_OTHERS = stat.S_IWOTH
_BY_GROUP = stat.S_IWGRP
_DEPTH = 4  # user.slice/user-1000.slice/user@1000.service is three
_SHOWN = 3


def way_checks(host: Host) -> Iterator[Check]:
    """What a workload could use to have its packets sent by somebody else."""
    yield _helpers(host)
    yield _families(host)
    yield from _cgroup_writers(host)


def _helpers(host: Host) -> Check:
    """A unix socket needs write permission to connect (unix(7))."""
    open_to = []
    for path, who in _HELPERS.items():
        status = host.status(path)
        if status is None or not stat.S_ISSOCK(status.st_mode):
            continue
        if status.st_mode & _WRITABLE_BY_OTHERS:
            open_to.append(f"{path} ({who}), by everybody")
        elif status.st_mode & _BY_GROUP and status.st_gid:
            open_to.append(f"{path} ({who}), by group {status.st_gid}")
    return Check(
        "unix sockets",
        not open_to,
        "; ".join(open_to) or "no privileged service takes requests from others than root",
        "keep them out of the workload: InaccessiblePaths=, no mount in a container, "
        "no membership in the group; Landlock or a mount namespace for one command",
        "roles: whoever has another service act for him is judged as that service",
    )


def _families(host: Host) -> Check:
    present = [name for name, signs in _FAMILIES.items() if any(_shows(host, s) for s in signs)]
    return Check(
        "other families",
        not present,
        f"{', '.join(present)}: no hook sees their packets"
        if present
        else "none is in use that passes no hook",
        "for services RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK; `dnsfw run` "
        "and containers refuse them by seccomp",
        "every promise, for packets that are not IP",
    )


def _shows(host: Host, sign: str) -> bool:
    """An empty directory is a module that nobody uses."""
    status = host.status(sign)
    if status is None:
        return False
    return bool(host.entries(sign)) if stat.S_ISDIR(status.st_mode) else True


def _cgroup_writers(host: Host) -> Iterator[Check]:
    """Who may leave the cgroup that his role comes from."""
    try:
        top = host.cgroup_root()
    except DatapathError:
        return  # said where version 2 is missing
    others = _writable_by_others(top)
    delegated = _delegated(top)
    told = f"handed to other users: {', '.join(delegated)}" if delegated else "root's alone"
    yield Check(
        "cgroup writers",
        not others,
        f"{mounts.usual(top)} can be written by others than root" if others else told,
        f"chmod go-w {mounts.usual(top)}/cgroup.procs; in a container mount it read-only",
        "roles by cgroup: a process could move itself into another one",
    )


def _writable_by_others(top: Path) -> bool:
    try:
        status = (top / "cgroup.procs").stat()
    except OSError:
        return False
    return bool(status.st_uid or status.st_mode & (_WRITABLE_BY_OTHERS | _BY_GROUP))


def _delegated(top: Path) -> list[str]:
    """Cgroups that belong to a user: within one he moves his own processes as he likes."""
    found: list[str] = []
    level = [top]
    for _ in range(_DEPTH):
        below: list[Path] = []
        for directory in level:
            for child in _children(directory):
                owner = child.stat().st_uid
                if owner:
                    found.append(f"/{child.relative_to(top)} (uid {owner})")
                else:
                    below.append(child)
        level = below
    more = len(found) - _SHOWN
    return found[:_SHOWN] + ([f"{more} more"] if more > 0 else [])


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(child for child in directory.iterdir() if child.is_dir())
    except OSError:
        return []
