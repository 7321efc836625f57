"""Who tells what happened, and who keeps it: reporter, observations and records of a daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dnsfw.datapath.sockowner import SocketOwners
from dnsfw.server.happenings import Digest
from dnsfw.server.observed import Observed
from dnsfw.server.records import Records
from dnsfw.server.reporter import Reporter
from dnsfw.server.who_asks import WhoAsks

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
    observed = Observed(service.engine.last_names, reporter.rule_text, time.time, names.text)
    return reporter, observed, records
