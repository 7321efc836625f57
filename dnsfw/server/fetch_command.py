"""How a command fetches (`check --fetch`, `run`): of whom the policy names it asks the addresses,
as the daemon will, and not of the host's resolver, which may be plain where the policy says TLS,
or the very dnsfw that is not started yet. Under a wall that stands, root's sockets are marked as
dnsfw's own, as the daemon's are; who may not mark them connects as any program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dnsfw.errors import ConfigError
from dnsfw.policy.copies import Copies
from dnsfw.policy.policy import DnsSettings
from dnsfw.policy.upstream import Upstream
from dnsfw.server.clock import boot_now
from dnsfw.server.fetch import Way
from dnsfw.server.fetch_names import Names
from dnsfw.server.fetch_ways import AnyWay, OwnWay
from dnsfw.server.loading import settings_of
from dnsfw.server.options import Options, listen_on, wanted_upstreams
from dnsfw.server.removal import wall_stands
from dnsfw.server.resolvconf import RESOLV_CONF, SYSTEM, find_upstreams, is_own, nameservers
from dnsfw.server.upstream import Own

__all__ = ["command_way", "mark_of_wall"]


def command_way(path: Path, copies: Copies, upstreams: Sequence[str] = ()) -> Way:
    """Called in the loop that will ask. ConfigError: nobody can be asked as the policy says."""
    dns = settings_of(path, copies)
    stands = wall_stands()
    own = mark_of_wall(Options()) if stands else _nothing
    if own is None:
        return AnyWay()
    found = _whom(dns, Options(upstreams=tuple(upstreams)), stands=stands)
    if found is None:
        return AnyWay()
    loop = asyncio.get_running_loop()
    return OwnWay(loop, Names(loop, found, own, boot_now), own)


def mark_of_wall(options: Options) -> Own | None:
    """Marks a socket for the wall that stands; None where none can be."""
    from dnsfw.server.wall import standing_own  # BPF: only where there is one

    try:
        return standing_own(options)
    except ConfigError:
        return None


def _whom(dns: DnsSettings, options: Options, *, stands: bool) -> tuple[Upstream, ...] | None:
    """None: the host's resolver, for `system` is what the policy says."""
    wanted, listening = wanted_upstreams(options, dns), listen_on(options, dns)
    if any(item != SYSTEM for item in wanted):
        return find_upstreams(wanted, listening)
    servers = nameservers(RESOLV_CONF)
    if stands or not servers or not all(is_own(server, listening) for server in servers):
        return None
    return find_upstreams(wanted, listening)  # resolv.conf names dnsfw, and it does not run


def _nothing(fd: int) -> None:
    """Nobody guards this host."""
