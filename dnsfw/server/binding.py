"""bind() whose errors say what is wrong and what to do about it."""

from __future__ import annotations

import errno
import socket

from dnsfw.errors import ConfigError
from dnsfw.server.address import Endpoint

__all__ = ["bind"]

_REMEDY = {
    errno.EADDRINUSE: "another program has that port: see `ss -lnp 'sport = :{port}'`, stop it, "
    "or choose another address with --listen or dns.listen",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EPERM: "a wall refuses it: one of dnsfw whose daemon has ended keeps its port for the "
    "next one; run `dnsfw down`",
    errno.EADDRNOTAVAIL: "this host has no such address: see `ip address`",
    errno.EAFNOSUPPORT: "this host has no {family}",
}


def bind(sock: socket.socket, endpoint: Endpoint, transport: str) -> None:
    """Bind `sock` to `endpoint`. ConfigError with the remedy when that cannot be."""
    try:
        sock.bind(endpoint.sockaddr)
    except OSError as error:
        family = "IPv6" if endpoint.family == socket.AF_INET6 else "IPv4"
        remedy = _REMEDY.get(error.errno or 0, error.strerror or "refused")
        raise ConfigError(
            f"cannot listen on {endpoint} ({transport}): "
            + remedy.format(port=endpoint.port, family=family)
        ) from None
