"""Does this host still ask us? Says so once when resolv.conf stops leading here (row 118).

DHCP clients, VPNs and container runtimes rewrite or mount over it. Nothing gets out by
that: port 53 elsewhere is refused like any address. But names stop working, and the reason
should not have to be guessed. The file is compared once a second rather than watched with
inotify, which hears nothing of a mount over it or of a link that leads elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dnsfw.server.address import Endpoint
from dnsfw.server.resolvconf import RESOLV_CONF, is_own, nameservers

__all__ = ["ResolvWatch"]

_Stamp = tuple[int, int, int, int]


class ResolvWatch:
    """`look` once a second; `wrong` is what `status` shows."""

    def __init__(
        self,
        listening: Sequence[Endpoint],
        said: Callable[[str, str], None],
        taken_over: Callable[[], bool],
        path: Path = RESOLV_CONF,
    ) -> None:
        self.wrong = ""
        self._listening = tuple(listening)
        self._said = said
        self._taken_over = taken_over
        self._path = path
        self._stamp = self._stat()
        self._led = self._leads()

    def look(self) -> None:
        """Compare. It only ever speaks of a host that asked us once."""
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        leads = self._leads()
        if leads and self.wrong:
            self.wrong = ""
            self._said("resolv-conf", f"{self._path} leads here again")
        elif self._led and not leads and not self.wrong and not self._taken_over():
            self.wrong = (
                f"{self._path} no longer leads here: it names {self._servers()}; names will not "
                "resolve until it does, or `dns.takeover: true` is set"
            )
            self._said("resolv-conf", self.wrong)
        self._led |= leads

    def _leads(self) -> bool:
        return any(is_own(server, self._listening) for server in nameservers(self._path))

    def _servers(self) -> str:
        return ", ".join(str(s.address) for s in nameservers(self._path)) or "no nameserver"

    def _stat(self) -> _Stamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
