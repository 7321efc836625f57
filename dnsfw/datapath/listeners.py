"""Where dnsfw itself answers: the hooks let queries there pass and mark them with a role."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.datapath import abi
from dnsfw.datapath.swap import Table
from dnsfw.datapath.tables import number_key
from dnsfw.errors import ConfigError
from dnsfw.model import Addr
from dnsfw.values import dataclass

_HERE = b"\x01"
_ONLY = number_key(0)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of ours; an address of zeroes is a wildcard bind."""

    addr: Addr
    port: int


class Listeners:
    """The only writer of `dnsfw_listeners` and `dnsfw_settings`."""

    def __init__(self, listeners: Table, settings: Table, netns: int) -> None:
        """`netns` as in the keys: 0 where packet hooks cannot tell namespaces apart."""
        self._listeners = listeners
        self._settings = settings
        self._netns = netns
        # Where keys name no namespace, two namespaces' doors may share a row.
        self._doors: dict[int, set[bytes]] = {}

    def settle(self, cookie: int, *, only_netns: bool) -> bytes:
        """Says which namespace is the host's; gives what was there before, for `restore`."""
        before = self._now()
        now = before._replace(netns=cookie, only_netns=only_netns)
        self._settings.update(_ONLY, now.pack())
        return before.pack()

    def restore(self, settings: bytes) -> None:
        self._settings.update(_ONLY, settings)

    def register(self, listeners: Iterable[Listener]) -> None:
        """These, and none of those before, are the daemon's sockets in this namespace.

        ConfigError if their ports differ: the hooks know a query by one port before they
        look any further.
        """
        wanted = {abi.ListenerKey(self._netns, i.addr, i.port).pack(): i.port for i in listeners}
        ports = set(wanted.values())
        if len(ports) > 1:
            raise ConfigError(
                f"listeners on the ports {', '.join(map(str, sorted(ports)))}; remedy: give all "
                "of them the same port"
            )
        for key in wanted:
            self._listeners.update(key, _HERE)
        for key, _ in list(self._listeners.items()):
            stale = key not in wanted and not self._is_door(key)
            if stale and abi.ListenerKey.unpack(key).netns == self._netns:
                self._listeners.delete(key)
        now = self._now()
        self._settings.update(_ONLY, now._replace(dns_port=max(ports, default=0)).pack())

    def admit(self, netns: int, doors: Iterable[Listener]) -> None:
        """Doors of a namespace (by its cookie) are listeners too, on whatever port."""
        keys = self._door_keys(doors, netns)
        self._doors.setdefault(netns, set()).update(keys)
        for key in keys:
            self._listeners.update(key, _HERE)
        self._use_doors()

    def dismiss(self, netns: int, doors: Iterable[Listener]) -> None:
        """They are none any more; also those of an earlier process."""
        keys = self._door_keys(doors, netns)
        left = self._doors.pop(netns, set()) - keys
        if left:
            self._doors[netns] = left
        for key in keys:
            if not self._is_door(key):
                self._listeners.delete(key)
        self._use_doors()

    def _door_keys(self, doors: Iterable[Listener], netns: int) -> set[bytes]:
        known = netns if self._netns else 0
        return {abi.ListenerKey(known, door.addr, door.port).pack() for door in doors}

    def _is_door(self, key: bytes) -> bool:
        return any(key in keys for keys in self._doors.values())

    def _use_doors(self) -> None:
        now = self._now()
        uses = now.uses & ~abi.Uses.DOORS | (abi.Uses.DOORS if self._doors else 0)
        if uses != now.uses:
            self._settings.update(_ONLY, now._replace(uses=uses).pack())

    def _now(self) -> abi.Settings:
        return abi.Settings.unpack(self._settings.lookup(_ONLY) or bytes(abi.Settings.SIZE))
