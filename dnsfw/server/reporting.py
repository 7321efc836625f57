"""Who tells what happened, and who keeps it: reporter, observations and records of a daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dnsfw.datapath.own import netns_cookie
from dnsfw.datapath.sockowner import SocketOwners
from dnsfw.model import Addr, addr_text
from dnsfw.server.happenings import Digest
from dnsfw.server.kernel_refusals import KernelRefusals, Look
from dnsfw.server.observed import Observed
from dnsfw.server.records import Records
from dnsfw.server.reporter import Reporter
from dnsfw.server.who_asks import Who, WhoAsks

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["report"]


def report(daemon: Daemon, digest: Digest) -> tuple[Reporter, Observed, Records]:
    """Connected to what the service does; `observed` hears only as a listener of the reporter."""
    service, names = daemon.service, daemon.names
    who = WhoAsks(SocketOwners(), daemon.now)
    reporter = Reporter(
        service.engine, lambda: daemon.reloader.policy, digest, daemon.watchers,
        service.upstreams.targets, names.text, who.who,
    )  # fmt: skip
    service.performer.on_open = reporter.history.opened
    records = Records(reporter, service.performer, who, daemon.options.run_dir, daemon.now)
    records.start(daemon.reloader.policy)
    if (asked := daemon.kernel.asked) is not None:
        look, policy = _looker(daemon, who), lambda: daemon.reloader.policy
        records.hear(KernelRefusals(asked, policy, look, reporter.refused))
    observed = Observed(service.engine.last_names, reporter.rule_text, time.time, names.text)
    return reporter, observed, records


def _looker(daemon: Daemon, who: WhoAsks) -> Look:
    """Who asked from an address and a port; sockets of other namespaces are not looked for."""
    here = netns_cookie()
    places = [(str(e.address), e.port) for e in daemon.service.listeners.endpoints]

    def look(addr: bytes, port: int, netns: int) -> Who:
        address = addr_text(Addr(addr))
        alike = [place for place in places if (":" in place[0]) == (":" in address)]
        return who.at(address, port, alike if netns in (0, here) else ())

    return look
