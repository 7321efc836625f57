"""Hosts that dnsfw fetches from are looked up by its own upstreams, on its own sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from dnslib import DNSRecord

from dnsfw.server.address import plain
from dnsfw.server.clock import boot_now
from dnsfw.server.fetch import FetchError
from dnsfw.server.fetch_names import Names
from tests.support.nanodns import NanoDns, Send


def names(*servers: NanoDns, owned: list[int] | None = None) -> Names:
    mine = [] if owned is None else owned
    upstreams = [plain(server.endpoint) for server in servers]
    return Names(asyncio.get_running_loop(), upstreams, mine.append, boot_now)


async def test_a_host_is_found_in_both_families_on_sockets_of_our_own() -> None:
    async with NanoDns() as dns:
        dns.zone["lists.example", "A"] = ["192.0.2.1", "192.0.2.2"]
        dns.zone["lists.example", "AAAA"] = ["2001:db8::1"]
        owned: list[int] = []

        found = await names(dns, owned=owned).find("lists.example")

        assert found == [
            ip_address("2001:db8::1"), ip_address("192.0.2.1"), ip_address("192.0.2.2")
        ]  # fmt: skip
        assert len(owned) == 2
        assert {kind for _, kind, _ in dns.heard} == {"A", "AAAA"}


async def test_an_address_is_not_asked_for() -> None:
    async with NanoDns() as dns:
        assert await names(dns).find("192.0.2.7") == [ip_address("192.0.2.7")]
        assert await names(dns).find("2001:db8::7") == [ip_address("2001:db8::7")]
        assert dns.heard == []


async def test_a_host_that_is_not_there_is_an_error() -> None:
    async with NanoDns() as dns:
        with pytest.raises(FetchError, match=r"no upstream knows an address of lists\.example"):
            await names(dns).find("lists.example")


def fails(server: NanoDns, query: DNSRecord, transport: str) -> Sequence[Send]:
    reply = query.reply()
    reply.header.rcode = 2
    return [(0, bytes(reply.pack()))]


def cut(server: NanoDns, query: DNSRecord, transport: str) -> Sequence[Send]:
    reply = query.reply()
    reply.header.tc = 1
    return [(0, bytes(reply.pack()))]


def lies(server: NanoDns, query: DNSRecord, transport: str) -> Sequence[Send]:
    forged = DNSRecord.parse(server.reply(query).pack())
    forged.header.id ^= 1
    return [(0, bytes(forged.pack())), (0, b"junk"), (0.01, bytes(server.reply(query).pack()))]


async def test_the_next_upstream_is_asked_where_one_fails() -> None:
    async with NanoDns() as broken, NanoDns() as good:
        broken.script(fails, fails)  # type: ignore[arg-type]
        good.zone["lists.example", "A"] = ["192.0.2.1"]

        assert await names(broken, good).find("lists.example") == [ip_address("192.0.2.1")]


async def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    async with NanoDns() as dns:
        dns.zone["lists.example", "A"] = ["192.0.2.1"]
        dns.script(cut, cut)  # type: ignore[arg-type]

        assert await names(dns).find("lists.example") == [ip_address("192.0.2.1")]
        assert [how for _, _, how in dns.heard].count("tcp") == 2


async def test_a_forged_answer_is_ignored() -> None:
    async with NanoDns() as dns:
        dns.zone["lists.example", "A"] = ["192.0.2.1"]
        dns.script(lies, lies)  # type: ignore[arg-type]

        assert await names(dns).find("lists.example") == [ip_address("192.0.2.1")]
