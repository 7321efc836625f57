"""Which process asked for a name: found by the socket that its query came from.

For the summary only, never to judge by: a process may be gone or have passed its socket on
(the role of a query comes from the kernel). The first query for a name is looked at, while
its sender still waits for the answer; few a second, so that a flood costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dnsfw.engine.effects import Client
from dnsfw.model import SECOND, Nanos
from dnsfw.server.clock import Now
from dnsfw.server.observed import Asker
from dnsfw.server.udp import UdpRoute

__all__ = ["RunAskers"]

_QUESTION = 12  # octets of header before it
_NAMES_KEPT = 4096
_A_SECOND = 100  # look-ups
_PROCESSES = 64  # of the tree that are looked into; what asks is mostly young
_LOCAL, _INODE = 1, 9  # columns of /proc/net/udp

Query = Callable[[bytes, Client], object]


class RunAskers:
    """Stands before the performer; `asker` is who sent the query that is being judged."""

    def __init__(
        self, query: Query, pids: Callable[[], Iterable[int]], now: Now, proc: Path = Path("/proc")
    ) -> None:
        self.asker: Asker | None = None
        self._query = query
        self._pids = pids
        self._now = now
        self._proc = proc
        self._seen: dict[bytes, None] = {}
        self._second = Nanos(0)
        self._looked = 0

    def query(self, wire: bytes, client: Client) -> None:
        """What a listener heard."""
        route = client.route
        if isinstance(route, UdpRoute) and self._is_news(wire[_QUESTION:].lower()):
            self.asker = self._who(int(route.peer[1]))
        try:
            self._query(wire, client)
        finally:
            self.asker = None

    def _is_news(self, question: bytes) -> bool:
        if question in self._seen:
            return False
        now = self._now()
        if now - self._second >= SECOND:
            self._second, self._looked = now, 0
        if self._looked >= _A_SECOND:
            return False
        self._looked += 1
        if len(self._seen) >= _NAMES_KEPT:
            del self._seen[next(iter(self._seen))]
        self._seen[question] = None
        return True

    def _who(self, port: int) -> Asker | None:
        pids = sorted(self._pids(), reverse=True)[:_PROCESSES]
        wanted: set[str] = set()
        for pid in pids:
            wanted = {f"socket:[{inode}]" for inode in self._inodes(pid, port)}
            break  # they share a network namespace, or have no way to us
        for pid in pids if wanted else ():
            with suppress(OSError):
                if any(_leads_to(fd, wanted) for fd in (self._proc / str(pid) / "fd").iterdir()):
                    return Asker(pid, (self._proc / str(pid) / "comm").read_text().strip())
        return None

    def _inodes(self, pid: int, port: int) -> Iterator[str]:
        for table in ("udp", "udp6"):
            with suppress(OSError):
                lines = (self._proc / str(pid) / "net" / table).read_text().splitlines()[1:]
                for fields in map(str.split, lines):
                    if int(fields[_LOCAL].rpartition(":")[2], 16) == port:
                        yield fields[_INODE]


def _leads_to(fd: Path, wanted: set[str]) -> bool:
    with suppress(OSError):
        return str(fd.readlink()) in wanted
    return False
