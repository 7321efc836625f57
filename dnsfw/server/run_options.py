"""What `dnsfw run` was told."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import field
from pathlib import Path
from typing import Literal

from dnsfw.errors import ConfigError, DatapathError
from dnsfw.policy.upstream import Upstream
from dnsfw.server.address import plain
from dnsfw.server.resolvconf import RESOLV_CONF, SYSTEM, find_upstreams, nameservers
from dnsfw.server.run_child import Account
from dnsfw.server.run_policy import RunRules
from dnsfw.values import dataclass

__all__ = ["FORMATS", "Net", "RunOptions", "account_of", "report_format", "run_upstreams"]

Net = Literal["host", "private"]
FORMATS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """One run."""

    command: tuple[str, ...]
    rules: RunRules = field(default_factory=RunRules)
    upstreams: tuple[str, ...] = ()  # empty: as the policy says
    report: str | None = None
    user: str | None = None
    net: Net = "host"
    no_raw: bool = False
    no_escape: bool = False
    quiet: bool = False
    verbose: bool = False
    backend: str = "libbpf"


def account_of(text: str) -> Account:
    """`www-data`, `1000`, `1000:1000`, `user:group`: with the user's own groups. ConfigError."""
    user, colon, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdigit():
            raise ConfigError(f"--user: no user {user!r}; see `getent passwd`") from None
        if not colon:
            raise ConfigError(
                f"--user: user {user} has no entry, so no group; write {user}:GROUP"
            ) from None
        gid = _group(group)
        return Account(int(user), gid, (gid,))
    if colon:
        gid = _group(group)
        return Account(entry.pw_uid, gid, (gid,))
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_uid, entry.pw_gid, groups)


def _group(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"--user: no group {text!r}; see `getent group`") from None


def report_format(path: str) -> str:
    """json or yaml, by the name. ConfigError, before anything runs, for a file nobody could
    write.
    """
    form = FORMATS.get(Path(path).suffix.lower())
    if form is None:
        raise ConfigError(f"--report {path}: name it .json or .yaml")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"--report {path}: there is no directory {folder}")
    if not os.access(folder, os.W_OK):
        raise DatapathError(f"--report {path}: {folder} is not writable")
    return form


def run_upstreams(
    wanted: tuple[str | Upstream, ...], resolv_conf: Path = RESOLV_CONF
) -> tuple[Upstream, ...]:
    """Whom to ask. `system` is what resolv.conf names, a stub on loopback too: our own sockets
    are outside of the guarded cgroup, so nothing comes back to us. ConfigError: nobody.
    """
    servers = [plain(server) for server in nameservers(resolv_conf)] if SYSTEM in wanted else []
    named = [item for item in wanted if item != SYSTEM]
    found = dict.fromkeys(find_upstreams([*named, *servers], ())) if named or servers else {}
    if not found:
        raise ConfigError(
            f"no upstream: {resolv_conf} names no nameserver; name one: --upstream 9.9.9.9"
        )
    return tuple(found)
