"""`dnsfw arm`: the wall before the daemon. Pins hooks and address rules, and ends.

For the early boot: it needs no network, no resolver and no socket of its own. Until `up`
takes the wall over, address rules decide and every name is closed, for nobody answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnsfw.policy.files import find_policy
from dnsfw.policy.policy import Policy
from dnsfw.server.armed import mark_armed
from dnsfw.server.kernel import Kernel, OpenKernel
from dnsfw.server.loading import load_tested
from dnsfw.server.lock import Lock
from dnsfw.server.options import Options
from dnsfw.server.role_names import RoleNames
from dnsfw.values import dataclass

__all__ = ["Armed", "arm"]


@dataclass(frozen=True, slots=True)
class Armed:
    """What `arm` did, for people."""

    policy: Path
    stood: bool  # a wall stood already and was left as it is
    ended: Sequence[str] = ()  # connections that are older than the wall, and refused
    unassigned: Sequence[str] = ()  # subjects that do not exist yet
    missing: Sequence[str] = ()  # hooks that could not be attached, where that is allowed
    warnings: Sequence[str] = ()


def arm(options: Options, open_kernel: OpenKernel, stands: bool) -> Armed:
    """Build the wall and leave it. A wall that `stands` is not touched: it is newer than we.

    ConfigError, PolicyError, DatapathError: nothing was left.
    """
    path = find_policy(options.policy)
    lock = Lock(options.run_dir)  # a daemon that runs is no place for us
    try:
        names = RoleNames(options.run_dir)
        policy = load_tested(path, names.known)
        if stands:
            return Armed(path, stood=True)
        names.take(policy)  # before the kernel hears of a number
        done = _build(options, policy, path, open_kernel)
        mark_armed(options.run_dir)
        return done
    finally:
        lock.release()


def _build(options: Options, policy: Policy, path: Path, open_kernel: OpenKernel) -> Armed:
    unassigned: list[str] = []

    def fill(kernel: Kernel) -> None:
        """As `up` fills it, but for listeners: there is none, so no query has anywhere to go."""
        kernel.listen(())
        kernel.addresses()
        kernel.sink.apply(policy.plan())
        unassigned.extend(kernel.assign(policy.subjects))
        kernel.settle_older(policy, end=False)

    kernel, remove = open_kernel(options, policy, fill), True
    try:
        ended = kernel.settle_older(policy, end=True)
        kernel.probe()
        missing = [f"{h.name} on {h.where}: {h.note}" for h in kernel.hooks() if not h.attached]
        warnings = tuple(map(str, policy.warnings))
        remove = False
        return Armed(path, False, ended, tuple(unassigned), missing, warnings)
    finally:
        kernel.close(remove=remove)
