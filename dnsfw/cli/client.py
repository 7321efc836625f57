"""The commands' end of the control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.server.options import CONTROL_NAME, run_dir

__all__ = ["Client", "NoAccess", "NoDaemon", "role_option", "run_dir_option"]

_PATIENCE = 30.0  # seconds; a reload compiles lists of a million names
_CHUNK = 1 << 16


class NoDaemon(DatapathError):
    """Nobody listens in this run directory; after a crash its wall stands all the same."""

    def __init__(self, path: Path) -> None:
        from dnsfw.cli.left_wall import left_wall  # with what the daemon has; seldom wanted

        _, _, told = left_wall(path.parent)
        none = f"dnsfw is not running here ({path}); start it: sudo dnsfw up"
        super().__init__(told or none)


class NoAccess(ConfigError):
    """Somebody listens, but not to this user."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no access to {path}; use sudo")


def run_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run-dir, for every command that talks to the daemon."""
    return click.option(
        "--run-dir",
        metavar="DIR",
        help="Where the daemon keeps its socket.  [default: $DNSFW_RUN_DIR or /run/dnsfw]",
    )(command)


def role_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--role, for every command that shows rows of several."""
    return click.option("--role", metavar="ROLE", help="Only of this role.  [default: all]")(
        command
    )


class Client:
    """One request a connection."""

    def __init__(self, directory: str | None) -> None:
        self.path = run_dir(directory) / CONTROL_NAME

    def ask(self, do: str, patience: float = _PATIENCE, **request: Any) -> dict[str, Any]:
        """The last line of the reply. NoDaemon; ConfigError or DatapathError as the daemon says."""
        *_, last = self._lines(do, request, patience)
        return last

    def rows(
        self, do: str, *, forever: bool = False, role: str | None = None, **more: Any
    ) -> Iterator[dict[str, Any]]:
        """Every row as it comes, of one role or of all."""
        request = more if role is None else {"role": role, **more}
        for line in self._lines(do, request, None if forever else _PATIENCE):
            if "row" in line:
                yield line["row"]

    def _lines(
        self, do: str, request: dict[str, Any], patience: float | None
    ) -> Iterator[dict[str, Any]]:
        with self._connect() as sock:
            sock.settimeout(patience)
            try:
                sock.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
                for line in _split(sock):
                    reply = json.loads(line)
                    yield _checked(reply)
                    if "ok" in reply:
                        return
            except (TimeoutError, ConnectionError) as error:
                raise DatapathError(f"the daemon did not answer: {error}") from None
        if patience is None:
            raise DatapathError("the daemon has ended; `dnsfw status` says what stands")
        raise DatapathError("the daemon ended in the middle of its answer; see its log")

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(self.path))
        except PermissionError:
            sock.close()
            raise NoAccess(self.path) from None
        except OSError:
            sock.close()
            raise NoDaemon(self.path) from None
        return sock


def _split(sock: socket.socket) -> Iterator[bytes]:
    rest = b""
    while data := sock.recv(_CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    if reply.get("ok", True):
        return reply
    if reply.get("exit") == 2:
        raise PolicyError(reply["error"]) if reply.get("policy") else ConfigError(reply["error"])
    raise DatapathError(reply["error"])
