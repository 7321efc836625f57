"""The sockets to which port 53 is led, in our namespace and in those of the guarded.

Loopback is another one in every network namespace, so a query can only be led to a socket
in its sender's own. Ours has its doors from the start. Another one gets them when the hooks
say that a role whose queries are taken over works there: the privileged helper makes the
sockets, we answer them. What arrives before that is refused (NO_DOOR).

A socket keeps its namespace alive, so doors close where nobody is left.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from dnsfw.datapath import abi
from dnsfw.datapath.askers import netns_cookie_of
from dnsfw.datapath.own import netns_cookie
from dnsfw.engine.effects import Note
from dnsfw.engine.fair import Room
from dnsfw.errors import ConfigError, DatapathError, DnsfwError
from dnsfw.model import HOST, Limit, Reason, RoleId, addr_from
from dnsfw.server.address import Endpoint
from dnsfw.server.helper import Helper, NoHelper, Wanted
from dnsfw.server.kernel import Kernel
from dnsfw.server.knocks import Knock, Knocks
from dnsfw.server.roles import AskersElsewhere
from dnsfw.server.tcp import TcpListener
from dnsfw.server.udp import OnQuery, UdpListener
from dnsfw.server.udp_socket import Own, open_socket
from dnsfw.values import dataclass

__all__ = ["DOOR4", "DOOR6", "Doors"]

DOOR4 = IPv4Address("127.0.53.53")  # where nobody else listens
DOOR6 = IPv6Address("::1")  # IPv6 has no other
SWEEP = 5.0  # seconds between two looks for namespaces that are empty
RETRY = 5.0  # seconds until a namespace that could not be opened may be tried again
_SIOCGIFFLAGS, _IFREQ_BYTES, _IFNAME_BYTES, _IFF_UP = 0x8913, 40, 16, 1
_SIOCGSKNS = 0x894C  # the namespace of a socket, as a descriptor; Linux 4.10

Listener = UdpListener | TcpListener
Kind = type[UdpListener] | type[TcpListener]
Equip = Callable[[Listener], None]
Say = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """The doors of one namespace."""

    role: RoleId  # who knocked
    listeners: tuple[Listener, ...]
    inode: int  # of the namespace; 0: ours

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


class Doors:
    """Opens and closes them. Also a listener of the reporter: it hears who knocks."""

    def __init__(self, kernel: Kernel, equip: Equip, on_query: OnQuery) -> None:
        self.helper: Helper = NoHelper("dnsfw runs without its privileged helper")
        self.said: Say = lambda kind, text: None
        self.given_up = 0  # knocks for which there was no room, or no helper
        self._kernel = kernel
        self._equip = equip
        self._on_query = on_query
        self._here = netns_cookie()
        self._places: dict[int, _Place] = {}
        self._retry: dict[int, float] = {}
        self._knocks = Knocks()
        self._room = Room(Limit.MAX_NETNS - 1)  # and ours
        self._room.shared = True

    @property
    def namespaces(self) -> int:
        """In how many there are doors now."""
        return len(self._places)

    @property
    def listeners(self) -> Iterator[Listener]:
        """Every socket of every namespace."""
        for place in self._places.values():
            yield from place.listeners

    # ours

    def prepare(self, takeover: bool) -> None:
        """Ours are open; or nobody is led anywhere any more. DatapathError when lo is down."""
        if takeover:
            self.open_here()
        else:
            self.forget_others()

    def open_here(self) -> None:
        """Before any role takes over: bound, known to the hooks, not read yet.

        On the ports of before, if they are free: sockets that are connected to them go on.
        DatapathError when lo is down.
        """
        if self._here in self._places:
            return
        before = self._kernel.doors().get(self._here)
        listeners: list[Listener] = []
        try:
            listeners += _bind(DOOR4, before and (*before.udp4, before.tcp4), self._kernel.own)
            _check_lo(listeners[0].socket)
            with suppress(ConfigError):  # a host without IPv6
                listeners += _bind(DOOR6, before and (*before.udp6, before.tcp6), self._kernel.own)
            self._admit(self._here, _Place(HOST, tuple(listeners), 0))
        except DnsfwError as error:
            _close(listeners)
            raise DatapathError(
                f"queries cannot be taken over: {error}; is lo up? see `ip link`"
            ) from None
        except BaseException:
            _close(listeners)
            raise

    def forget_others(self) -> None:
        """The doors of an earlier process in other namespaces: nobody is led there any more."""
        for netns in self._kernel.doors().keys() - self._places.keys():
            self._kernel.close_doors(netns)

    async def start(self) -> None:
        """Answer at the doors that are open, and where an earlier process had some."""
        for place in tuple(self._places.values()):
            await self._read(place)
        await self._open_again()

    # those of others

    def note(self, note: Note) -> None:
        """Nothing here is about names."""

    def event(self, event: abi.Event) -> None:
        """Hear who knocks; never waits."""
        if event.reason == Reason.NO_DOOR and event.pid:
            self._knocks.put(Knock(event.netns, event.pid, RoleId(event.role)))

    async def run(self) -> None:
        """Open where somebody knocks, close where nobody is; for ever."""
        loop = asyncio.get_running_loop()
        swept = loop.time()
        while True:
            if knock := await self._next_knock(max(0.0, swept + SWEEP - loop.time())):
                await self.answer(knock)
            if loop.time() - swept >= SWEEP:
                await self.sweep()
                swept = loop.time()

    async def answer(self, knock: Knock) -> None:
        """Open doors where this process is, once, if there is room."""
        now = asyncio.get_running_loop().time()
        if knock.netns in self._places or self._retry.get(knock.netns, 0.0) > now:
            return
        self._retry = {n: at for n, at in self._retry.items() if at > now}
        try:
            await self._open(knock)
        except ConfigError:  # the process has ended: the next one knocks again
            return
        except DnsfwError as error:
            self._retry[knock.netns] = now + RETRY
            self.said(
                "takeover",
                f"queries of process {knock.pid} are refused, for dnsfw has no socket in its "
                f"network namespace: {error}",
            )

    async def sweep(self) -> None:
        """Close the doors of namespaces in which no process is left."""
        inodes = {place.inode for place in self._places.values() if place.inode}
        if not inodes or not self.helper.alive:
            return
        try:
            alive = await asyncio.to_thread(self.helper.inhabited, sorted(inodes))
        except DnsfwError as error:
            self.said("takeover", f"nobody knows which network namespaces are empty: {error}")
            return
        for netns, place in tuple(self._places.items()):
            if place.inode in inodes - alive:
                self._shut(netns)

    def close(self) -> None:
        """Let go of every socket; the hooks keep refusing what they cannot lead anywhere."""
        for place in self._places.values():
            place.close()
        self._places.clear()

    # inside

    async def _next_knock(self, seconds: float) -> Knock | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._knocks.get()
        return None

    async def _open(self, knock: Knock) -> None:
        if knock.netns == self._here:
            self.open_here()
            await self._read(self._places[self._here])
            return
        if not self._room.left(knock.role):
            self.given_up += 1
            raise DatapathError(
                f"its role has doors in {self._room.of(knock.role)} namespaces, of "
                f"{int(Limit.MAX_NETNS)} for all"
            )
        try:
            before = self._kernel.doors().get(knock.netns)
            listeners = await asyncio.to_thread(_make, self.helper, knock.pid, before)
        except DatapathError:
            self.given_up += 1
            raise
        with ExitStack() as held:
            try:
                self._check(knock, listeners[0])
                network = held.enter_context(_network(listeners[0].socket))
                place = _Place(knock.role, listeners, os.fstat(network).st_ino)
                self._admit(knock.netns, place)
            except BaseException:
                _close(listeners)
                raise
            self._room.take(knock.role)
            await self._have_answered(place, network)
        await self._read(place)

    async def _have_answered(self, place: _Place, network: int) -> None:
        """By the kernel: repeated questions need not come to the doors. Else they do.

        By the namespace itself: who knocked may be gone (`dig` is, when its question was refused).
        """
        attach = partial(self.helper.answer_in, network)
        with suppress(DnsfwError):
            await asyncio.to_thread(self._kernel.answer_in, place.inode, attach)

    async def _open_again(self) -> None:
        """Where an earlier process had doors, on the ports of before, without a knock: whoever
        kept on asking there while nobody listened was answered by the kernel, and goes on.
        """
        before = self._kernel.doors().keys() - self._places.keys()
        homes: Mapping[int, int] = {}
        if before and self.helper.alive:
            with suppress(DnsfwError):
                homes = await asyncio.to_thread(self.helper.homes, sorted(before))
        for netns in before:
            if (pid := homes.get(netns)) is not None:
                await self.answer(Knock(netns, pid, HOST))  # who had knocked is not known now
            if netns not in self._places:
                self._kernel.close_doors(netns)
        self._kernel.answer_only_in({place.inode for place in self._places.values()})

    def _check(self, knock: Knock, made: Listener) -> None:
        if knock.netns in self._places:
            raise DatapathError("somebody else opened them meanwhile")
        if netns_cookie_of(made.socket.fileno()) != knock.netns:
            raise DatapathError("it is in another one by now")

    def _admit(self, netns: int, place: _Place) -> None:
        for listener in place.listeners:
            self._equip(listener)
            if netns != self._here:
                listener.askers = AskersElsewhere(
                    listener.askers, partial(self._kernel.has_asked, netns)
                )
        self._kernel.open_doors(netns, _described(place.listeners))
        self._places[netns] = place

    async def _read(self, place: _Place) -> None:
        for listener in place.listeners:
            await listener.start(asyncio.get_running_loop(), self._on_query)

    def _shut(self, netns: int) -> None:
        place = self._places.pop(netns)
        self._room.give(place.role)
        self._kernel.close_doors(netns)
        self._kernel.answer_only_in({place.inode for place in self._places.values()})
        place.close()


def _bind(
    address: IPv4Address | IPv6Address, ports: Sequence[int] | None, own: Own
) -> list[Listener]:
    """All of one family, or none. ConfigError."""
    wanted = list(ports or [0] * (Limit.DOORS + 1))
    made: list[Listener] = []
    try:
        for port in wanted[:-1]:
            made.append(_on(UdpListener, Endpoint(address, port), own))
        made.append(_on(TcpListener, Endpoint(address, wanted[-1]), own))
    except BaseException:
        _close(made)
        raise
    return made


def _on(kind: Kind, endpoint: Endpoint, own: Own) -> Listener:
    if endpoint.port:
        with suppress(ConfigError):  # somebody has it now
            return _listening(kind, endpoint, own)
    return _listening(kind, Endpoint(endpoint.address, 0), own)


def _listening(kind: Kind, endpoint: Endpoint, own: Own) -> Listener:
    """Marked before it is bound: the wall keeps the ports of before for us."""
    if kind is TcpListener:
        return TcpListener(endpoint, own=own)
    return UdpListener(endpoint, open_socket(endpoint, own=own), prepared=True)


def _make(helper: Helper, pid: int, before: abi.Doors | None) -> tuple[Listener, ...]:
    """In the namespace of a process; IPv4 alone where it has no IPv6."""
    socks = _fetch(helper, pid, DOOR4, before and (*before.udp4, before.tcp4))
    try:
        _check_lo(socks[0])
        with suppress(DatapathError):
            socks += _fetch(helper, pid, DOOR6, before and (*before.udp6, before.tcp6))
        return tuple(map(_taken, socks))
    except BaseException:
        for sock in socks:
            sock.close()
        raise


def _fetch(
    helper: Helper, pid: int, address: IPv4Address | IPv6Address, ports: Sequence[int] | None
) -> list[socket.socket]:
    """On these ports; on any, if somebody there has one of them now."""
    anywhere = (0,) * (Limit.DOORS + 1)
    *udp, tcp = (Endpoint(address, port) for port in ports or anywhere)
    wanted = [*(Wanted("udp", endpoint) for endpoint in udp), Wanted("tcp", tcp)]
    try:
        fds = helper.sockets_in(pid, wanted)
    except DatapathError:
        if not ports or not any(ports):
            raise
        return _fetch(helper, pid, address, None)
    return [socket.socket(fileno=fd) for fd in fds]


def _taken(sock: socket.socket) -> Listener:
    sock.setblocking(False)
    address, port = sock.getsockname()[:2]
    endpoint = Endpoint(DOOR6 if ":" in address else DOOR4, port)
    kind = UdpListener if sock.type == socket.SOCK_DGRAM else TcpListener
    return kind(endpoint, bound=sock)


def _described(listeners: Sequence[Listener]) -> abi.Doors:
    def ports(kind: type[Listener], family: int) -> list[int]:
        return [
            listener.socket.getsockname()[1]
            for listener in listeners
            if isinstance(listener, kind) and listener.endpoint.family == family
        ]

    none = [0] * Limit.DOORS
    return abi.Doors(
        addr4=addr_from(DOOR4),
        addr6=addr_from(DOOR6),
        udp4=tuple(ports(UdpListener, socket.AF_INET) or none),
        udp6=tuple(ports(UdpListener, socket.AF_INET6) or none),
        tcp4=(ports(TcpListener, socket.AF_INET) or [0])[0],
        tcp6=(ports(TcpListener, socket.AF_INET6) or [0])[0],
    )


def _check_lo(sock: socket.socket) -> None:
    """That packets reach this socket: Linux binds it to an address of a device that is down."""
    answer = fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, b"lo".ljust(_IFREQ_BYTES, b"\0"))
    if not int.from_bytes(answer[_IFNAME_BYTES : _IFNAME_BYTES + 2], sys.byteorder) & _IFF_UP:
        raise DatapathError("its lo is down; remedy: ip link set lo up")


@contextmanager
def _network(sock: socket.socket) -> Iterator[int]:
    """The network namespace of a socket; its inode is its number in /proc."""
    try:
        fd = fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
    except OSError as error:
        raise DatapathError(f"nobody could tell when it is empty: {error.strerror}") from None
    try:
        yield fd
    finally:
        os.close(fd)


def _close(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()
