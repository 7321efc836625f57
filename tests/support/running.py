"""A whole daemon in the test's own loop: real sockets on loopback, a kernel in memory."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnslib import EDNS0, QTYPE, DNSQuestion, DNSRecord

from dnsfw.model import HOST
from dnsfw.server.clock import boot_now
from dnsfw.server.daemon import Daemon
from dnsfw.server.log import Level
from dnsfw.server.options import Options
from dnsfw.wire.message import Rcode, read_response
from tests.support.memory_answers import MemoryAnswers
from tests.support.memory_kernel import MemoryKernel
from tests.support.until import until

KERNEL_ANSWERS = False  # the fixture `answers` switches it: rows are held with and without
START = 10.0  # seconds, ten times what a busy machine takes

ALLOW_EXAMPLE = """\
version: 1
default: deny
rules:
  - allow: "*.example.com"
"""


class ListLog:
    """A log that a test reads."""

    def __init__(self) -> None:
        self.lines: list[tuple[Level, str]] = []

    def line(self, level: Level, text: str) -> None:
        self.lines.append((level, text))

    @property
    def text(self) -> str:
        return "\n".join(text for _, text in self.lines)


def free_port() -> int:
    """One that UDP and TCP have free now."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        port: int = tcp.getsockname()[1]
        return port


@dataclass
class Running:
    """The daemon, what it said, and a client."""

    daemon: Daemon
    kernel: MemoryKernel
    log: ListLog
    said: list[str]
    port: int
    policy: Path
    answers: MemoryAnswers | None = None  # what the kernel would say by itself
    task: asyncio.Future[None] = field(default_factory=asyncio.Future)

    @property
    def run_dir(self) -> Path:
        return self.daemon.options.run_dir

    async def query(self, name: str, rtype: str = "A", *, edns: bool = True) -> DNSRecord:
        record = DNSRecord(q=DNSQuestion(name, getattr(QTYPE, rtype)))
        if edns:
            record.add_ar(EDNS0(udp_len=1232))
        return DNSRecord.parse(await self.exchange(bytes(record.pack())))

    async def exchange(self, wire: bytes, patience: float = 5) -> bytes:
        """One datagram there and one back. With a kernel that answers: asked again, and what
        the kernel would say then is the same; but a failure is never its to say.
        """
        reply = await self._exchange(wire, patience)
        if self.answers is not None:
            await self._exchange(wire, patience)
            given = self.answers.ask(wire, HOST, boot_now())
            assert (given is None) is (reply[3] & 15 == Rcode.SERVFAIL)
            assert given is None or _said(given) == _said(reply)
        return reply

    async def _exchange(self, wire: bytes, patience: float) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            await loop.sock_sendall(sock, wire)
            async with asyncio.timeout(patience):
                return await loop.sock_recv(sock, 65535)

    async def control(self, do: str, **request: Any) -> tuple[list[Any], dict[str, Any]]:
        """Rows and last line of one request."""
        reader, writer = await asyncio.open_unix_connection(str(self.run_dir / "control.sock"))
        writer.write(json.dumps({"do": do, **request}).encode() + b"\n")
        rows = []
        async with asyncio.timeout(10):
            async for line in reader:
                reply = json.loads(line)
                if "ok" in reply:
                    writer.close()
                    return rows, reply
                rows.append(reply["row"])
        raise AssertionError(f"no last line after {rows}")

    async def ended(self) -> None:
        async with asyncio.timeout(START):
            await self.task


@asynccontextmanager
async def running(
    tmp_path: Path,
    upstreams: Sequence[object] = ("127.0.0.1:9",),
    policy: str = ALLOW_EXAMPLE,
    kernel: MemoryKernel | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Start one and wait for its `ready` line; it is ended without removal, as by SIGTERM."""
    run = make(tmp_path, upstreams, policy, kernel, **options)
    run.task = asyncio.ensure_future(run.daemon.run())
    try:
        await until(lambda: run.said or run.task.done())
        if run.task.done():
            run.task.result()
        yield run
    finally:
        run.daemon.leave()
        await run.ended()


def make(
    tmp_path: Path,
    upstreams: Sequence[object] = ("127.0.0.1:9",),
    policy: str = ALLOW_EXAMPLE,
    kernel: MemoryKernel | None = None,
    **options: Any,
) -> Running:
    """A daemon that does not run yet."""
    file = tmp_path / "policy.yaml"
    file.write_text(policy)
    port = free_port()
    answers = MemoryAnswers() if KERNEL_ANSWERS and kernel is None else None
    kernel, log, said = kernel or MemoryKernel(), ListLog(), []
    if answers is not None:
        kernel.answers = answers.table()
    now = options.pop("now", boot_now)
    given = Options(
        policy=str(file),
        listen=options.pop("listen", (f"127.0.0.1:{port}",)),
        upstreams=tuple(map(str, upstreams)),
        run_dir=tmp_path / "run",
        **options,
    )
    daemon = Daemon(given, kernel.open, log, said.append, now)
    return Running(daemon, kernel, log, said, port, file, answers)


def _said(wire: bytes) -> object:
    """A message but for its id; TTLs may have counted down by one."""
    heard = read_response(wire)
    answers = sorted((r.owner, r.rtype, r.rdata) for r in heard.answers)
    return heard.rcode, heard.flags, answers, len(heard.authority), heard.edns
