"""The privileged helper itself: a loop that does what `Helper` says, and nothing else.

Least authority: it lives in an empty network namespace, keeps six capabilities, holds no
descriptor of the daemon but their pair, and believes no request: a process is looked at
again through its pidfd, a cgroup is found by the helper, a table is what the kernel says it
is. It never answers anybody but its parent, and ends with it, however that ends.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any

from dnsfw.datapath import bpf, cgroup
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.abi import RoleId as RoleIds
from dnsfw.datapath.backend import MAPS
from dnsfw.datapath.bpf import MapType
from dnsfw.datapath.elsewhere import on_lo_of
from dnsfw.datapath.enroll import Tree
from dnsfw.datapath.executables import XATTR, Executable, ExecWatch
from dnsfw.datapath.process import Gone, Process, homes, inhabited
from dnsfw.datapath.relabel import HeldSocket, end_socket
from dnsfw.errors import ConfigError, DatapathError, DnsfwError
from dnsfw.model import HOST, RoleId
from dnsfw.server.helper_roles import Moved, RoleMaker
from dnsfw.server.helper_wire import Reply, code, receive, send

__all__ = ["HelperChild"]

_MOST_SOCKETS = 32  # made by one request
_MOST_PIDS = 4096  # relabelled by one request
_MOST_EXECUTABLES = 1024
_MOST_LISTED = 4096  # held sockets in one answer; the rest is relabelled all the same
_TICK = 1000  # milliseconds between two looks for new files and empty cgroups
_ROLE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")  # policy/syntax_roles.py
_KINDS = {"dnsfw_cgroups": MapType.HASH, "dnsfw_socks": MapType.SK_STORAGE}

Request = Mapping[str, Any]
Answer = tuple[Reply, list[int]]  # and descriptors


class HelperChild:
    """Answers requests on `pair` until the other end is closed."""

    def __init__(self, pair: socket.socket, news: socket.socket) -> None:
        self._pair = pair
        self._news = news
        self._maker: RoleMaker | None = None
        self._watch: ExecWatch | None = None
        self._verbs: dict[str, Callable[[Request, Sequence[int]], Answer]] = {
            "tables": self._tables,
            "tidy": self._tidy,
            "sockets": self._sockets,
            "answer": self._answer,
            "homes": self._homes,
            "inhabited": self._inhabited,
            "enroll": self._enroll,
            "unenroll": self._unenroll,
            "end": self._end,
            "relabel": self._relabel,
            "watch": self._watch_executables,
            "dissolve": self._dissolve,
        }

    def serve(self) -> None:
        """Until EOF."""
        poll = select.poll()
        poll.register(self._pair, select.POLLIN)
        watched: set[int] = set()
        while True:
            if (watch := self._watch) is not None and watch.fileno() not in watched:
                for fd in (watch.fileno(), watch.changes):
                    poll.register(fd, select.POLLIN)
                    watched.add(fd)
            ready = dict(poll.poll(_TICK))
            if watch is not None:
                # Held programs first: everything else may wait for them.
                for line in watch.answer(self._roles.on_exec):
                    self._tell("trouble", line)
                if not ready or watch.changes in ready:
                    self._guard(watch.look)
            if not ready and self._maker is not None:
                self._guard(self._maker.tidy)
            if self._pair.fileno() in ready and not self._one():
                return

    def _one(self) -> bool:
        """One request; False at the end."""
        data, fds = receive(self._pair)
        if not data:
            return False
        give: list[int] = []
        try:
            try:
                reply, give = self._do(json.loads(data), fds)
            except DnsfwError as error:
                reply = {"error": str(error), "mistake": isinstance(error, ConfigError)}
            except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
                reply = {"error": f"helper: {type(error).__name__}: {error}", "mistake": False}
            send(self._pair, reply, give)
        finally:
            for fd in (*fds, *give):
                os.close(fd)
        return True

    def _do(self, request: Request, fds: Sequence[int]) -> Answer:
        if not isinstance(request, dict) or request.get("do") not in self._verbs:
            raise DatapathError("helper: unknown request")
        return self._verbs[request["do"]](request, fds)

    # requests

    def _tables(self, request: Request, fds: Sequence[int]) -> Answer:
        """The two tables that it may write, looked at; and what is guarded."""
        if self._maker is not None:
            raise DatapathError("helper: it has its tables")
        if request["code"] != code():
            raise DatapathError("helper: the dnsfw on disk is not the one that runs: restart it")
        maps = {}
        for name, fd in zip(request["names"], fds, strict=True):
            found = bpf.map_of(fd)
            if found.kind is not _KINDS[name] or (found.key_size, found.value_size) != MAPS[name]:
                raise DatapathError(f"helper: that is not {name}")
            maps[name] = bpf.map_of(os.dup(fd))
        top = cgroup.root()
        guarded = cgroup.find(str(request["guarded"])) if request.get("guarded") else top
        self._maker = RoleMaker(Tree(top, guarded), maps, self._tell)
        return {}, []

    def _tidy(self, request: Request, fds: Sequence[int]) -> Answer:
        """Now, and from now on whenever nothing happens."""
        self._roles.tidy()
        return {}, []

    def _sockets(self, request: Request, fds: Sequence[int]) -> Answer:
        wanted = request["wanted"]
        if len(wanted) > _MOST_SOCKETS:
            raise DatapathError(f"helper: more than {_MOST_SOCKETS} sockets at once")
        made: list[int] = []
        try:
            with Process(int(request["pid"])) as process, process.network():
                for one in wanted:
                    made.append(_bound(str(one["transport"]), str(one["address"]), one["port"]))
        except BaseException:
            for fd in made:
                os.close(fd)
            raise
        return {}, made

    def _answer(self, request: Request, fds: Sequence[int]) -> Answer:
        network, program = fds
        return {}, [on_lo_of(network, program)]

    def _homes(self, request: Request, fds: Sequence[int]) -> Answer:
        return {"homes": list(homes(frozenset(map(int, request["cookies"]))).items())}, []

    def _inhabited(self, request: Request, fds: Sequence[int]) -> Answer:
        wanted = frozenset(int(number) for number in request["networks"])
        return {"inhabited": sorted(inhabited(wanted))}, []

    def _enroll(self, request: Request, fds: Sequence[int]) -> Answer:
        moved = self._roles.enroll(
            int(request["pid"]), _role(request["role"]), _name(request["name"]),
            force=bool(request.get("force")),
        )  # fmt: skip
        return _moved(moved), []

    def _unenroll(self, request: Request, fds: Sequence[int]) -> Answer:
        return _moved(self._roles.unenroll(int(request["pid"]))), []

    def _relabel(self, request: Request, fds: Sequence[int]) -> Answer:
        pids = [int(pid) for pid in request["pids"][:_MOST_PIDS]]
        role = RoleId(int(request["role"]))
        if role != HOST:
            _role(role)
        return {"sockets": _listed(self._roles.relabel(pids, role))}, []

    def _end(self, request: Request, fds: Sequence[int]) -> Answer:
        ended = 0
        for one in request["sockets"][:_MOST_LISTED]:
            held = HeldSocket(**one)
            with suppress(Gone), Process(held.pid) as process:
                ended += end_socket(process, held)
        return {"ended": ended}, []

    def _watch_executables(self, request: Request, fds: Sequence[int]) -> Answer:
        wanted = [_executable(one) for one in request["executables"]]
        if len(wanted) > _MOST_EXECUTABLES:
            raise ConfigError(f"more than {_MOST_EXECUTABLES} executables are subjects")
        if not wanted:
            if self._watch is not None:
                self._watch.watch([])
            return {"absent": []}, []
        if self._watch is None and self._roles:  # without tables nobody can be moved
            self._watch = ExecWatch()
        assert self._watch is not None
        places = request.get("filesystems")
        absent = self._watch.watch(wanted) if places is None else self._watch.watch(wanted, places)
        return {"absent": absent}, []

    def _dissolve(self, request: Request, fds: Sequence[int]) -> Answer:
        if self._watch is not None:
            self._watch.watch([])
        return {"stayed": self._roles.dissolve() if self._maker else []}, []

    @property
    def _roles(self) -> RoleMaker:
        if self._maker is None:
            raise DatapathError("helper: no tables yet")
        return self._maker

    def _guard(self, step: Callable[[], object]) -> None:
        try:
            step()
        except DnsfwError as error:
            self._tell("trouble", str(error))

    def _tell(self, kind: str, text: str) -> None:
        """Never waits: a parent that does not listen must not hold up an exec."""
        with suppress(OSError):
            message = json.dumps({"told": kind, "text": text}).encode()
            self._news.send(message, socket.MSG_DONTWAIT)


def _bound(transport: str, address: str, port: int) -> int:
    """A bound socket in the network namespace of this thread."""
    if not ip_address(address).is_loopback:
        raise DatapathError("helper: sockets of other namespaces are on loopback only")
    version = ip_address(address).version
    kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[transport]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with socket.socket(family, kind | socket.SOCK_NONBLOCK) as sock:
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transport == "tcp":  # a restart must not wait for TIME_WAIT
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, int(port)))
        except OSError as error:
            raise DatapathError(
                f"cannot listen on {address} port {port} ({transport}) in that network "
                f"namespace: {error.strerror}; is its lo up?"
            ) from None
        return sock.detach()


def _executable(one: Request) -> Executable:
    path = str(one["path"])
    if path != XATTR and not path.startswith("/"):
        raise DatapathError("helper: a program's path is absolute")
    return Executable(path, _role(one["role"]), _name(one["name"]), int(one["number"]))


def _name(name: object) -> str:
    """It becomes a directory's."""
    if not isinstance(name, str) or not _ROLE_NAME.fullmatch(name):
        raise DatapathError("helper: that is no role's name")
    return name


def _role(number: object) -> RoleId:
    if not isinstance(number, int) or not RoleIds.FIRST <= number < Limit.MAX_ROLES:
        raise DatapathError("helper: that is no role of a policy")
    return RoleId(number)


def _moved(moved: Moved) -> Reply:
    return asdict(moved) | {"sockets": _listed(moved.sockets)}


def _listed(held: Sequence[HeldSocket]) -> list[Reply]:
    """Connected ones first: only these can have to be ended."""
    return [asdict(h) for h in sorted(held, key=lambda h: not h.port)[:_MOST_LISTED]]
