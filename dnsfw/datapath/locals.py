"""This host's addresses in the kernel: a raw or packet socket may send from no other."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.swap import Table
from dnsfw.model import Addr

_HERE = b"\x01"
_STATE = Addr(bytes(16))  # its row says whether the list is kept


class Locals:
    """The only writer of `dnsfw_locals`."""

    def __init__(self, table: Table, netns: int) -> None:
        self._table = table
        self._netns = netns

    def refresh(self, addresses: Iterable[Addr]) -> None:
        """These are the host's addresses now. The check is in force from the first call on.

        More than the table takes switch it off: better no check than a host cut off.
        """
        wanted = {self._key(addr) for addr in addresses}
        if len(wanted) >= Limit.MAX_LOCALS:
            self._table.delete(self._key(_STATE))
            return
        for key in self._keys() - wanted - {self._key(_STATE)}:
            self._table.delete(key)
        for key in wanted:
            self._table.update(key, _HERE)
        self._settle(abi.List.KEPT)

    def stop(self) -> None:
        """Nobody keeps the list from here on: no source is refused.

        It stays, for on older kernels it still tells this host's sockets from others'.
        """
        if self._table.lookup(self._key(_STATE)) is not None:
            self._settle(abi.List.LEFT)

    def _settle(self, state: abi.List) -> None:
        self._table.update(self._key(_STATE), bytes([state]))

    def _keys(self) -> set[bytes]:
        keys = (key for key, _ in self._table.items())
        return {key for key in keys if abi.LocalKey.unpack(key).netns == self._netns}

    def _key(self, addr: Addr) -> bytes:
        return abi.LocalKey(self._netns, addr).pack()
