"""Several workloads before one guard: cgroups and users on the host, guests behind devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.daemon import LISTEN, Daemon
from tests.support.netlab import Cgroup, Guest, Lab, Netns, cgroup2_mount
from tests.support.world import World

WWW, WWW4 = "www.example.com", "203.0.113.11"
USERS = (4241, 4242)  # numbers that nobody has: a policy may name a user by number


@dataclass(frozen=True, slots=True)
class Workload:
    """One program's place, as one role sees it."""

    guest: Guest
    user: int | None = None

    def argv(self, *argv: str) -> list[str]:
        if self.user is None:
            return list(argv)
        ids = (f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups")
        return ["setpriv", *ids, *argv]

    def run(self, *argv: str, **options: Any) -> str:
        return self.guest.run(self.argv(*argv), **options).stdout

    def looks_up(self, name: str = WWW, *options: str) -> list[str]:
        """With a cookie: the daemon answers, unless `options` say `+nocookie`."""
        return self.run("dig", "+time=2", "+tries=1", "+short", *options, name, "A").split()

    def reaches(self, addr: str = WWW4, port: int = 80) -> bool:
        """Whether an HTTP request to the bare address is answered: no look-up is made."""
        said = self.run("curl", "-sS", "--max-time", "2", f"http://{addr}:{port}/")
        return "hello from" in said

    def start(self, *argv: str, **options: Any) -> Any:
        return self.guest.start(self.argv(*argv), **options)


def below(world: World, name: str) -> Cgroup:
    """A cgroup in the guarded one; it goes with it."""
    made = Cgroup(world.cgroup.path / name)
    made.path.mkdir()
    return made


def subject_path(cgroup: Cgroup) -> str:
    """As a policy names it: below the cgroup root."""
    root = cgroup2_mount()
    assert root is not None
    return f"/{cgroup.path.relative_to(root)}"


def in_cgroup(world: World, name: str) -> Workload:
    return Workload(world.lab.guest(world.host, below(world, name), LISTEN))


def as_user(world: World, user: int) -> Workload:
    return Workload(world.guest, user)


def role(
    subjects: Sequence[Any], rules: Sequence[Any] = ({"allow": f"{WWW}:80"},), **more: Any
) -> Any:
    return {"default": "deny", "subjects": list(subjects), "rules": list(rules), **more}


def roles_policy(rules: Sequence[Any] = ({"allow": "nothing.example"},), **roles: Any) -> str:
    """`host` allows next to nothing, unless told; JSON is YAML."""
    return json.dumps({"version": 1, "default": "deny", "rules": list(rules), "roles": roles})


def opened(daemon: Daemon, addr: str = WWW4) -> set[str]:
    """The roles for which the kernel's table has this address open."""
    return {row["role"] for row in daemon.show("grants") if row["address"] == addr}


def role_row(daemon: Daemon, name: str) -> Any:
    return next(row for row in daemon.show("status")["roles"] if row["name"] == name)


@dataclass(frozen=True, slots=True)
class Behind:
    """A guest of the host in a namespace of its own, behind a device of the host."""

    netns: Netns
    device: str  # the host's end
    gateway: str
    workload: Workload


def forwarding(world: World) -> None:
    """The host forwards, and the internet knows the way back."""
    world.host.sysctl("net.ipv4.ip_forward", 1)
    world.internet.netns.ip("route add 10.66.0.0/16 via 10.77.0.2")


def plug_guest(world: World, number: int, *addresses: str) -> Behind:
    """A namespace at 10.66.N.2/24 (and more addresses), the host's end is 10.66.N.1 on `cN`."""
    lab: Lab = world.lab
    guest = lab.namespace(f"guest{number}")
    device, gateway = f"c{number}", f"10.66.{number}.1"
    lab.link(world.host, guest, device, "eth0")
    world.host.ip(f"addr add {gateway}/24 dev {device}")
    guest.ip(f"addr add 10.66.{number}.2/24 dev eth0")
    for address in addresses:
        guest.ip(f"addr add {address} dev eth0")
    guest.ip(f"route add default via {gateway}")
    guest.run(["ping", "-c1", "-W2", gateway])
    return Behind(guest, device, gateway, Workload(lab.guest(guest, None, gateway)))
