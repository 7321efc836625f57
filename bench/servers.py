"""The servers that are held against each other, each in the namespace it is given.

All of them are set up alike: one thread, forwarding to the same upstream, a cache that
holds every name of the contest, no validation, no log of queries.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import support  # noqa: F401 - it makes the checkout importable
from zone import policy, query

from tests.support.daemon import Daemon
from tests.support.netlab import Cgroup, Lab, Netns

_START = 20.0  # seconds until a server answers
LO = "127.0.0.1"
CACHE = 200_000  # names
Place = tuple[str, int]


def start_dnsmasq(
    lab: Lab, netns: Netns, port: int, upstream: Place, *more: str, addresses: Sequence[str] = (LO,)
) -> subprocess.Popen[str]:
    """dnsmasq as a forwarder with a cache; `more` are lines of its configuration."""
    if not any(line.startswith("cache-size=") for line in more):
        more = (*more, f"cache-size={min(CACHE, 10_000)}")
    config = lab.file(f"dnsmasq-{netns.name}-{port}.conf", "\n".join([
        "no-resolv", "no-hosts", "keep-in-foreground", "user=root", "group=root", "bind-interfaces",
        *(f"listen-address={a}" for a in addresses), f"port={port}",
        f"server={upstream[0]}#{upstream[1]}", "pid-file=",
        "dns-forward-max=10000", *more,
    ]) + "\n")
    return _start(netns, ["dnsmasq", f"--conf-file={config}"], port, addresses)


def start_unbound(
    lab: Lab, netns: Netns, port: int, upstream: Place, *more: str, addresses: Sequence[str] = (LO,)
) -> subprocess.Popen[str]:
    """unbound as a forwarder with a cache: one thread, no validation."""
    config = lab.file(f"unbound-{netns.name}.conf", "\n".join([
        "server:", *(f"  interface: {a}@{port}" for a in addresses),
        "  access-control: 0.0.0.0/0 allow",
        '  username: ""', '  chroot: ""', f'  directory: "{lab.scratch}"', '  pidfile: ""',
        "  use-syslog: no", f'  logfile: "{lab.scratch}/unbound.log"', "  num-threads: 1",
        '  module-config: "iterator"', "  do-daemonize: no", "  do-not-query-localhost: no",
        "  outgoing-range: 4096", "  num-queries-per-thread: 4096",
        *(f"  {line}" for line in more),
        "remote-control:", "  control-enable: no",
        "forward-zone:", '  name: "."', f"  forward-addr: {upstream[0]}@{upstream[1]}",
    ]) + "\n")
    return _start(netns, ["unbound", "-d", "-c", str(config)], port, addresses)


def start_dnsdist(
    lab: Lab, netns: Netns, port: int, upstream: Place, *more: str, addresses: Sequence[str] = (LO,)
) -> subprocess.Popen[str]:
    """dnsdist with a packet cache in front of the upstream."""
    config = lab.file(f"dnsdist-{netns.name}.conf", "\n".join([
        f'setLocal("{addresses[0]}:{port}")',
        *(f'addLocal("{a}:{port}")' for a in addresses[1:]),
        'setACL({"0.0.0.0/0"})',
        f'newServer({{address="{upstream[0]}:{upstream[1]}"}}):setUp()',
        'setSecurityPollSuffix("")',
        f"pc = newPacketCache({CACHE}, {{maxTTL=86400}})", 'getPool(""):setCache(pc)', *more,
    ]) + "\n")
    argv = ["dnsdist", "--supervised", "--disable-syslog", "-C", str(config)]
    return _start(netns, argv, port, addresses)


def start_recursor(
    lab: Lab, netns: Netns, port: int, upstream: Place, *, addresses: Sequence[str] = (LO,)
) -> subprocess.Popen[str]:
    """pdns-recursor, forwarding, with its packet cache."""
    place = lab.scratch / f"recursor-{netns.name}"
    place.mkdir(exist_ok=True)
    (place / "recursor.conf").write_text("\n".join([
        "local-address=" + ",".join(addresses), f"local-port={port}", "daemon=no", "threads=1",
        "dnssec=off", "setuid=", "setgid=", f"socket-dir={place}", "allow-from=0.0.0.0/0",
        f"forward-zones-recurse=.={upstream[0]}:{upstream[1]}", "dont-query=", "quiet=yes",
        "pdns-distributes-queries=no", "security-poll-suffix=", "any-to-tcp=no",
    ]) + "\n")
    return _start(netns, ["pdns_recursor", f"--config-dir={place}"], port, addresses)


def start_knot(
    lab: Lab, netns: Netns, port: int, upstream: Place, *, addresses: Sequence[str] = (LO,)
) -> subprocess.Popen[str]:
    """knot-resolver, one process, forwarding without validation."""
    place = lab.scratch / f"knot-{netns.name}"
    place.mkdir(exist_ok=True)
    config = lab.file(f"knot-{netns.name}.conf", "\n".join([
        *(f'net.listen("{a}", {port}, {{ kind = "dns" }})' for a in addresses),
        "trust_anchors.remove('.')", "cache.size = 100 * MB", "modules.unload('ta_update')",
        f"policy.add(policy.all(policy.STUB('{upstream[0]}@{upstream[1]}')))",
    ]) + "\n")
    return _start(netns, ["kresd", "-n", "-c", str(config), str(place)], port, addresses)


def start_bind(
    lab: Lab, netns: Netns, port: int, upstream: Place, *, addresses: Sequence[str] = (LO,)
) -> subprocess.Popen[str]:
    """BIND as a forwarder, one worker."""
    place = lab.scratch / f"bind-{netns.name}"
    place.mkdir(exist_ok=True)
    config = lab.file(f"bind-{netns.name}.conf", f"""options {{
  directory "{place}"; pid-file none; session-keyfile "{place}/key"; recursion yes;
  listen-on port {port} {{ {"; ".join(addresses)}; }}; listen-on-v6 {{ none; }};
  allow-query {{ any; }}; allow-recursion {{ any; }}; dnssec-validation no; forward only;
  forwarders {{ {upstream[0]} port {upstream[1]}; }}; minimal-responses yes;
}};
controls {{ }};
""")
    argv = ["named", "-f", "-n", "1", "-c", str(config), "-u", "root"]
    return _start(netns, argv, port, addresses)


PEERS = {
    "unbound": (start_unbound, "unbound"),
    "dnsmasq": (start_dnsmasq, "dnsmasq"),
    "dnsdist": (start_dnsdist, "dnsdist"),
    "pdns-recursor": (start_recursor, "pdns_recursor"),
    "knot-resolver": (start_knot, "kresd"),
    "bind9": (start_bind, "named"),
}


def start_dnsfw(
    lab: Lab,
    netns: Netns,
    port: int,
    upstream: Place,
    text: str | None = None,
    *,
    cgroup: Cgroup | None = None,
    addresses: Sequence[str] = (LO,),
    options: Sequence[str] = (),
) -> Daemon:
    """dnsfw with its wall up on a cgroup of ours and on lo's namespace."""
    daemon = Daemon(
        lab,
        netns,
        cgroup or lab.cgroup(),
        policy() if text is None else text,
        upstreams=[f"{upstream[0]}:{upstream[1]}"],
        interfaces=(),
        listen=[f"{address}:{port}" for address in addresses],
        options=options,
        inside=False,
    ).start()
    _wait(netns, (addresses[0], port), daemon.said)
    return daemon


def pin(pid: int, *cores: int) -> None:
    """All threads of a process, and its children, run on these cores from now on."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            os.sched_setaffinity(int(thread.name), cores)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        pin(int(child), *cores)


def worked(pid: int) -> float:
    """Seconds of CPU of a process and its children, living and ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    mine = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return mine + sum(worked(int(child)) for child in children)


def memory(pid: int) -> int:
    """Octets that a process and its children do not share with others (PSS).

    Without the kernel's BPF tables that are mapped: they are counted as tables.
    """
    total, table = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, value = line.partition(" ")
        if not key.endswith(":"):  # the head of a mapping
            table = line.endswith("anon_inode:bpf-map")
        elif key == "Pss:" and not table:
            total += int(value.split()[0]) * 1024
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total + sum(memory(int(child)) for child in children)


def _start(
    netns: Netns, argv: Sequence[str], port: int, addresses: Sequence[str]
) -> subprocess.Popen[str]:
    process = netns.start(argv)
    try:
        _wait(netns, (addresses[0], port), ())
    except TimeoutError:
        process.kill()
        said = process.stdout.read() if process.stdout else ""
        raise RuntimeError(f"{argv[0]} does not answer: {said}") from None
    return process


def _wait(netns: Netns, where: Place, said: Sequence[str]) -> None:
    """Until it answers. TimeoutError if it never does."""
    deadline = time.monotonic() + _START
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(where)
        while time.monotonic() < deadline:
            with suppress(OSError):  # nobody listens yet
                client.send(query("n0.example.com"))
                client.recv(4096)
                return
            time.sleep(0.02)
    raise TimeoutError(f"port {where[1]}: no answer. {''.join(said)}")
