from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, Inbound, Loopback, RolePlan
from dnsfw.policy.compile import compile_text

HEAD = "version: 1\ndefault: deny\n"


def plan(text: str, name: str = "web") -> RolePlan:
    policy = compile_text(HEAD + text)
    number = policy.role_id(name)
    return next(role for role in policy.plan().roles if role.role == number)


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        compile_text(HEAD + text, "p")
    return str(raised.value)


def test_host_hears_everybody_and_other_roles_only_tcp() -> None:
    text = "roles: {web: {default: deny}}"

    assert (plan(text, "host").inbound, plan(text, "host").loopback) == (Inbound.ALL, Loopback.ALL)
    assert (plan(text).inbound, plan(text).loopback) == (Inbound.TCP, Loopback.ALL)


@pytest.mark.parametrize(
    ("written", "meant"), [("deny", Inbound.DENY), ("tcp", Inbound.TCP), ("all", Inbound.ALL)]
)
def test_inbound_is_a_word(written: str, meant: Inbound) -> None:
    assert plan(f"roles: {{web: {{inbound: {written}}}}}").inbound is meant
    assert plan(f"inbound: {written}", "host").inbound is meant
    assert plan(f"inbound: {written}", "host").role == HOST


@pytest.mark.parametrize("written", ["[80, 443/tcp, 8000-8100]", "['80', 443/tcp, 8000-8100]"])
def test_inbound_is_ports(written: str) -> None:
    found = plan(f"roles: {{web: {{inbound: {written}}}}}")

    assert found.inbound is Inbound.PORTS
    assert found.inbound_ports.covers(17, 80)
    assert found.inbound_ports.covers(6, 8050)
    assert not found.inbound_ports.covers(17, 443)


def test_a_lone_port_is_a_list_of_one() -> None:
    assert plan("roles: {web: {inbound: 80}}").inbound_ports.covers(6, 80)
    assert plan("loopback: 53/udp", "host").loopback_ports.covers(17, 53)


def test_loopback_is_a_word_or_ports() -> None:
    assert plan("roles: {web: {loopback: own}}").loopback is Loopback.OWN
    assert plan("roles: {web: {loopback: all}}").loopback is Loopback.ALL
    assert plan("roles: {web: {loopback: [5432]}}").loopback is Loopback.PORTS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("inbound: tpc", "p:3:10: 'inbound' is deny, tcp, all or a list of ports, not 'tpc'; did"),
        ("inbound: true", "'inbound' is deny, tcp, all or a list of ports, not true"),
        ("inbound: {tcp: 80}", "'inbound' is deny, tcp, all or a list of ports"),
        ("inbound: [80, true]", "not true in it"),
        ("inbound: [true]", "not true in it"),
        ("inbound: [80, tcp]", "not 'tcp' in it; write [80, 443]"),
        ("loopback: deny", "'loopback' is all, own or a list of ports, not 'deny'"),
        ("inbound: []", "'inbound' is an empty list"),
        ("inbound: [0]", "p:3:11: '0' is no port; ports go from 1 to 65535"),
        ("inbound: [80, 80/tcp]", "p:3:15: '80/tcp' stands twice; take one out"),
        ("inbound: [80/icmp]", "'80/icmp' is no port; write 443, 443/tcp"),
        ("inbound: [90-80]", "port range '90-80' runs backwards"),
        (
            f"inbound: {list(range(1, 35, 2))}",
            "p:3:10: needs 34 port ranges, 16 fit; join ports into ranges",
        ),
    ],
)
def test_what_is_no_access_is_an_error_with_a_remedy(text: str, says: str) -> None:
    assert says in error(text)
