"""The rows that say whose a socket or a packet is: table, key and value, as abi.h has them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from dnsfw.datapath import abi
from dnsfw.datapath.abi import IdKind, Uses
from dnsfw.datapath.tables import number_key
from dnsfw.datapath.whose import Claim, Whose
from dnsfw.errors import ConfigError
from dnsfw.model import NO_ROLE, Addr, Rank, RoleId, addr_from
from dnsfw.values import dataclass

CGROUPS, IDS, SOURCES = "dnsfw_cgroups", "dnsfw_ids", "dnsfw_sources"
DEVICES, VIA = "dnsfw_devices", "dnsfw_via"
# Each with the bit that tells the hooks that it is not empty.
TABLES: Mapping[str, Uses] = {
    CGROUPS: Uses.CGROUPS,
    IDS: Uses.IDS,
    SOURCES: Uses.SOURCES,
    DEVICES: Uses.DEVICES,
    VIA: Uses.VIA,
}
LIMITS: Mapping[str, int] = {
    CGROUPS: abi.Limit.MAX_CGROUPS,
    IDS: abi.Limit.MAX_IDS,
    SOURCES: abi.Limit.MAX_SOURCES,
    DEVICES: abi.Limit.MAX_DEVICES,
    VIA: abi.Limit.MAX_DEVICES,
}
_DEVICE_BITS = 32  # of the LPM key before the address
_MAPPED_BITS = 96
_MAPPED = addr_from("0.0.0.0")


@dataclass(frozen=True, slots=True)
class Row:
    """An element of one of these tables."""

    table: str
    key: bytes
    value: bytes


def cgroup_row(number: int, claim: Claim) -> Row:
    return Row(CGROUPS, number.to_bytes(8, "little"), abi.Subject(*claim).pack())


def id_row(kind: IdKind, number: int, role: RoleId) -> Row:
    return Row(IDS, abi.IdKey(kind, number).pack(), number_key(role))


def device_row(netns: int, index: int, role: RoleId) -> Row:
    return Row(DEVICES, abi.DeviceKey(netns, index).pack(), number_key(role))


def via_row(netns: int, index: int, base: RoleId, role: RoleId) -> Row:
    return Row(VIA, abi.ViaKey(netns, index, base).pack(), number_key(role))


def source_rows(prefix: str, index: int, role: RoleId) -> tuple[Row, ...]:
    """`index` 0: by whatever device it comes in. ConfigError if it is no prefix.

    IPv4 lives at ::ffff:0:0/96. An IPv6 prefix that covers that is shielded by a row of
    nobody's, which the hooks read as "no source".
    """
    try:
        network = ip_network(prefix, strict=False)
    except ValueError as error:
        raise ConfigError(f"source {prefix} is no address and no prefix: {error}") from None
    wide = network.prefixlen + (_MAPPED_BITS if network.version == 4 else 0)
    row = _source(index, addr_from(network.network_address), wide, role)
    if (
        network.version == 4
        or network.prefixlen > _MAPPED_BITS
        or any(network.network_address.packed[:10])
    ):
        return (row,)
    return (row, _source(index, _MAPPED, _MAPPED_BITS, NO_ROLE))


def _source(index: int, addr: Addr, bits: int, role: RoleId) -> Row:
    return Row(SOURCES, abi.SourceKey(_DEVICE_BITS + bits, index, addr).pack(), number_key(role))


def is_shield(row: Row) -> bool:
    """Gives way to a real row for the same prefix."""
    return row.table == SOURCES and row.value == number_key(NO_ROLE)


def whose(cgroups: Mapping[bytes, bytes], ids: Mapping[bytes, bytes]) -> Whose:
    """The subjects of sockets, read back from two of the tables."""
    users: dict[int, RoleId] = {}
    groups: dict[int, RoleId] = {}
    for key, value in ids.items():
        kind, number = abi.IdKey.unpack(key)
        (users if kind == IdKind.ID_USER else groups)[number] = RoleId(
            int.from_bytes(value, "little")
        )
    return Whose({_number(key): claim(value) for key, value in cgroups.items()}, users, groups)


def claim(value: bytes) -> Claim:
    found = abi.Subject.unpack(value)
    return RoleId(found.role), Rank(found.rank)


def _number(key: bytes) -> int:
    return int.from_bytes(key, "little")
