"""Special names: answered here, never asked for (ATTACKS 96; RFC 6761, 6303, 7686, 9462, 9476)."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, Reply
from tests.scenario.conftest import ALLOW_ALL, ALLOW_EXAMPLE, Begin
from tests.support.play import Play


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "db.localhost", "a.b.localhost"])
def test_localhost_is_answered(play: Play, name: str) -> None:
    assert play.query(name).expects(Reply).reply.addresses == ["127.0.0.1"]
    assert play.query(name, "AAAA").expects(Reply).reply.addresses == ["::1"]
    heard = play.query(name, "MX").expects(Reply).reply
    assert (heard.rcode, heard.types, heard.soa_ttl) == ("NOERROR", [], 10)


@pytest.mark.parametrize(
    "name",
    [
        "x.invalid", "x.test", "x.onion", "x.alt", "x.home.arpa", "1.0.0.10.in-addr.arpa",
        "1.1.168.192.in-addr.arpa", "5.31.172.in-addr.arpa", "9.127.100.in-addr.arpa",
        "1.0.0.127.in-addr.arpa", "x.d.f.ip6.arpa", "x.b.e.f.ip6.arpa",
        "use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com",
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", [ALLOW_ALL, ALLOW_EXAMPLE], ids=["allow", "deny"])
def test_row_96_names_that_do_not_exist_are_nxdomain_and_go_nowhere(
    stage: Begin, policy: str, name: str
) -> None:
    play = stage(policy)

    heard = play.query(name).expects(Reply).reply

    assert (heard.rcode, heard.soa_ttl, heard.ede) == ("NXDOMAIN", 10, None)
    assert play.sent == []


@pytest.mark.parametrize("name", ["_dns.resolver.arpa", "resolver.arpa"])
def test_discovery_of_another_resolver_finds_nothing(stage: Begin, name: str) -> None:
    play = stage(ALLOW_ALL)

    heard = play.query(name, "SVCB").expects(Reply).reply

    assert (heard.rcode, heard.types) == ("NOERROR", [])


@pytest.mark.parametrize("name", ["web.test", "5.31.172.in-addr.arpa", "nas.home.arpa"])
def test_a_rule_that_allows_the_name_is_asked_for_it(stage: Begin, name: str) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", f"rules:\n  - allow: {name}"))

    play.query(name).expects(Ask)


def test_row_96_a_wildcard_does_not_lift_the_canaries(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", 'rules:\n  - allow: ".icloud.com"'))

    assert play.query("mask.icloud.com").expects(Reply).reply.rcode == "NXDOMAIN"
    play.query("www.icloud.com").expects(Ask)


def test_the_apex_of_a_local_zone_exists(stage: Begin) -> None:
    assert stage(ALLOW_ALL).query("home.arpa", "SOA").expects(Reply).reply.rcode == "NOERROR"


def test_local_names_are_answered_without_recursion_desired(play: Play) -> None:
    assert play.query("localhost", rd=False).expects(Reply).reply.addresses == ["127.0.0.1"]


def test_names_that_only_end_alike_are_not_special(stage: Begin) -> None:
    play = stage(ALLOW_ALL)

    play.query("notlocalhost").expects(Ask)
    play.query("atest").expects(Ask)
    play.query("10.in-addr.arpa.example.com").expects(Ask)
