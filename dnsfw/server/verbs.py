"""What the control socket understands: each command's question, and the daemon's answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from dnsfw.errors import ConfigError
from dnsfw.model import Lockdown, RoleId
from dnsfw.server.control import Peer, Row, Rows, Verb, Verbs
from dnsfw.server.enrollments import wanted as wanted_enrolment
from dnsfw.server.explaining import explain
from dnsfw.server.removal import kept_on_disk
from dnsfw.server.reporting import with_askers
from dnsfw.server.resolve import resolve, role_named
from dnsfw.server.views import flow_rows, grant_rows, status

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["verbs"]

_BREATH = 256  # flows between two looks at the sockets: counting must not hold up answers
_ROWS = 64  # the same of a listing: a millisecond


async def _in_turns(rows: Iterable[Row]) -> Rows:
    """A listing, with the sockets in between."""
    left = iter(rows)
    while some := list(islice(left, _ROWS)):
        yield some
        await asyncio.sleep(0)


def verbs(daemon: Daemon) -> Verbs:
    """Bound to one daemon."""

    async def show_status(request: Row) -> Row:
        flows: Counter[int] = Counter()
        every = daemon.kernel.sink.flows() if request.get("flows", True) else ()
        for count, flow in enumerate(every, start=1):
            flows[flow.role] += 1
            if count % _BREATH == 0:
                await asyncio.sleep(0)
        return status(daemon, flows)

    async def look_up(request: Row, peer: Peer) -> Row:
        return await resolve(daemon, request, peer)

    async def explained(request: Row) -> Row:
        return await explain(daemon, request)

    def wanted(request: Row) -> RoleId | None:
        """The role that `--role` names; None for all."""
        name = request.get("role")
        return None if name is None else role_named(daemon.reloader.policy, name).role

    async def reload(request: Row) -> Row:
        done = await daemon.reloader.reload()
        changes, failed = [*done.changes], list[str]()
        if request.get("fetch"):
            new, failed = await daemon.remotes.now()
            changes += new
        told = {line.partition(": ")[0] for line in failed}  # what was missing was tried twice
        warnings = [w for w in done.warnings if w.partition(": not fetched: ")[0] not in told]
        warnings += failed
        return {"policy": done.path, "changes": changes, "warnings": warnings, "failed": failed}

    async def lockdown(request: Row) -> Row:
        try:
            state = Lockdown[str(request.get("state")).upper()]
        except KeyError:
            raise ConfigError("lockdown is off, on or hard") from None
        daemon.lock_down(state)
        return {"lockdown": state.name.lower()}

    async def temporary(request: Row, peer: Peer) -> Row:
        return await daemon.temporary.ask(request, peer.uid)

    async def enroll(request: Row) -> Row:
        pid, role, force = wanted_enrolment(request)
        return (await daemon.enrollments.enroll(pid, role, force=force)).row()

    async def confirm(request: Row) -> Row:
        if not daemon.trial.confirm():
            raise ConfigError("nothing to confirm: no `up --try` waits for it")
        daemon.reporter.said("confirm", "the wall stays")
        return {}

    async def down(request: Row) -> Row:
        log = daemon.reloader.policy.log
        daemon.take_down()
        await daemon.removed.wait()
        return {"kept": kept_on_disk(daemon.options.run_dir, log)}

    async def watch(request: Row) -> Rows:
        role = None if wanted(request) is None else request["role"]
        more = asyncio.Event()
        watcher = daemon.watchers.add(more.set)
        if watcher is None:
            raise ConfigError("too many `dnsfw watch` are running; end one")
        try:
            yield [{"kind": "watching"}]
            while True:
                await more.wait()
                more.clear()
                yield [
                    dict(happening)
                    for happening in watcher.take()
                    if role is None or happening.get("role", role) == role
                ]
        finally:
            daemon.watchers.remove(watcher)

    def grants(request: Row) -> Rows:
        return _in_turns(grant_rows(daemon, wanted(request)))

    async def observed(request: Row) -> Rows:
        """What was refused, or would have been, since the daemon started: `since` a time of the
        wall's clock, `askers` false without a look at who asked.
        """
        role = None if wanted(request) is None else request["role"]
        since, look = request.get("since", 0), request.get("askers", True)
        if not isinstance(since, int | float):
            raise ConfigError("`since` is a number of seconds since 1970")
        rows = [row for row in daemon.observed.rows() if role in {None, row["role"]}]
        rows = [row for row in rows if row["last"] >= since]
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS]
            yield await with_askers(daemon, some) if look else some
            await asyncio.sleep(0)

    def flows(request: Row) -> Rows:
        return _in_turns(flow_rows(daemon, wanted(request)))

    return {
        "status": Verb(show_status),
        "grants": Verb(rows=grants),
        "flows": Verb(rows=flows),
        "watch": Verb(rows=watch),
        "observed": Verb(rows=observed),
        "explain": Verb(explained),
        "resolve": Verb(checks=look_up),
        "reload": Verb(reload, changes=True),
        "lockdown": Verb(lockdown, changes=True),
        "temporary": Verb(checks=temporary, changes=True),
        "enroll": Verb(enroll, changes=True),
        "confirm": Verb(confirm, changes=True),
        "down": Verb(down, changes=True),
    }
