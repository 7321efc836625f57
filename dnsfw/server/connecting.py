"""A TCP connection on a socket of our own, without a thread.

Not `loop.sock_connect`: uvloop's looks even an address up, in threads that libuv starts for that
and never ends. Before the daemon has given up its rights they would keep them all.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

__all__ = ["connect"]


async def connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, where: Any) -> None:
    """Connect a non-blocking socket to an address (no name). OSError."""
    code = sock.connect_ex(where)
    if code == errno.EINPROGRESS:
        done: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock.fileno(), _set, done)
        try:
            await done
        finally:
            loop.remove_writer(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
