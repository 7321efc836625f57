"""A scripted upstream on loopback: it answers, delays, drops, lies, truncates, over UDP and TCP.

    async with NanoDns() as dns:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        dns.script(lie_about_the_id, answer)    # for the next two queries, then the zone again

A step is called with (server, query, transport) and yields replies as they are to be sent.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dnslib import QTYPE, RCODE, RDMAP, RR, DNSRecord

from dnsfw.server.address import Endpoint, parse_endpoint

Send = tuple[float, bytes]  # after so many seconds, these bytes
Step = Callable[["NanoDns", DNSRecord, str], Iterator[Send]]
_TTL = 60


@dataclass
class NanoDns:
    """One server; `endpoint` says where, `heard` what it was asked."""

    zone: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ttl: int = _TTL
    heard: list[tuple[str, str, str]] = field(default_factory=list)  # name, type, transport
    peers: list[Any] = field(default_factory=list)  # the address each query came from
    wires: list[bytes] = field(default_factory=list)
    tls: ssl.SSLContext | None = None  # its TCP is DNS over TLS
    connections: int = 0  # over TCP, that there ever were

    async def __aenter__(self) -> NanoDns:
        loop = asyncio.get_running_loop()
        self._steps: list[Step] = []
        self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0, ssl=self.tls)
        host, port = self._tcp.sockets[0].getsockname()
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(host, port)
        )
        self.endpoint: Endpoint = parse_endpoint(f"{host}:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._tcp.close()

    def script(self, *steps: Step) -> None:
        """What the next queries get, one step each; after them the zone answers."""
        self._steps += steps

    def reply(self, query: DNSRecord) -> DNSRecord:
        """What the zone says."""
        name = str(query.q.qname).rstrip(".").lower()
        rtype = QTYPE.get(query.q.qtype)
        reply = query.reply()
        reply.header.aa = 0
        found = self.zone.get((name, rtype))
        if found is None and not any(key[0] == name for key in self.zone):
            reply.header.rcode = RCODE.NXDOMAIN
        for data in found or ():
            reply.add_answer(
                RR(query.q.qname, query.q.qtype, ttl=self.ttl, rdata=RDMAP[rtype](data))
            )
        return reply

    def hear(self, wire: bytes, transport: str, peer: Any) -> Iterator[Send]:
        query = DNSRecord.parse(wire)
        name = str(query.q.qname).rstrip(".")
        self.heard.append((name, QTYPE.get(query.q.qtype), transport))
        self.peers.append(peer)
        self.wires.append(wire)
        step = self._steps.pop(0) if self._steps else answer
        return step(self, query, transport)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                wire = await reader.readexactly(length)
                for delay, data in self.hear(wire, "tcp", writer.get_extra_info("peername")):
                    await asyncio.sleep(delay)
                    writer.write(struct.pack("!H", len(data)) + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NanoDns) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        loop = asyncio.get_running_loop()
        for delay, wire in self._server.hear(data, "udp", addr):
            if delay:
                loop.call_later(delay, self._transport.sendto, wire, addr)
            else:
                self._transport.sendto(wire, addr)


# steps


def answer(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
    """The truth, at once."""
    yield 0, bytes(server.reply(query).pack())


def drop(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
    """Nothing, ever."""
    yield from ()


def truncate(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
    """Over UDP: TC and no records."""
    reply = query.reply()
    reply.header.tc = 1
    yield 0, bytes(reply.pack())


def servfail(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
    """I have a problem."""
    reply = query.reply()
    reply.header.rcode = RCODE.SERVFAIL
    yield 0, bytes(reply.pack())


def garbage(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
    """Bytes of no message, with the right id."""
    yield 0, query.header.id.to_bytes(2, "big") + b"\xff" * 20


def delay(seconds: float) -> Step:
    """The truth, late."""

    def step(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
        yield seconds, bytes(server.reply(query).pack())

    return step


def lie_then_answer(lies: int = 3) -> Step:
    """Forged answers first: wrong ids, with an address nobody may hear; then the truth."""

    def step(server: NanoDns, query: DNSRecord, transport: str) -> Iterator[Send]:
        for guess in range(lies):
            forged = query.reply()
            forged.header.id = (query.header.id + guess + 1) & 0xFFFF
            forged.add_answer(
                RR(query.q.qname, QTYPE.A, ttl=_TTL, rdata=RDMAP["A"]("203.0.113.66"))
            )
            yield 0, bytes(forged.pack())
        yield 0, bytes(server.reply(query).pack())

    return step
