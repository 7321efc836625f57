"""The servers that are held against each other, each in the namespace it is given."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import support  # noqa: F401 - it makes the checkout importable
from zone import policy, query

from tests.support.daemon import Daemon
from tests.support.netlab import Lab, Netns

_START = 20.0  # seconds until a server answers
Place = tuple[str, int]


def start_dnsmasq(lab: Lab, netns: Netns, port: int, upstream: Place, *more: str) -> None:
    """dnsmasq as a forwarder with a cache; `more` are lines of its configuration."""
    config = lab.file(f"dnsmasq-{port}.conf", "\n".join([
        "no-resolv", "no-hosts", "keep-in-foreground", "user=root", "group=root", "bind-interfaces",
        "listen-address=127.0.0.1", f"port={port}", f"server={upstream[0]}#{upstream[1]}",
        "cache-size=10000", "pid-file=", *more,
    ]) + "\n")
    _start(netns, ["dnsmasq", f"--conf-file={config}"], port)


def start_unbound(lab: Lab, netns: Netns, port: int, upstream: Place) -> None:
    """unbound as a forwarder with a cache: one thread, no validation."""
    config = lab.file("unbound.conf", "\n".join([
        "server:", f"  interface: 127.0.0.1@{port}", "  access-control: 127.0.0.0/8 allow",
        '  username: ""', '  chroot: ""', f'  directory: "{lab.scratch}"', '  pidfile: ""',
        "  use-syslog: no", f'  logfile: "{lab.scratch}/unbound.log"', "  num-threads: 1",
        '  module-config: "iterator"', "  do-daemonize: no", "  do-not-query-localhost: no",
        "remote-control:", "  control-enable: no",
        "forward-zone:", '  name: "."', f"  forward-addr: {upstream[0]}@{upstream[1]}",
    ]) + "\n")
    _start(netns, ["unbound", "-d", "-c", str(config)], port)


def start_dnsfw(lab: Lab, netns: Netns, port: int, upstream: Place) -> Daemon:
    """dnsfw with its wall up on a cgroup of ours and on lo's namespace."""
    daemon = Daemon(
        lab,
        netns,
        lab.cgroup(),
        policy(),
        upstreams=[f"{upstream[0]}:{upstream[1]}"],
        interfaces=(),
        listen=[f"127.0.0.1:{port}"],
        inside=False,
    ).start()
    _wait(netns, port, daemon.said)
    return daemon


def _start(netns: Netns, argv: Sequence[str], port: int) -> None:
    process = netns.start(argv)
    try:
        _wait(netns, port, ())
    except TimeoutError:
        process.kill()
        said = process.stdout.read() if process.stdout else ""
        raise RuntimeError(f"{argv[0]} does not answer: {said}") from None


def _wait(netns: Netns, port: int, said: Sequence[str]) -> None:
    """Until it answers. TimeoutError if it never does."""
    deadline = time.monotonic() + _START
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(("127.0.0.1", port))
        while time.monotonic() < deadline:
            with suppress(OSError):  # nobody listens yet
                client.send(query("n0.example.com"))
                client.recv(4096)
                return
            time.sleep(0.02)
    raise TimeoutError(f"port {port}: no answer. {''.join(said)}")
