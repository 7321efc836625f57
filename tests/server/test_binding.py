"""Why a port cannot be had, in words."""

from __future__ import annotations

import errno
import os

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server.address import parse_endpoint
from dnsfw.server.binding import bind


class Refusing:
    """A socket that cannot be bound."""

    def __init__(self, code: int) -> None:
        self._code = code

    def bind(self, address: object) -> None:
        raise OSError(self._code, os.strerror(self._code))


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EADDRINUSE, "sport = :53"),
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "ip address"),
        (errno.EAFNOSUPPORT, "no IPv4"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_each_refusal_names_its_remedy(code: int, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as caught:
        bind(Refusing(code), parse_endpoint("127.0.53.53"), "udp")  # type: ignore[arg-type]

    assert "127.0.53.53:53 (udp)" in str(caught.value)
