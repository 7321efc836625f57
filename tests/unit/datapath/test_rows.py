"""Subjects as the kernel's rows, and back."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.abi import IdKind
from dnsfw.datapath.rows import (
    CGROUPS,
    IDS,
    TABLES,
    cgroup_row,
    device_row,
    id_row,
    is_shield,
    source_rows,
    via_row,
    whose,
)
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, NO_ROLE, Rank, RoleId, addr_from

WEB, DB = RoleId(16), RoleId(17)


def test_every_table_has_a_bit_of_its_own() -> None:
    assert sum(TABLES.values()) == 31


def test_a_cgroup_is_its_inode_with_role_and_rank() -> None:
    row = cgroup_row(4711, (WEB, Rank.CGROUP))

    assert (row.table, int.from_bytes(row.key, "little")) == (CGROUPS, 4711)
    assert abi.Subject.unpack(row.value) == (WEB, Rank.CGROUP)


def test_a_device_and_a_way_out_are_of_one_namespace() -> None:
    assert abi.DeviceKey.unpack(device_row(9, 7, WEB).key)[:2] == (9, 7)
    assert abi.ViaKey.unpack(via_row(9, 7, HOST, WEB).key) == (9, 7, HOST)


@pytest.mark.parametrize(
    ("prefix", "bits", "addr"),
    [
        ("10.1.0.0/16", 32 + 96 + 16, "10.1.0.0"),
        ("10.1.2.3", 32 + 128, "10.1.2.3"),
        ("10.1.2.3/16", 32 + 96 + 16, "10.1.0.0"),
        ("fd00::/8", 32 + 8, "fd00::"),
        ("0.0.0.0/0", 32 + 96, "0.0.0.0"),
    ],
)
def test_a_source_is_a_prefix_of_mapped_addresses(prefix: str, bits: int, addr: str) -> None:
    (row,) = source_rows(prefix, 7, WEB)

    assert abi.SourceKey.unpack(row.key) == (bits, 7, addr_from(addr))
    assert int.from_bytes(row.value, "little") == WEB


@pytest.mark.parametrize("prefix", ["::/0", "::/64", "::ffff:0:0/96"])
def test_a_wide_ipv6_source_does_not_take_ipv4(prefix: str) -> None:
    rows = source_rows(prefix, 0, WEB)

    assert [is_shield(row) for row in rows] == [False, True]
    shield = abi.SourceKey.unpack(rows[1].key)
    assert shield == (32 + 96, 0, addr_from("0.0.0.0"))
    assert int.from_bytes(rows[1].value, "little") == NO_ROLE


def test_what_is_no_prefix_is_told() -> None:
    with pytest.raises(ConfigError, match="source lan0 is no address and no prefix"):
        source_rows("lan0", 0, WEB)


def test_the_tables_tell_whose_sockets_are() -> None:
    rows = [
        cgroup_row(7, (WEB, Rank.ENROLLED)),
        id_row(IdKind.ID_USER, 33, DB),
        id_row(IdKind.ID_GROUP, 33, WEB),
    ]
    tables = {name: {r.key: r.value for r in rows if r.table == name} for name in (CGROUPS, IDS)}

    found = whose(tables[CGROUPS], tables[IDS])

    assert found.cgroups == {7: (WEB, Rank.ENROLLED)}
    assert (found.users, found.groups) == ({33: DB}, {33: WEB})
