"""Rebinding: what no answer may hold, and what only the site may say (ATTACKS 4, 30, 73, 122)."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.model import addr_from
from tests.scenario.conftest import ALLOW_ALL, ALLOW_EXAMPLE, Begin
from tests.support.play import Play

NEVER = [
    "0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.251", "255.255.255.255", "::", "::1",
    "fe80::1", "ff02::fb", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::1", "::7f00:1",
    "2001:0:1:2::f5ff:fffe", "2001:db8::5efe:a00:1",
]  # fmt: skip
SITE = [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "169.254.169.254",
    "100.100.100.200", "fd00:ec2::254",
]  # fmt: skip
PRIVATE = ALLOW_EXAMPLE.replace(
    '- allow: "*.example.com:443"', '- {allow: "*.example.com:443", private: true}'
)


def ask_for(play: Play, addr: str) -> str:
    rtype = "AAAA" if ":" in addr else "A"
    play.query("www.example.com", rtype).expects(Ask)
    return rtype


@pytest.mark.parametrize("addr", NEVER)
@pytest.mark.parametrize(
    "policy", [ALLOW_EXAMPLE, PRIVATE, ALLOW_ALL], ids=["deny", "yes", "allow"]
)
def test_row_73_special_addresses_are_removed_from_every_answer(
    stage: Begin, policy: str, addr: str
) -> None:
    play = stage(policy)
    rtype = ask_for(play, addr)

    heard = play.answer("www.example.com", addr, rtype=rtype).expects(Reply).reply

    assert (heard.rcode, heard.addresses, heard.ede) == ("NOERROR", [], 17)
    assert not play.kernel.entries


@pytest.mark.parametrize("addr", SITE)
def test_row_73_private_addresses_are_removed_under_default_deny(play: Play, addr: str) -> None:
    rtype = ask_for(play, addr)

    heard = play.answer("www.example.com", addr, rtype=rtype).expects(Reply).reply

    assert (heard.rcode, heard.addresses, heard.ede) == ("NOERROR", [], 17)


@pytest.mark.parametrize("addr", ["10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"])
def test_private_true_lets_them_in(stage: Begin, addr: str) -> None:
    play = stage(PRIVATE)
    rtype = ask_for(play, addr)

    heard = play.answer("www.example.com", addr, rtype=rtype).expects(OpenThenReply).reply

    assert len(heard.addresses) == 1 and play.lets(addr)


def test_row_30_private_true_does_not_lift_the_metadata_service(stage: Begin) -> None:
    """Only a prefix inside it does."""
    play = stage(PRIVATE)
    play.query("www.example.com").expects(Ask)

    assert play.answer("www.example.com", "169.254.169.254").expects(Reply).reply.addresses == []
    lifted = stage(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - allow: 169.254.169.254:80"))
    lifted.query("www.example.com").expects(Ask)
    heard = lifted.answer("www.example.com", "169.254.169.254").expects(Reply).reply
    assert heard.addresses == ["169.254.169.254"]


def test_an_address_rule_lets_them_in_with_its_own_ports_only(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - allow: 10.0.0.0/8:5432"))
    play.query("www.example.com").expects(Ask)

    heard = play.answer("www.example.com", "10.0.0.1").expects(Reply).reply

    assert heard.addresses == ["10.0.0.1"]
    assert play.lets("10.0.0.1", 5432) and not play.lets("10.0.0.1", 443)


def test_row_29_the_hosts_own_addresses_are_removed_under_default_deny(play: Play) -> None:
    play.engine.set_own_addresses([addr_from("198.51.100.1")])
    play.query("www.example.com").expects(Ask)

    scene = play.answer("www.example.com", "198.51.100.1", "198.51.100.2").expects(OpenThenReply)

    assert (scene.reply.addresses, scene.reply.ede) == (["198.51.100.2"], 17)


@pytest.mark.parametrize("addr", SITE)
def test_under_default_allow_private_addresses_pass_unless_dns_private_is_deny(
    stage: Begin, addr: str
) -> None:
    play = stage(ALLOW_ALL)
    rtype = ask_for(play, addr)
    assert play.answer("www.example.com", addr, rtype=rtype).expects(OpenThenReply).reply.addresses

    strict = stage(ALLOW_ALL.replace("dns: {", "dns: {private: deny, "))
    rtype = ask_for(strict, addr)
    heard = strict.answer("www.example.com", addr, rtype=rtype).expects(Reply).reply
    assert (heard.addresses, heard.ede) == ([], 17)


@pytest.mark.parametrize(
    "addr", ["64:ff9b::c000:207", "2002:c000:207::1", "192.0.2.7", "2001:db8::1"]
)
def test_row_122_ordinary_addresses_pass_in_any_form(play: Play, addr: str) -> None:
    """DNS64 works. Documentation prefixes are not special."""
    rtype = ask_for(play, addr)

    play.answer("www.example.com", addr, rtype=rtype).expects(OpenThenReply)

    assert play.lets(addr)


def test_row_122_a_translator_of_this_network_hides_no_address_of_the_site(stage: Begin) -> None:
    """Without the key nobody can know that 2001:db8:64::/96 is a disguise."""
    text = ALLOW_EXAMPLE.replace("dns: {", "dns: {nat64_prefix: '2001:db8:64::/96', ")
    play = stage(text.replace("rules:", "rules:\n  - deny: 203.0.113.0/24"))
    for inside, told in (("a00:1", 0), ("7f00:1", 0), ("cb00:7109", 0), ("c000:207", 1)):
        play.query("www.example.com", "AAAA")
        addr = f"2001:db8:64::{inside}"
        scene = play.answer("www.example.com", addr, rtype="AAAA", ttl=0)
        assert len(scene.reply.addresses) == told, addr
        assert play.lets(addr) is bool(told)
        play.after(seconds=40)
    play.forget()


def test_an_address_that_a_rule_denies_is_not_told(stage: Begin) -> None:
    """Promise 1: the kernel asks address rules first. NAT64 does not get around it."""
    play = stage(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - deny: 203.0.113.0/24"))
    play.query("www.example.com").expects(Ask)
    scene = play.answer("www.example.com", "203.0.113.9", "192.0.2.7").expects(OpenThenReply)
    assert (scene.reply.addresses, scene.reply.ede) == (["192.0.2.7"], 15)

    play.query("www.example.com", "AAAA").expects(Ask)
    heard = play.answer("www.example.com", "64:ff9b::cb00:7109", rtype="AAAA").expects(Reply).reply
    assert (heard.rcode, heard.addresses, heard.ede) == ("NOERROR", [], 15)


def test_an_address_rule_for_another_port_does_not_hide_the_address(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - deny: 192.0.2.0/24:22"))
    play.query("www.example.com").expects(Ask)

    assert play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply).reply.addresses


def test_a_rule_that_loses_private_closes_private_addresses(stage: Begin) -> None:
    from dnsfw.engine.effects import Close

    play = stage(PRIVATE)
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "10.0.0.1").expects(OpenThenReply)

    play.swap(ALLOW_EXAMPLE).expects(Close)

    assert not play.lets("10.0.0.1")
