"""An internet in a namespace: nsd with the zones, unbound in front of it, a web server.

    host  10.77.0.2, fd77::2  ── eth0 ── eth0 ──  10.77.0.1, fd77::1  internet

Routes of type `local` on lo give the internet whole networks without adding each address.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.netlab import Lab, Netns, wait_until

DATA = Path(__file__).resolve().parents[1] / "data" / "zones"
NETS4 = ("203.0.113.0/24", "198.51.100.0/24", "198.18.0.0/15", "8.8.8.8/32", "169.254.169.254/32",
         "10.1.2.3/32")
NETS6 = ("2001:db8::/32", "fd12:3456::/32")
NSD = ("198.51.100.10", "2001:db8:53::10")
UNBOUND = "198.51.100.53"
UNBOUND6 = "2001:db8:53::53"
OTHER_RESOLVER = "8.8.8.8"  # what a program with a resolver of its own would ask
PORTS = (80, 443, 853, 8080)
PAIRS = 10_000  # names pN.pairs.example, each with an address of its own
THOUSANDS = 3_000  # addresses of thousands.example.com: 48 KB over TCP
HOST4, HOST6 = "10.77.0.2", "fd77::2"
ROUTER4, ROUTER6 = "10.77.0.1", "fd77::1"


def pair_address(index: int) -> str:
    """198.18.0.0/15 holds 131,072 addresses: one for every name of the pairs zone."""
    return f"198.{18 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"


def many_addresses() -> list[str]:
    """What `many.example.com` holds: forty addresses do not fit into 512 octets."""
    return [f"203.0.113.{last}" for last in range(100, 140)]


@dataclass(frozen=True, slots=True)
class Internet:
    netns: Netns
    unbound: subprocess.Popen[str]
    unbound_log: Path

    def asked(self, name: str) -> bool:
        """Whether a query for this name reached the recursor (promise 7)."""
        return f" {name}. " in self.unbound_log.read_text()


def _zones(lab: Lab) -> dict[str, Path]:
    zones = {path.stem: path.read_text() for path in sorted(DATA.glob("*.zone"))}
    zones["example.com"] += "".join(f"many A {address}\n" for address in many_addresses())
    zones["example.com"] += "".join(
        f"thousands A {pair_address(index)}\n" for index in range(THOUSANDS)
    )
    head = zones["example.net"].split("NS ")[0].replace("example.net.\n", "pairs.example.\n", 1)
    zones["pairs.example"] = head + "NS ns.example.com.\n" + "".join(
        f"p{index} A {pair_address(index)}\n" for index in range(PAIRS)
    )
    return {name: lab.file(f"zones/{name}.zone", text) for name, text in zones.items()}


def _start_nsd(lab: Lab, netns: Netns, zones: dict[str, Path]) -> None:
    config = lab.file("nsd.conf", "\n".join([
        "server:",
        *(f"  ip-address: {address}" for address in NSD),
        '  username: ""', '  chroot: ""', '  database: ""', "  server-count: 1",
        f"  zonesdir: {lab.scratch}/zones", f"  pidfile: {lab.scratch}/nsd.pid",
        f"  xfrdfile: {lab.scratch}/xfrd.state", f"  xfrdir: {lab.scratch}",
        f"  zonelistfile: {lab.scratch}/zone.list", "  rrl-ratelimit: 0",
        "remote-control:", "  control-enable: no",
        *(f"zone:\n  name: {name}\n  zonefile: {path}" for name, path in zones.items()),
    ]) + "\n")
    log = (lab.scratch / "nsd.log").open("w")
    netns.start(["nsd", "-d", "-c", str(config)], stdout=log)
    log.close()


def _start_unbound(
    lab: Lab, netns: Netns, zones: dict[str, Path]
) -> tuple[subprocess.Popen[str], Path]:
    log = lab.file("unbound.log", "")
    config = lab.file("unbound.conf", "\n".join([
        "server:",
        *(f"  interface: {address}" for address in (UNBOUND, UNBOUND6, OTHER_RESOLVER)),
        "  access-control: 0.0.0.0/0 allow", "  access-control: ::/0 allow",
        '  username: ""', '  chroot: ""', f'  directory: "{lab.scratch}"', '  pidfile: ""',
        "  use-syslog: no", f'  logfile: "{log}"', "  log-queries: yes",
        '  module-config: "iterator"', "  do-daemonize: no", "  num-threads: 1",
        "  so-reuseport: no", "  minimal-responses: no", "  max-udp-size: 1232",
        *(f'  local-zone: "{zone}" nodefault' for zone in ("example.", "test.")),
        "remote-control:", "  control-enable: no",
        *(f"stub-zone:\n  name: {name}\n  stub-addr: {NSD[0]}" for name in zones),
        # Nothing else exists here: a query for another zone fails at once instead of hanging.
        f"stub-zone:\n  name: .\n  stub-addr: {NSD[0]}",
    ]) + "\n")
    return netns.start(["unbound", "-d", "-c", str(config)]), log


def open_internet(lab: Lab) -> Internet:
    """Nameservers and web servers that answer; nothing of it leaves the namespace."""
    netns = lab.namespace("internet")
    for net in NETS4:
        netns.ip(f"route add local {net} dev lo")
    for net in NETS6:
        netns.ip(f"-6 route add local {net} dev lo")
    netns.sysctl("net.ipv6.ip_nonlocal_bind", 1)
    netns.sysctl("net.ipv4.icmp_ratelimit", 0)  # every port unreachable is sent
    netns.sysctl("net.ipv6.icmp.ratelimit", 0)
    zones = _zones(lab)
    _start_nsd(lab, netns, zones)
    unbound, log = _start_unbound(lab, netns, zones)
    web = Path(__file__).with_name("web.py")
    page = netns.start([sys.executable, str(web), *map(str, PORTS)])
    assert page.stdout is not None
    assert page.stdout.readline() == "ready\n"

    def answers() -> bool:  # a name that no test asks for: the log is theirs
        query = ["dig", f"@{UNBOUND}", "+short", "+time=1", "+tries=1", "example.net"]
        return "203.0.113.15" in netns.run(query).stdout

    wait_until(answers, what="unbound in front of nsd")
    return Internet(netns, unbound, log)


def plug_in(lab: Lab, internet: Netns, host: Netns) -> None:
    """A veth pair with default routes: the host's only way out."""
    lab.link(host, internet)
    internet.ip(f"addr add {ROUTER4}/24 dev eth0")
    internet.ip(f"addr add {ROUTER6}/64 dev eth0")
    host.ip(f"addr add {HOST4}/24 dev eth0")
    host.ip(f"addr add {HOST6}/64 dev eth0")
    host.ip(f"route add default via {ROUTER4}")
    host.ip(f"-6 route add default via {ROUTER6}")
    host.run(["ping", "-c1", "-W2", ROUTER4])  # neighbours known: the first packet is not held
