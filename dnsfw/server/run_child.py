"""The command of `dnsfw run`, from fork to exec.

Forked before this process has threads, it waits: for its cgroup, for the hooks, for its
namespaces. Only then it becomes the command, whose first instruction is guarded. If we
die meanwhile, so does it. Each request is a JSON object over a SOCK_SEQPACKET pair.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from dnsfw.datapath import seccomp
from dnsfw.errors import DatapathError, DnsfwError
from dnsfw.values import dataclass

__all__ = ["NOT_EXECUTABLE", "NOT_FOUND", "Account", "Child", "Start"]

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # as shells and env(1) say it
_MESSAGE = 1 << 20
_CLONE_NEWNET = 0x40000000
_LOST = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Account:
    """Who the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """What becomes of the child."""

    command: tuple[str, ...]
    account: Account | None = None
    filter: bytes = b""  # of system calls
    fenced: bool = False  # no way out of its cgroup


class Child:
    """Our end."""

    def __init__(self, mask: set[int], close: Sequence[int] = ()) -> None:
        """Forks. `mask` are the signals that the command shall hold back; `close` are
        descriptors of ours that it must not keep until exec.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            for fd in close:
                os.close(fd)
            _live(theirs, mask)
        theirs.close()
        self._socket = ours

    def unshare_network(self) -> None:
        """It gets a network namespace of its own."""
        self._ask({"do": "unshare"})

    def sockets(self, wanted: Sequence[tuple[int, int, Any]]) -> list[socket.socket]:
        """Bound sockets (family, type, address) of its network namespace."""
        self._send({"do": "sockets", "wanted": wanted})
        data, fds, _, _ = socket.recv_fds(self._socket, _MESSAGE, len(wanted))
        made = [socket.socket(fileno=fd) for fd in fds]
        self._checked(data)
        return made

    def go(self, start: Start) -> None:
        """Become the command. `failed` says how that went."""
        account = start.account
        self._send({
            "do": "go",
            "command": [os.fsencode(word).hex() for word in start.command],
            "account": [account.uid, account.gid, list(account.groups)] if account else None,
            "filter": start.filter.hex(),
            "fenced": start.fenced,
        })  # fmt: skip

    def fileno(self) -> int:
        """Readable when `failed` has its answer."""
        return self._socket.fileno()

    def failed(self) -> tuple[int, str] | None:
        """None: it runs. Else the exit status and why. DatapathError: a guard was refused."""
        try:
            data = self._socket.recv(_MESSAGE)
        except ConnectionError:
            data = b""
        if not data:
            return None  # exec closed it
        said = json.loads(data)
        if "guard" in said:
            raise DatapathError(said["guard"])
        return int(said["status"]), str(said["why"])

    def close(self) -> None:
        """A child that was not sent off ends with this."""
        self._socket.close()

    def _ask(self, request: dict[str, Any]) -> None:
        self._send(request)
        self._checked(self._socket.recv(_MESSAGE))

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._socket.send(json.dumps(request).encode())
        except ConnectionError as error:
            raise DatapathError("the command's process was killed before it began") from error

    def _checked(self, data: bytes) -> None:
        said = json.loads(data) if data else {"error": "it was killed"}
        if "error" in said:
            raise DatapathError(f"preparing the command's process: {said['error']}")


# in the child


def _live(link: socket.socket, mask: set[int]) -> NoReturn:
    """Serve requests until `go`; nothing of the parent's stack may be run here."""
    try:
        while data := link.recv(_MESSAGE):
            request = json.loads(data)
            match request["do"]:
                case "unshare":
                    _reply(link, _unshare)
                case "sockets":
                    _make_sockets(link, request["wanted"])
                case "go":
                    _become(link, request, mask)
    except BaseException as error:
        with suppress(OSError):
            link.send(json.dumps({"guard": f"the command could not start: {error}"}).encode())
    finally:
        os._exit(_LOST)


def _reply(link: socket.socket, act: Any) -> None:
    try:
        act()
    except (OSError, DnsfwError) as error:
        link.send(json.dumps({"error": str(error)}).encode())
    else:
        link.send(b"{}")


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace: {os.strerror(number)}")


def _make_sockets(link: socket.socket, wanted: Sequence[Sequence[Any]]) -> None:
    made: list[socket.socket] = []
    try:
        for family, kind, address in wanted:
            sock = socket.socket(family, kind)
            made.append(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(tuple(address))
        socket.send_fds(link, [b"{}"], [sock.fileno() for sock in made])
    except OSError as error:
        link.send(json.dumps({"error": str(error)}).encode())
    finally:
        for sock in made:
            sock.close()


def _become(link: socket.socket, request: dict[str, Any], mask: set[int]) -> NoReturn:
    command = [bytes.fromhex(word) for word in request["command"]]
    try:
        if request["fenced"]:
            from dnsfw.datapath import fence

            fence.close_in()
        if code := bytes.fromhex(request["filter"]):
            seccomp.install(code)  # before the account changes: without no_new_privs
        if request["account"] is not None:
            uid, gid, groups = request["account"]
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
    except (OSError, DnsfwError) as error:
        link.send(json.dumps({"guard": str(error)}).encode())
        os._exit(_LOST)
    # Python ignores these, and exec keeps what is ignored (subprocess does the same).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C that came while it waited
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _exec(command)
    except OSError as error:
        status = NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
        why = error.strerror or str(error)
        link.send(json.dumps({"status": status, "why": why}).encode())
        os._exit(status)


def _exec(command: list[bytes]) -> NoReturn:
    try:
        os.execvpe(command[0], command, os.environb)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without a first line that names its interpreter: execvp(3) asks the shell.
    found = next((p for p in _candidates(command[0]) if os.access(p, os.X_OK)), command[0])
    os.execve(b"/bin/sh", [b"sh", found, *command[1:]], os.environb)


def _candidates(name: bytes) -> list[bytes]:
    if b"/" in name:
        return [name]
    return [os.path.join(os.fsencode(d), name) for d in os.get_exec_path()]  # noqa: PTH118


