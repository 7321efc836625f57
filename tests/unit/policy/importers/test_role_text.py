"""A role as YAML: read back, it covers the ports that went in, and no other."""

from __future__ import annotations

import pytest

from dnsfw.model import Inbound, PortRange, PortSet
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers.role_text import RoleLines, role_text
from dnsfw.policy.policy import RolePolicy

TCP, UDP = 6, 17
WHOLE = PortSet.of([PortRange(TCP, 1), PortRange(UDP, 1)])


def compiled(allow_network: bool, connect: PortSet, bind: PortSet = PortSet()) -> RolePolicy:  # noqa: B008
    lines = RoleLines("web", 3, allow_network, connect, bind, ("a note",))
    text = "version: 1\ndefault: allow\nroles:\n" + role_text(lines)
    policy = compile_text(text)
    return policy.roles[policy.role_id("web")]


def ports(proto: int, *spans: tuple[int, int]) -> list[PortRange]:
    return [PortRange(proto, low, high) for low, high in spans]


@pytest.mark.parametrize(
    "connect",
    [
        PortSet(),
        PortSet.of(ports(TCP, (443, 443))),
        PortSet.of(ports(TCP, (80, 80)) + ports(UDP, (80, 80))),
        PortSet.of(ports(TCP, (1, 65535))),
        PortSet.of(ports(TCP, (80, 80)) + ports(UDP, (1, 65535))),
        PortSet.of(ports(TCP, *((n, n) for n in range(1, 60, 2)))),
        PortSet.of([*ports(TCP, *((n, n) for n in range(1, 40, 2))),
                    *ports(UDP, *((n, n) for n in range(1, 40, 2)))]),
        WHOLE,
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_network", [True, False])
def test_rules_cover_exactly_the_ports(allow_network: bool, connect: PortSet) -> None:
    role = compiled(allow_network, connect)

    said = PortSet.of(
        PortRange(r.proto, max(r.low, 1), r.high) for rule in role.rules for r in rule.ports.ranges
    )

    assert said == (WHOLE.minus(connect) if allow_network else connect)


@pytest.mark.parametrize(
    ("bind", "inbound"),
    [(PortSet(), Inbound.DENY), (WHOLE, Inbound.ALL), (PortSet.of(ports(TCP, (1, 65535))),
     Inbound.TCP), (PortSet.of(ports(UDP, (53, 53))), Inbound.PORTS)],
)  # fmt: skip
def test_what_may_be_bound_has_its_word(bind: PortSet, inbound: Inbound) -> None:
    assert compiled(False, PortSet(), bind).access.inbound is inbound
