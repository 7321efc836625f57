"""Questions over connections."""

from __future__ import annotations

import asyncio

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.model import Nanos
from dnsfw.server.stream import TcpAsk
from tests.server.test_asks import Deaf, mark
from tests.support.nanodns import NanoDns, drop


async def test_closing_twice_is_closing_once() -> None:
    async with NanoDns() as dns:
        dns.script(drop)
        ask = Ask(AskId(1), 0, Transport.TCP, b"q" * 20, Nanos(1))
        one = TcpAsk(asyncio.get_running_loop(), dns.endpoint, mark, Deaf(), ask)

        one.close()
        one.close()
