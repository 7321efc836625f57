"""A listener that strangers can reach: it tells them nothing, and multiplies nothing."""

from __future__ import annotations

import socket
import struct
from functools import partial

import pytest

from dnsfw.wire.codes import ANY, TXT, A
from dnsfw.wire.message import Rcode, read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.internet import HOST4, UNBOUND
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers, pytest.mark.usefixtures("answers"),
]

OPEN = policy_of([{"deny": "evil.example"}], default="allow")
QUESTIONS = [
    ("many.example.com", A, True), ("many.example.com", A, False), ("example.com", ANY, True),
    ("example.com", TXT, True), ("evil.example", A, True), ("localhost", A, True),
    ("use-application-dns.net", A, True),
]  # fmt: skip


def test_row_104_a_stranger_hears_a_refusal_no_larger_than_what_it_sent(world: World) -> None:
    """What is nobody's is refused before policy, cache and upstream; a forged source hears it
    instead of us, and gains nothing by it.
    """
    world.guard(OPEN, listen=("127.0.53.53:53", f"{HOST4}:53"))
    assert world.addresses("many.example.com")  # ready in every cache there is
    stranger = world.internet.netns.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
    stranger.bind((UNBOUND, 0))  # from another network; a neighbour is a client of the host
    stranger.settimeout(2)

    def ask(query: bytes) -> bytes:
        stranger.sendto(query, (HOST4, 53))
        return stranger.recv(4096)

    for name, qtype, edns in QUESTIONS:
        query = write_query(7, from_text(name), qtype, size=1232 if edns else 0)
        reply = world.again(partial(ask, query), kernel=False)

        assert read_response(reply).rcode == Rcode.REFUSED, name
        assert len(reply) <= len(query) + 64, name  # the reason, in words, and no more
    stranger.close()


def test_row_104_over_tcp_a_stranger_hears_no_more(world: World) -> None:
    world.guard(OPEN, listen=("127.0.53.53:53", f"{HOST4}:53"))
    stranger = world.internet.netns.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    stranger.bind((UNBOUND, 0))
    stranger.settimeout(2)
    stranger.connect((HOST4, 53))
    query = write_query(7, from_text("many.example.com"), A)
    stranger.sendall(struct.pack("!H", len(query)) + query)
    reply = stranger.recv(4096)

    assert not reply or read_response(reply[2:]).rcode == Rcode.REFUSED
    assert not world.internet.asked("many.example.com")
    stranger.close()


def test_row_104_a_neighbour_is_a_client_and_pays_with_its_own_address(world: World) -> None:
    world.guard(OPEN, listen=("127.0.53.53:53", f"{HOST4}:53"))
    dig = ["dig", f"@{HOST4}", "+short", "+time=2", "+nocookie", "www.example.com"]

    # Of the role `host`, which on a wire is anybody: the daemon judges it, every time.
    said = world.again(lambda: world.internet.netns.run(dig).stdout, kernel=False)

    assert "203.0.113.11" in said
