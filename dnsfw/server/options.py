"""What `dnsfw up` was told, and where a daemon keeps its things."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from dnsfw.model import addr_text
from dnsfw.policy.policy import DnsSettings
from dnsfw.policy.policy import Endpoint as PolicyEndpoint
from dnsfw.policy.upstream import Upstream
from dnsfw.server.address import Endpoint, parse_endpoint
from dnsfw.server.resolvconf import SYSTEM
from dnsfw.values import dataclass

__all__ = ["CONTROL_NAME", "Options", "listen_on", "processes", "run_dir", "wanted_upstreams"]

DEFAULT_RUN_DIR = "/run/dnsfw"
CONTROL_NAME = "control.sock"


def run_dir(explicit: str | None = None) -> Path:
    """--run-dir, else $DNSFW_RUN_DIR, else /run/dnsfw: lock, control socket, journal."""
    return Path(explicit or os.environ.get("DNSFW_RUN_DIR") or DEFAULT_RUN_DIR).absolute()


@dataclass(frozen=True, slots=True)
class Options:
    """Empty fields mean: as the policy says."""

    policy: str | None = None
    listen: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    cgroup: str | None = None
    interfaces: tuple[str, ...] = ()
    backend: str = "libbpf"
    degraded: bool = False
    trial: float | None = None  # seconds until everything is undone, unless confirmed
    run_dir: Path = field(default_factory=run_dir)
    watch: bool = False  # reload when the files of the policy change
    dns_only: bool = False  # no BPF: names are refused, addresses are not
    enroll_socket: Path | None = None  # where an older tool's enrolment requests are taken
    pin_dir: Path | None = None  # $DNSFW_PIN_DIR, else below the BPF file system
    without: frozenset[str] = frozenset()  # programs that this wall will not need
    answers: bool = True  # the kernel may answer by itself, where the policy lets it
    elsewhere: bool = False  # ... in other network namespaces alone, and only what was published


def listen_on(options: Options, dns: DnsSettings) -> tuple[Endpoint, ...]:
    """Where to answer, each once: the command line's addresses, else the policy's."""
    if options.listen:
        return tuple(dict.fromkeys(map(parse_endpoint, options.listen)))
    return tuple(dict.fromkeys(parse_endpoint(_text(endpoint)) for endpoint in dns.listen))


def wanted_upstreams(options: Options, dns: DnsSettings) -> Sequence[str | Upstream]:
    """Whom to ask: the command line's texts, else the policy's; `system` stays a word."""
    return options.upstreams or [upstream or SYSTEM for upstream in dns.upstreams]


def processes(dns: DnsSettings) -> int:
    """How many answer over UDP: what the policy says; `auto` is one a CPU that we may use."""
    return dns.workers or len(os.sched_getaffinity(0))


def _text(endpoint: PolicyEndpoint) -> str:
    address = addr_text(endpoint.addr)
    return f"[{address}]:{endpoint.port}" if ":" in address else f"{address}:{endpoint.port}"
