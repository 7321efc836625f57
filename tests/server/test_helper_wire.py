"""What daemon and helper say to each other."""

from __future__ import annotations

import os
import socket

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server.helper_wire import LONGEST, code, receive, send


def test_a_message_arrives_with_its_descriptors() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send(ours, {"do": "x"}, [0, 1])
        data, fds = receive(theirs)
        try:
            assert data == b'{"do":"x"}'
            assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in (0, 1)]
            assert not any(os.get_inheritable(fd) for fd in fds)
        finally:
            for fd in fds:
                os.close(fd)


def test_what_is_too_long_is_not_taken() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, 32, 4 * LONGEST)  # SO_SNDBUFFORCE
        send(ours, {"x": "x" * LONGEST})
        with pytest.raises(DatapathError, match="too long"):
            receive(theirs)


def test_the_end_is_empty() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        assert receive(theirs) == (b"", [])
    assert code().startswith("0.")
