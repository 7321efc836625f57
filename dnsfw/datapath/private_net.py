"""A network namespace for one command, behind this host: a veth pair, NAT, and nothing else.

    command's namespace   eth0 ── dnsfwPID   this host ── masquerade ── its default route

The wall stands on our end of the veth (the guest hooks): whatever leaves that namespace, by
packet sockets that skip queueing or by AF_XDP too, arrives there as a frame and is judged.
What is changed on the host is one device, one nft table, and forwarding on two devices; all
of it goes with the run. Names come from the run's pid, so that a guard that outlives us
finds everything.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

from dnsfw.datapath import netlink
from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

__all__ = ["PrivateNet"]

# RFC 6598, far from where carriers begin: 16,384 runs of four addresses. And a ULA of ours.
_POOL4 = ip_network("100.127.0.0/16")
_POOL6 = ip_network("fd64:6e73:6677::/48")
_PLACES = 16384
_TRIES = 64
_NODAD = 0x02  # IFA_F_NODAD: nobody else is on this link
_PATIENCE = 10.0
_PROC_SYS = Path("/proc/sys/net")


@dataclass(frozen=True, slots=True)
class _Site:
    """One end each: ours, and the command's."""

    ours4: IPv4Address
    theirs4: IPv4Address
    ours6: IPv6Address
    theirs6: IPv6Address

    @classmethod
    def of(cls, place: int) -> _Site:
        base4 = int(_POOL4.network_address) + 4 * place
        base6 = int(_POOL6.network_address) + (place << 64)
        return cls(
            IPv4Address(base4 + 1), IPv4Address(base4 + 2),
            IPv6Address(base6 + 1), IPv6Address(base6 + 2),
        )  # fmt: skip


class PrivateNet:
    """Made by `up`, undone by `down`, which anybody with the same pid can call."""

    def __init__(self, run: int, state: Path) -> None:
        """`run` is the run's pid; `state` a directory that all runs of this host share."""
        self.device = f"dnsfw{run}"
        self._table = f"dnsfw_run_{run}"
        # Devices and their switches are of one network namespace.
        self._state = state / str(Path("/proc/self/ns/net").stat().st_ino)
        self._name = f"{run}.json"

    def up(self, pid: int) -> tuple[str, ...]:
        """Wires the network namespace of this process; says what it has not.

        DatapathError names what the host lacks; then `down` takes back what was done.
        """
        nft = _nft()
        uplink4, uplink6 = netlink.work(_default_routes)
        notes = []
        switch6 = _switch6(uplink6) if uplink6 is not None else None
        if uplink4 is None and switch6 is None:
            raise DatapathError("--net private: this host has no default route to lead to")
        if uplink4 is None:
            notes.append("private network: IPv6 only (no IPv4 default route)")
        if switch6 is None:
            why = "no IPv6 default route" if uplink6 is None else "no forwarding of a device alone"
            notes.append(f"private network: IPv4 only ({why})")
        site = _Site.of(self._place())
        with Path(f"/proc/{pid}/ns/net").open() as theirs:
            netlink.work(lambda ipr: _pair(ipr, self.device, pid, site, switch6 is not None))
            netlink.work(
                lambda ipr: _inside(ipr, site, uplink4 is not None, switch6 is not None),
                netns=theirs.fileno(),
            )
        switches = [] if uplink4 is None else [_PROC_SYS / "ipv4/conf" / uplink4 / "forwarding"]
        if switch6 is not None:
            switches.append(switch6)
        self._switch_on(switches)
        self._on_our_device(switch6)
        _run(nft, self._rules(site, switch6 is not None))
        return tuple(notes)

    def down(self) -> None:
        """Everything back as it was; what is gone already is fine."""
        nft = shutil.which("nft")
        if nft is not None:
            with suppress(DatapathError):
                _run(nft, f"delete table inet {self._table}\n")
        self._switch_back()
        with suppress(DatapathError):
            netlink.work(lambda ipr: _remove(ipr, self.device))

    def _place(self) -> int:
        """A quarter of the pool's that no route of this host leads to already."""
        taken = netlink.work(_networks)
        first = int(self.device.removeprefix("dnsfw")) % _PLACES
        for place in range(first, first + _TRIES):
            site = _Site.of(place % _PLACES)
            mine = ip_network(f"{site.ours4}/30", strict=False)
            if not any(mine.overlaps(net) for net in taken):
                return place % _PLACES
        raise DatapathError(f"--net private: {_POOL4} is in use on this host")

    def _rules(self, site: _Site, v6: bool) -> str:
        lines = [f'ip saddr {site.theirs4} oifname != "{self.device}" masquerade']
        if v6:
            lines.append(f'ip6 saddr {site.theirs6} oifname != "{self.device}" masquerade')
        body = "\n".join(lines)
        hook = "type nat hook postrouting priority 100; policy accept;"
        return f"table inet {self._table} {{\nchain out {{\n{hook}\n{body}\n}}\n}}\n"

    def _on_our_device(self, switch6: Path | None) -> None:
        """It goes with the device; nobody needs to remember it."""
        _set(_PROC_SYS / "ipv4/conf" / self.device / "forwarding", "1")
        if switch6 is not None and switch6.name == "force_forwarding":
            _set(_PROC_SYS / "ipv6/conf" / self.device / "force_forwarding", "1")

    # Several runs share the uplink: who leaves first must not switch it off for the others,
    # so the value from before the first is handed on to one that stays.

    def _switch_on(self, switches: list[Path]) -> None:
        with self._locked() as directory:
            before = {str(path): path.read_text().strip() for path in switches}
            for other in directory.glob("*.json"):
                with suppress(OSError, ValueError):
                    known = json.loads(other.read_text())
                    before |= {path: known[path] for path in before if path in known}
            (directory / self._name).write_text(json.dumps(before))
            for path in switches:
                _set(path, "1")

    def _switch_back(self) -> None:
        with self._locked() as directory:
            mine = directory / self._name
            try:
                before: dict[str, str] = json.loads(mine.read_text())
            except (OSError, ValueError):
                return
            mine.unlink()
            others: set[str] = set()
            for other in directory.glob("*.json"):
                if not Path("/proc", other.stem).exists():  # it was killed, with its guard
                    other.unlink()
                    continue
                with suppress(OSError, ValueError):
                    others |= set(json.loads(other.read_text()))
            for path in before.keys() - others:
                with suppress(DatapathError):
                    _set(Path(path), before[path])

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        try:
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DatapathError(f"cannot use {self._state}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield self._state
        finally:
            os.close(fd)
            with suppress(OSError):  # the last one
                self._state.rmdir()
                self._state.parent.rmdir()


def _nft() -> str:
    found = shutil.which("nft")
    if found is None:
        raise DatapathError(
            "--net private needs the command nft, for NAT; remedy: apt install nftables "
            "(dnf install nftables), or --net host"
        )
    return found


def _run(nft: str, rules: str) -> None:
    done = subprocess.run(
        [nft, "-f", "-"], input=rules, capture_output=True, text=True, timeout=_PATIENCE,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise DatapathError(
            f"--net private: nft: {said[0] if said else done.returncode}; "
            "it needs CONFIG_NFT_NAT and CONFIG_NFT_MASQ"
        )


def _set(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise DatapathError(f"--net private: {path}: {error.strerror}") from None


def _switch6(uplink: str) -> Path | None:
    """Forwarding of all devices makes a host a router that hears no advertisements any more:
    only where one device can do it alone (Linux 6.17), or where all do already.
    """
    alone = _PROC_SYS / "ipv6/conf" / uplink / "force_forwarding"
    every = _PROC_SYS / "ipv6/conf/all/forwarding"
    if alone.exists():
        return alone
    return every if every.exists() and every.read_text().strip() == "1" else None


# work for netlink: each gets pyroute2's IPRoute


def _default_routes(ipr: Any) -> tuple[str | None, str | None]:
    return _default(ipr, 2), _default(ipr, 10)


def _default(ipr: Any, family: int) -> str | None:
    """The device of the best default route of the main table."""
    found = [
        (route.get_attr("RTA_PRIORITY") or 0, route.get_attr("RTA_OIF"))
        for route in ipr.get_routes(family=family, table=254)
        if route["dst_len"] == 0 and route.get_attr("RTA_OIF")
    ]
    if not found:
        return None
    (link,) = ipr.get_links(min(found)[1])
    return str(link.get_attr("IFLA_IFNAME"))


def _networks(ipr: Any) -> list[Any]:
    """Where routes lead, but the default ones."""
    found = []
    for route in ipr.get_routes(family=2):
        if (dst := route.get_attr("RTA_DST")) is not None:
            found.append(ip_network(f"{dst}/{route['dst_len']}", strict=False))
    return found


def _index(ipr: Any, name: str) -> int:
    return int(ipr.link_lookup(ifname=name)[0])


def _pair(ipr: Any, device: str, pid: int, site: _Site, v6: bool) -> None:
    peer = {"ifname": "eth0", "net_ns_pid": pid}
    ipr.link("add", ifname=device, kind="veth", peer=peer)
    index = _index(ipr, device)
    ipr.addr("add", index=index, address=str(site.ours4), prefixlen=30)
    ipr.link("set", index=index, state="up")
    if v6:
        ipr.addr("add", index=index, address=str(site.ours6), prefixlen=64, flags=_NODAD)


def _inside(ipr: Any, site: _Site, v4: bool, v6: bool) -> None:
    for name in ("lo", "eth0"):
        ipr.link("set", index=_index(ipr, name), state="up")
    index = _index(ipr, "eth0")
    ipr.addr("add", index=index, address=str(site.theirs4), prefixlen=30)
    if v4:
        ipr.route("add", dst="default", gateway=str(site.ours4))
    if v6:
        ipr.addr("add", index=index, address=str(site.theirs6), prefixlen=64, flags=_NODAD)
        ipr.route("add", dst="default", gateway=str(site.ours6), family=10)


def _remove(ipr: Any, device: str) -> None:
    for index in ipr.link_lookup(ifname=device):
        ipr.link("del", index=index)
