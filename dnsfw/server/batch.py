"""Datagrams by the batch: recvmmsg(2) and sendmmsg(2) on buffers that are made once.

The kernel writes each query in parts: its id, then all that follows. The reply to a
repeated query is then the same id from where it lies and a tail that somebody keeps, to
the sender whose address lies beside it, so no octet of it is touched in between.

What the kernel says of each datagram (its mark, the address it was sent to) always stands
at the same place: exactly the options that `UdpListener` sets make it. A batch that looks
different in any way is `odd`, and its marks are not to be believed.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from dnsfw.engine.replies import ID, LONGEST

__all__ = ["OCTETS", "Batch", "Outbox", "able", "peer_of"]

# Where the octets of a `bytes` begin, from what `id` says; `able` has a look.
OCTETS = bytes.__basicsize__ - 1
_NAME = 32  # octets of a slot for a sockaddr
_HEADER = 8  # words of a struct mmsghdr: name, its length, iov, count, control, its length, flags
_IOV, _CONTROL_SIZE, _FLAGS, _LENGTH = 2, 5, 6, 7  # words in it
_MARK_WORDS = 3  # a control message with a mark: length, level and type, the mark
_UPPER = 0xFFFFFFFF_00000000
_LINK_LOCAL, _LINK_LOCAL_MASK = 0x80FE, 0xC0FF  # fe80::/10 as the low octets of a word
_PORT = struct.Struct(">H")
_SCOPE = struct.Struct("=I")
_CONTROL = struct.Struct("=QII")  # length, level, type

_Word = "Q"
# What, to whom, and from where if that matters.
Outgoing = tuple[bytes, Any, tuple[int, int, bytes] | None]


def _libc() -> tuple[Any, Any]:
    library = ctypes.CDLL(None, use_errno=True)
    receive, send = library.recvmmsg, library.sendmmsg
    word = ctypes.c_void_p
    receive.argtypes = (ctypes.c_int, word, ctypes.c_uint, ctypes.c_int, word)
    send.argtypes = (ctypes.c_int, word, ctypes.c_uint, ctypes.c_int)
    return receive, send


def able() -> bool:
    """Whether the layouts below are those of this machine, and its libc has the calls."""
    try:
        _libc()
    except (OSError, AttributeError):
        return False
    probe = b"octets"
    at = ctypes.cast(ctypes.c_char_p(probe), ctypes.c_void_p).value
    return sys.byteorder == "little" and struct.calcsize("P") == 8 and at == id(probe) + OCTETS


class Batch:
    """The buffers of one socket, for `slots` datagrams at a time."""

    def __init__(self, family: int, wildcard: bool, slots: int, longest: int) -> None:
        self.family = family
        self._ipv4 = family == socket.AF_INET
        self.slots = slots
        self.count = 0  # of the last `receive`
        self._marks: list[int] | None = None  # looked for once, whoever asks
        self._senders: frozenset[int] | None = None
        self._receive, self._send = _libc()
        self._wildcard = wildcard
        self._longest = longest
        info = 0 if not wildcard else 4 if family == socket.AF_INET else 5
        self._stride = _MARK_WORDS + info  # words of control messages in a slot
        self._ids = bytearray(ID * slots)
        self._short = bytearray(LONGEST * slots)
        self._long = bytearray(longest * slots)
        self._names = bytearray(_NAME * slots)
        self._control = array(_Word, bytes(8 * self._stride * slots))
        self._control_out = array(_Word, bytes(8 * (info or 1) * slots))
        self._view = memoryview(self._short)
        self._name_size = 16 if family == socket.AF_INET else 28
        at = [_address(part) for part in (self._ids, self._short, self._long, self._names)]
        self._in_iov = array(_Word)
        self.out = array(_Word)  # words of two iovecs a reply; the last two are for its tail
        for i in range(slots):
            own = at[0] + ID * i
            self._in_iov.extend((own, ID, at[1] + LONGEST * i, LONGEST))
            self._in_iov.extend((at[2] + longest * i, longest - ID - LONGEST))
            self.out.extend((own, ID, 0, 0))
        self._in = self._headers(at[3], self._in_iov, 3, self._control, self._stride)
        self._out = self._headers(at[3], self.out, 2, self._control_out, info)
        self._in_fresh, self._out_fresh = self._in[:], self._out[:]
        self._in_at, self._out_at = self._in.buffer_info()[0], self._out.buffer_info()[0]
        self._info = info
        self._moved = False
        self._sizes = [array(_Word, [8 * self._stride] * n) for n in range(slots + 1)]
        self._zeros = [array(_Word, bytes(8 * n)) for n in range(slots + 1)]

    def _headers(
        self, names: int, iov: array[int], parts: int, control: array[int], words: int
    ) -> array[int]:
        made = array(_Word)
        iovs, controls = iov.buffer_info()[0], control.buffer_info()[0]
        for i in range(self.slots):
            made.extend((names + _NAME * i, self._name_size, iovs + 16 * parts * i, parts))
            made.extend((controls + 8 * words * i if words else 0, 8 * words, 0, 0))
        return made

    # in

    def receive(self, fd: int) -> int:
        """How many datagrams came; 0 when none waits (an error of the socket's is none)."""
        self._in[:] = self._in_fresh  # the kernel wrote its lengths over ours
        self._marks = self._senders = None
        count = self._receive(fd, self._in_at, self.slots, 0, None)
        self.count = count if count > 0 else 0
        return self.count

    @property
    def odd(self) -> bool:
        """Whether something was cut off, or a datagram lacks what every one of ours has. The
        options of its socket can add up to this size in one way only.
        """
        count, end = self.count, _HEADER * self.count
        return (
            self._in[_CONTROL_SIZE:end:_HEADER] != self._sizes[count]
            or self._in[_FLAGS:end:_HEADER] != self._zeros[count]
        )

    @property
    def lengths(self) -> list[int]:
        """Octets of each datagram."""
        return self._in[_LENGTH : _HEADER * self.count : _HEADER].tolist()

    @property
    def marks(self) -> list[int]:
        """The mark of each packet; not of an `odd` batch."""
        if self._marks is None:
            self._marks = self._control[2 : self._stride * self.count : self._stride].tolist()
        return self._marks

    @property
    def heads(self) -> bytes:
        """What follows each id, LONGEST octets a slot."""
        return bytes(self._view[: LONGEST * self.count])

    def wire(self, slot: int, length: int) -> bytes:
        """The whole datagram."""
        at = ID * slot
        taken = bytes(self._ids[at : at + ID]) + self._view[LONGEST * slot : LONGEST * (slot + 1)]
        if length <= ID + LONGEST:
            return taken[:length]
        at = self._longest * slot
        return taken + self._long[at : at + length - ID - LONGEST]

    def cut(self, slot: int) -> bool:
        """Whether the datagram, or what the kernel said of it, did not fit."""
        return bool(self._in[_HEADER * slot + _FLAGS] & (socket.MSG_TRUNC | socket.MSG_CTRUNC))

    def peer(self, slot: int) -> Any:
        """The sender's address as the socket module has it."""
        return peer_of(self.family, self._names[_NAME * slot : _NAME * (slot + 1)])

    def address(self, slot: int) -> str:
        """The sender's address, without its port."""
        at = _NAME * slot
        if self._ipv4:
            return socket.inet_ntoa(self._names[at + 4 : at + 8])
        return socket.inet_ntop(socket.AF_INET6, self._names[at + 8 : at + 24])

    def name(self, slot: int) -> bytes:
        """The same as the kernel wrote it."""
        return bytes(self._names[_NAME * slot : _NAME * slot + self._name_size])

    def control(self, slot: int) -> list[tuple[int, int, bytes]]:
        """The control messages of one datagram, as `recvmsg` gives them."""
        size = self._in[_HEADER * slot + _CONTROL_SIZE]
        at = self._stride * slot
        raw = self._control[at : at + self._stride].tobytes()[:size]
        found, at = [], 0
        while at + 16 <= len(raw):
            length, level, kind = _CONTROL.unpack_from(raw, at)
            if not 16 <= length <= len(raw) - at:
                break
            found.append((level, kind, raw[at + 16 : at + length]))
            at += -(-length // 8) * 8
        return found

    @property
    def senders(self) -> frozenset[int]:
        """A number for each address that sent some of these, without its port."""
        if self._senders is None:
            self._senders = self._numbers()
        return self._senders

    def _numbers(self) -> frozenset[int]:
        words = memoryview(self._names)[: _NAME * self.count].cast("I")
        if self.family == socket.AF_INET:
            return frozenset(words[1 :: _NAME // 4].tolist())
        places = range(0, len(words), _NAME // 4)
        return frozenset(hash(tuple(words[at + 2 : at + 6])) for at in places)

    # out

    def aim(self, reply: int, slot: int) -> None:
        """Let the reply of this number answer the datagram in that slot; 0 answers 0 unasked."""
        if reply == slot and not self._wildcard:
            return
        to, of = _HEADER * reply, _HEADER * slot
        self._out[to] = self._in_fresh[of]
        self.out[4 * reply] = self._in_iov[6 * slot]
        self._moved = self._moved or reply != slot
        if self._wildcard:
            self._from(reply, slot)

    def _from(self, reply: int, slot: int) -> None:
        """It leaves from the address that was asked; of a link-local one the interface counts."""
        at, to = self._stride * slot + _MARK_WORDS, self._info * reply
        said, out = self._control, self._control_out
        out[to], out[to + 1] = said[at], said[at + 1]
        if self.family == socket.AF_INET:  # interface 0, and the address the packet was for
            out[to + 2], out[to + 3] = said[at + 2] & _UPPER, 0
            return
        out[to + 2], out[to + 3] = said[at + 2], said[at + 3]
        scoped = said[at + 2] & _LINK_LOCAL_MASK == _LINK_LOCAL
        out[to + 4] = said[at + 4] if scoped else 0

    def send(self, fd: int, count: int) -> int:
        """Send the first replies; how many the kernel would not take."""
        lost = _send_all(self._send, fd, self._out_at, count)
        if self._moved:
            self._restore()
        return lost

    def _restore(self) -> None:
        self._moved = False
        self._out[:] = self._out_fresh
        for i in range(self.slots):
            self.out[4 * i] = self._in_iov[6 * i]


class Outbox:
    """Datagrams to anybody, `slots` with each call. Their octets are sent from where they lie."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        _, self._send = _libc()
        self._iov = array(_Word, bytes(16 * slots))
        self._headers = array(_Word, bytes(8 * _HEADER * slots))
        first = self._iov.buffer_info()[0]
        for i in range(slots):
            self._headers[_HEADER * i + _IOV], self._headers[_HEADER * i + 3] = first + 16 * i, 1
        self._at = self._headers.buffer_info()[0]

    def send(self, fd: int, out: Sequence[Outgoing]) -> int:
        """Send them, each to a sockaddr as `Batch.name` gives it; how many the kernel would not
        take.
        """
        return sum(
            self._send_some(fd, out[at : at + self._slots])
            for at in range(0, len(out), self._slots)
        )

    def _send_some(self, fd: int, out: Sequence[Outgoing]) -> int:
        headers, iov, to, at = self._headers, self._iov, 0, 0
        held = []  # what is made here, until it is sent
        for wire, name, source in out:
            headers[to], headers[to + 1] = id(name) + OCTETS, len(name)
            iov[at], iov[at + 1] = id(wire) + OCTETS, len(wire)
            if source is None:
                headers[to + 4] = headers[to + 5] = 0
            else:
                held.append(control := _control(*source))
                headers[to + 4], headers[to + 5] = id(control) + OCTETS, len(control)
            to += _HEADER
            at += 2
        return _send_all(self._send, fd, self._at, len(out))


def _control(level: int, kind: int, data: bytes) -> bytes:
    """A control message as sendmsg(2) wants it."""
    message = _CONTROL.pack(_CONTROL.size + len(data), level, kind) + data
    return message + bytes(-len(message) % 8)


def _send_all(send: Any, fd: int, headers: int, count: int) -> int:
    """How many of so many the kernel would not take."""
    at, lost = 0, 0
    while at < count:
        done = send(fd, headers + 8 * _HEADER * at, count - at, 0)
        if done > 0:
            at += done
        elif ctypes.get_errno() != errno.EINTR:
            at, lost = at + 1, lost + 1  # of this one; the others may have a way
    return lost


def peer_of(family: int, name: bytes | bytearray) -> Any:
    """A sockaddr as the socket module has it."""
    (port,) = _PORT.unpack_from(name, 2)
    if family == socket.AF_INET:
        return socket.inet_ntoa(name[4:8]), port
    text = socket.inet_ntop(socket.AF_INET6, name[8:24])
    return text, port, int.from_bytes(name[4:8], "big"), _SCOPE.unpack_from(name, 24)[0]


def _address(buffer: bytearray) -> int:
    """Where it lies, and stays: nobody changes its size."""
    whole: Callable[[bytearray], Any] = (ctypes.c_char * len(buffer)).from_buffer
    return ctypes.addressof(whole(buffer))
