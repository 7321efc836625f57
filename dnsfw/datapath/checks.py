"""One check of `dnsfw doctor`, and the host that it looks at."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from dataclasses import field
from pathlib import Path

from dnsfw.datapath import cgroup, hooks, mounts
from dnsfw.datapath.backend import Backend
from dnsfw.datapath.libbpf import LibbpfBackend, netns_cookie_in_skb_hooks
from dnsfw.values import dataclass

__all__ = ["Check", "Host"]

_SO_RCVMARK = 75  # asm-generic/socket.h, Linux 5.19


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `dnsfw doctor`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""  # for when it is not ok
    lost: str = ""  # the promise that does not hold without it
    vital: bool = False  # nothing can be enforced without it

    @property
    def level(self) -> str:
        """ok; warn: a promise is weaker; fail: there is no enforcement at all."""
        return "ok" if self.ok else "fail" if self.vital else "warn"


def _receive_mark() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Host:
    """What the checks look at; tests give another one."""

    root: Path = Path("/")
    release: str = field(default_factory=lambda: os.uname().release)
    cgroup_root: Callable[[], Path] = cgroup.root
    find_mount: Callable[[str], Path | None] = mounts.where
    has_tcx: Callable[[], bool] = hooks.has_tcx
    has_netns_cookie: Callable[[], bool] = netns_cookie_in_skb_hooks
    has_receive_mark: Callable[[], bool] = _receive_mark
    load_library: Callable[[str], object] = ctypes.CDLL
    backend: Backend = field(default_factory=LibbpfBackend)
    listening: tuple[str, ...] = ()  # where a daemon answers that runs here

    def text(self, path: str) -> str:
        """The content of a file; empty if it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    def link(self, path: str) -> str:
        """Where a symbolic link leads; empty if it is none."""
        try:
            return os.fspath((self.root / path.lstrip("/")).readlink())
        except OSError:
            return ""

    def status(self, path: str) -> os.stat_result | None:
        """Whose a file is and who may use it; None if there is none."""
        try:
            return (self.root / path.lstrip("/")).stat()
        except OSError:
            return None

    def entries(self, path: str) -> tuple[str, ...]:
        """The names in a directory; none if it cannot be read."""
        try:
            return tuple(sorted(item.name for item in (self.root / path.lstrip("/")).iterdir()))
        except OSError:
            return ()
