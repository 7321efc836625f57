"""Connections to an upstream; over TLS they are shown in test_connections."""

from __future__ import annotations

import asyncio

import pytest

from dnsfw.policy.upstream import parse_url
from dnsfw.server.address import Endpoint, endpoints, parse_endpoint, plain
from dnsfw.server.carrier import Ways
from dnsfw.server.dial import Dialer
from tests.support.nanodns import NanoDns


class Link(asyncio.Protocol):
    pass


def dialer(where: tuple[Endpoint, ...], marked: list[int]) -> Dialer:
    async def find() -> tuple[Endpoint, ...]:
        return where

    loop = asyncio.get_running_loop()
    return Dialer(loop, plain(where[0]), find, marked.append, Ways())


async def test_the_next_address_is_tried_and_the_good_one_remembered() -> None:
    async with NanoDns() as dns:
        dead = parse_endpoint("127.0.0.1:1")
        marked: list[int] = []
        some = dialer((dead, dns.endpoint), marked)

        assert isinstance(await some.dial(Link), Link)
        assert len(marked) == 2
        await some.dial(Link)
        assert len(marked) == 3  # straight to the one that worked


async def test_the_last_failure_is_told_and_no_socket_stays() -> None:
    with pytest.raises(ConnectionRefusedError):
        await dialer((parse_endpoint("127.0.0.1:1"),), []).dial(Link)


def test_row_81_an_encrypted_upstream_is_not_dialled_without_a_way_to_prove_it() -> None:
    async def find() -> tuple[Endpoint, ...]:
        return ()

    loop = asyncio.new_event_loop()
    try:
        for text in ("tls://192.0.2.1", "https://192.0.2.1"):
            with pytest.raises(AssertionError):
                Dialer(loop, parse_url(text), find, lambda fd: None, Ways())
        Dialer(loop, parse_url("tcp://192.0.2.1"), find, lambda fd: None, Ways())
    finally:
        loop.close()
    assert [str(e) for e in endpoints(parse_url("tls://192.0.2.1"))] == ["192.0.2.1:853"]
