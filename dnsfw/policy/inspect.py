"""Looks at a download in a process of its own: is it signed, and what do its lines become?
`python -m dnsfw.policy.inspect`, the question as JSON on stdin, the answer on stdout.

A million lines are seconds of Python, and the bytes are a stranger's: here they hold up no
answer, and whoever could break a reader would have broken a process without privileges that is
about to end. What it compiles stays on disk for the load that follows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dnsfw
from dnsfw.errors import DnsfwError
from dnsfw.policy.lists.formats import Format
from dnsfw.policy.lists.store import ListSource, Store
from dnsfw.policy.minisign import verify
from dnsfw.policy.remote import LIST, Remote, Told
from dnsfw.values import dataclass

__all__ = ["Answer", "answer", "command", "question"]

_POLITE = 5  # nice(2)
_CHUNK = 1 << 20
_SILENT = "it could not be looked at; see `dnsfw doctor`"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found; `error` says why it cannot be taken."""

    told: Told | None = None
    error: str = ""


def command() -> tuple[list[str], dict[str, str]]:
    """How to start it, by the same Python and package that we are: arguments, environment."""
    home = str(Path(dnsfw.__file__).parents[1])
    places = [home, *(place for place in sys.path if place.startswith("/"))]
    argv = [sys.executable, "-P", "-m", __name__]  # -P: never from the cwd
    return argv, {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def question(source: Remote, path: Path, signature: bytes) -> bytes:
    """What to write on its stdin."""
    asked = {
        "what": source.what, "path": str(path), "format": source.format, "suffix": source.suffix,
        "broad": source.broad, "called": source.url,
        "key": source.key, "signature": signature.decode("latin-1"),
        "file": unquote(urlsplit(source.url).path.rpartition("/")[2]),
    }  # fmt: skip
    return json.dumps(asked).encode()


def answer(said: bytes) -> Answer:
    """What it wrote on its stdout."""
    try:
        found = json.loads(said)
        if "error" in found:
            return Answer(error=str(found["error"]) or _SILENT)
        return Answer(Told(**found))
    except (ValueError, TypeError):
        return Answer(error=_SILENT)


def _look(asked: dict[str, Any]) -> dict[str, Any]:
    path = Path(asked["path"])
    found: dict[str, Any] = {"names": 0}
    if asked["key"]:
        signature = asked["signature"].encode("latin-1")
        signed = verify(_chunks(path), signature, asked["key"], asked["file"])
        found |= {"revision": signed.revision, "expires": signed.expires}
    if asked["what"] == LIST:
        kind = Format(asked["format"])
        source = ListSource(path, kind, asked["suffix"], asked["broad"], asked["called"])
        table = Store().load(source)
        found["names"] = len(table) + len(table.prefixes)
        found["refusals"] = table.meta["refusals"]
        if refused := table.meta["refused"]:
            found["first"] = f"line {refused[0][0]}: {refused[0][1]}"
    return found


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def main() -> None:
    os.nice(_POLITE)
    try:
        found = _look(json.load(sys.stdin))
    except DnsfwError as error:
        found = {"error": str(error)}
    except OSError as error:
        found = {"error": error.strerror or str(error)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
