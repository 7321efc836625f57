"""Where dnsfw itself answers: the hooks let queries there pass and mark them with a role."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dnsfw.datapath import abi
from dnsfw.datapath.swap import Table
from dnsfw.datapath.tables import number_key
from dnsfw.errors import ConfigError
from dnsfw.model import Addr

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

    def settle(self, cookie: int, *, only_netns: bool) -> bytes:
        """Says which namespace is the host's; gives what was there before, for `restore`."""
        before = self._settings.lookup(_ONLY) or bytes(abi.Settings.SIZE)
        now = abi.Settings.unpack(before)._replace(netns=cookie, only_netns=only_netns)
        self._settings.update(_ONLY, now.pack())
        return before

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
            if key not in wanted and abi.ListenerKey.unpack(key).netns == self._netns:
                self._listeners.delete(key)
        now = abi.Settings.unpack(self._settings.lookup(_ONLY) or bytes(abi.Settings.SIZE))
        self._settings.update(_ONLY, now._replace(dns_port=max(ports, default=0)).pack())
