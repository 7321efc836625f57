"""Who tells what happened, and who keeps it: reporter, observations and records of a daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dnsfw.datapath.own import netns_cookie
from dnsfw.datapath.sockowner import SocketOwners
from dnsfw.model import Addr, addr_text
from dnsfw.server.happenings import Digest
from dnsfw.server.kernel_refusals import KernelRefusals, Look
from dnsfw.server.observed import Observed
from dnsfw.server.records import Records
from dnsfw.server.reporter import Reporter
from dnsfw.server.who_asks import NOBODY, Who, WhoAsks, who_text
from dnsfw.wire.name import from_text

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["report", "with_askers"]


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


async def with_askers(daemon: Daemon, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows; of a name without a command, who was told last that it is refused."""
    roles = {role.name: role.role for role in daemon.reloader.policy.roles.values()}
    found: list[Who] = []
    for row in rows:
        refused = None
        if row["name"] and not row["command"] and row["role"] in roles:
            history = daemon.reporter.history
            refused = history.refused(roles[row["role"]], from_text(row["name"]))
        found.append(NOBODY if refused is None else refused.who)

    def told() -> list[dict[str, Any]]:  # cgroups are walked, and their processes
        texts = {who: who_text(who, daemon.records.paths) for who in set(found)}
        return [{**row, "asker": texts[who]} for row, who in zip(rows, found, strict=True)]

    return await asyncio.to_thread(told)


def _looker(daemon: Daemon, who: WhoAsks) -> Look:
    """Who asked from an address and a port; sockets of other namespaces are not looked for."""
    here = netns_cookie()
    places = [(str(e.address), e.port) for e in daemon.service.listeners.endpoints]

    def look(addr: bytes, port: int, netns: int) -> Who:
        address = addr_text(Addr(addr))
        alike = [place for place in places if (":" in place[0]) == (":" in address)]
        return who.at(address, port, alike if netns in (0, here) else ())

    return look
