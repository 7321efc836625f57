"""The stands of a contest: each server in namespaces of its own, a client beside it and one
behind a veth, and the client that asks (load/load.c).

    stand       10.53.0.1 ─── veth ─── 10.53.0.2        behind: a container, a guest
    127.0.0.1   server, upstream

Only one server works at a time; which cores server and client have is chosen round by round.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import support
from servers import LO, PEERS, Place, pin, start_dnsfw, start_unbound, worked
from zone import TTL, numbered, policy, query

from tests.support.netlab import Cgroup, Guest, Lab, Netns

NEAR, FAR = "10.53.0.1", "10.53.0.2"
PORT = 53
UPSTREAM: Place = (LO, 5400)
BEHIND: Place = (LO, 5401)  # the upstream of a recursor that stands before it
NAMES = 1_000
DNSFW = "dnsfw"
PYTHON = "dnsfw, Python alone"
SEVERAL = "dnsfw, Python alone, a process a core"
_VETH = "guest0"


def cores() -> tuple[int, int]:
    """The server's, the client's."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def present(names: Iterable[str] = tuple(PEERS)) -> list[str]:
    """The peers that are installed here, unbound first."""
    return [name for name in names if shutil.which(PEERS[name][1])]


@dataclass(slots=True)
class Stand:
    """One server, up."""

    name: str
    lab: Lab
    netns: Netns
    behind: Netns
    cgroup: Cgroup
    pid: int

    def ask(
        self, mode: str, file: Path, seconds: float, *more: str, core: int | str, far: bool = False,
        address: str = "", env: Mapping[str, str] | None = None,
    ) -> dict[str, float]:
        """What the client found; RuntimeError where anything was answered wrongly."""
        netns = self.behind if far else self.netns
        target = address or (NEAR if far else LO)
        place = Guest(netns, None if far else self.cgroup)
        argv = ["taskset", "-c", str(core), str(client(self.lab)), mode, target, str(PORT),
                str(file), f"{seconds:g}", *more]
        done = place.run(argv, env=os.environ | dict(env or {}))
        if done.returncode:
            raise RuntimeError(f"{self.name}: {done.stdout}{done.stderr}")
        found: dict[str, float] = json.loads(done.stdout)
        if found["bad"] > 0.001 * found["sent"]:
            raise RuntimeError(f"{self.name} answered wrongly: {found}")
        return found

    def worked(self) -> float:
        """Seconds of CPU that the server has taken until now."""
        return worked(self.pid)

    def ask_at_once(
        self, clients: int, mode: str, file: Path, seconds: float, *more: str
    ) -> dict[str, float]:
        """The same of several clients, each with a socket of its own, on whatever cores there
        are: how many answers a second they had together, and how many in all.
        """
        client(self.lab)  # compiled before they all want it
        everywhere = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        with ThreadPoolExecutor(clients) as pool:
            asking = [
                pool.submit(self.ask, mode, file, seconds, *more, core=everywhere)
                for _ in range(clients)
            ]
            found = [one.result() for one in asking]
        return {key: sum(one[key] for one in found) for key in ("qps", "good")}

    def on(self, *cores: int) -> None:
        """The server runs there from now on."""
        pin(self.pid, *cores)


def client(lab: Lab, name: str = "load") -> Path:
    """One of the programs of load/, compiled; made once a lab."""
    made = lab.scratch / name
    if not made.exists():
        source = Path(__file__).with_name("load") / f"{name}.c"
        subprocess.run(["clang", "-O2", "-o", str(made), str(source)], check=True)
    return made


def fast_upstream(lab: Lab, netns: Netns, ttl: int, core: int, place: Place = UPSTREAM) -> None:
    """One that costs next to nothing: load/upstream.c."""
    sock = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(place)
    netns.start(
        ["taskset", "-c", str(core), str(client(lab, "upstream")), str(sock.fileno()), str(ttl)],
        pass_fds=(sock.fileno(),),
    )
    sock.close()


def queries(lab: Lab, title: str, names: Sequence[str], edns: bool = True) -> Path:
    """A file of queries for the client, each behind its length."""
    path = lab.scratch / f"{title}.queries"
    with path.open("wb") as out:
        for name in names:
            wire = query(name)
            if not edns:
                wire = wire[:10] + b"\0\0" + wire[12:-11]
            out.write(len(wire).to_bytes(2, "big") + wire)
    return path


def rules(kernel: bool = True, more: str = "", workers: int | str = 1) -> str:
    """The small policy of the bench for this host and for the guest behind the veth."""
    switch = "  kernel_answers: on\n" if kernel else "  kernel_answers: off\n"
    switch += f"  workers: {workers}\n" if workers != 1 else ""
    role = "\n".join(f"    {line}" for line in policy().splitlines() if line.startswith("  - "))
    return (
        policy().replace("default: deny\n", f"default: deny\n{more}", 1)
        + switch
        + f"roles:\n  guest:\n    default: deny\n    subjects: [{{interface: {_VETH}}}]\n"
        + "    inbound: all\n    rules:\n"
        + role
        + "\n"
    )


def stand(
    lab: Lab,
    name: str,
    start: Callable[[Lab, Netns, Cgroup], int],
    ttl: int | None = None,
    recursor: bool = False,
) -> Stand:
    """Namespaces, veth and upstream (`recursor`: unbound before it), and then the server that
    `start` brings up.
    """
    short = "".join(c for c in name if c.isalnum())[:9]
    netns, behind = lab.namespace(short), lab.namespace(f"{short}-far")
    lab.link(netns, behind, _VETH, "eth0")
    netns.ip(f"addr add {NEAR}/24 dev {_VETH}")
    behind.ip(f"addr add {FAR}/24 dev eth0")
    place = BEHIND if recursor else UPSTREAM
    fast_upstream(lab, netns, TTL if ttl is None else ttl, cores()[1], place)
    if recursor:
        with support.pinned(cores()[1]):
            start_unbound(lab, netns, UPSTREAM[1], BEHIND)
    with support.pinned(cores()[0]):
        cgroup = lab.cgroup(short)
        pid = start(lab, netns, cgroup)
    return Stand(name, lab, netns, behind, cgroup, pid)


def peer(
    lab: Lab, name: str, *more: str, called: str = "", ttl: int | None = None,
    recursor: bool = False,
) -> Stand:
    """A peer of Debian, listening on lo and on the veth; `more` is of its configuration."""
    run = PEERS[name][0]

    def start(lab: Lab, netns: Netns, _: Cgroup) -> int:
        return run(lab, netns, PORT, UPSTREAM, *more, addresses=(LO, NEAR)).pid

    return stand(lab, called or name, start, ttl, recursor)


def ours(
    lab: Lab, name: str = DNSFW, text: str | None = None, options: Sequence[str] = (),
    ttl: int | None = None, recursor: bool = False,
) -> Stand:
    """dnsfw with its wall around a cgroup and the guest's link."""
    text = rules(kernel=name != PYTHON) if text is None else text

    def start(lab: Lab, netns: Netns, cgroup: Cgroup) -> int:
        daemon = start_dnsfw(
            lab, netns, PORT, UPSTREAM, text, cgroup=cgroup, addresses=(LO, NEAR), options=options
        )
        return daemon.pid

    own = Lab(f"{lab.title} {name}")  # a daemon's directories are its lab's
    lab.closing(own.close)
    return stand(own, name, start, ttl, recursor)


def warm(
    stands: Sequence[Stand], names: Sequence[str], times: int = 3,
    ways: Sequence[bool] = (False, True),
) -> None:
    """Everybody is asked for everything; SystemExit where they do not answer alike."""
    said: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for one in stands:
        for far in ways:
            found = _answers(one, names, times, far)
            said[f"{one.name}, {'veth' if far else 'lo'}"] = found
    first = next(iter(said.values()))
    for who, found in said.items():
        if found != first:
            at = next(i for i, pair in enumerate(zip(found, first, strict=True))
                      if pair[0] != pair[1])
            raise SystemExit(f"{who} answers {names[at]} with {found[at]}, not {first[at]}")


def _answers(
    one: Stand, names: Sequence[str], times: int, far: bool
) -> list[tuple[int, tuple[str, ...]]]:
    """Asked by a client in its place: the guarded cgroup, or behind the veth."""
    place = Guest(one.behind if far else one.netns, None if far else one.cgroup)
    argv = [sys.executable, str(Path(__file__).with_name("load") / "asker.py"),
            NEAR if far else LO, str(PORT), str(times)]
    done = subprocess.run(
        ["nsenter", f"--net={place.netns.path}", "--", *place.argv(argv)],
        input="\n".join(names), capture_output=True, text=True, timeout=120, check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{one.name}: {done.stderr}")
    return [(rcode, tuple(texts)) for rcode, texts in json.loads(done.stdout)]


def names(count: int = NAMES) -> list[str]:
    return [numbered(i) for i in range(count)]


__all__ = [
    "DNSFW", "FAR", "LO", "NAMES", "NEAR", "PORT", "PYTHON", "SEVERAL", "Stand", "client",
    "cores", "names", "ours", "peer", "present", "queries", "rules", "stand", "warm",
]
