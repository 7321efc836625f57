"""Asks a process of its own to read policies (`compile_child`), and checks what it answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL
from typing import Any, BinaryIO

import dnsfw
from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.policy.frozen import NotWhole, freeze, shape, thaw
from dnsfw.server.hurry import relax

__all__ = ["NoChild", "ask"]

LONGEST = 600.0  # seconds: ten million names of lists that nobody compiled before
MOST = 1 << 30  # bytes of an answer; the child can write no more to any file
_CHILD = "dnsfw.server.compile_child"
_ERRORS = {"policy": PolicyError, "config": ConfigError, "host": DatapathError}
_TOLD = 400  # characters of what a child said that failed


class NoChild(Exception):
    """There is no such process to be had, or what it made cannot be handed over."""


def ask(job: str, *arguments: object, hurry: bool = False) -> Any:
    """What the job gives. The errors of the job are raised here; NoChild.

    ConfigError where the code on disk is not ours any more, and where the child was killed, or
    hung, or would not end: what it could not do nobody shall do in its place.
    """
    status, said, told = _run(freeze((job, arguments, hurry)))
    if status == -SIGKILL:
        raise ConfigError(
            "the process that reads policies was killed: too little memory; it takes 40 MB, "
            "and more for lists"
        )
    if status != 0:
        words = told.decode(errors="replace").strip()[-_TOLD:]
        raise ConfigError(f"the process that reads policies failed ({status}): {words}")
    return _answer(said)


def _run(request: bytes) -> tuple[int, bytes, bytes]:
    """Its exit status, answer and complaints. It writes to files, not to pipes: so their size is
    the kernel's to limit (RLIMIT_FSIZE), and known before a byte of them is read here.
    """
    relax()  # this takes as long as it takes
    argv, environment = command()
    with _memory("answer") as said, _memory("complaints") as told:
        try:
            done = subprocess.run(
                argv, input=request, stdout=said, stderr=told, env=environment, timeout=LONGEST,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"the process that reads policies was ended after {LONGEST:.0f} s; remedy: "
                "shorter lists, or files that can be read"
            ) from None
        except (OSError, subprocess.SubprocessError) as error:
            raise NoChild(str(error)) from None
        if (size := os.fstat(said.fileno()).st_size) > MOST:
            raise ConfigError(
                f"the process that reads policies made {size} bytes of them, which is more than "
                f"{MOST} bytes; remedy: shorter lists"
            )
        said.seek(0)
        told.seek(max(0, os.fstat(told.fileno()).st_size - _TOLD))
        return done.returncode, said.read(), told.read(_TOLD)


def _memory(name: str) -> BinaryIO:
    try:
        return os.fdopen(os.memfd_create(f"dnsfw-{name}", os.MFD_CLOEXEC), "w+b", buffering=0)
    except OSError as error:
        raise NoChild(str(error)) from None


def command() -> tuple[list[str], dict[str, str]]:
    """How to start it, by the same Python and package that we are: arguments, environment."""
    home = str(Path(dnsfw.__file__).parents[1])
    # -P: never from the cwd. -S: our own places are its places; what else `site` runs costs time.
    argv = [sys.executable, "-P", "-S", "-m", _CHILD]
    places = [home, *(place for place in sys.path if place.startswith("/"))]
    return argv, {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _answer(data: bytes) -> Any:
    try:
        other, kind, value = thaw(data)
        if other != shape():
            raise NotWhole("another shape")
        if kind == "frozen":
            return thaw(value)
    except (NotWhole, ValueError, TypeError):
        raise ConfigError(
            "the dnsfw on disk is not the one that runs: restart it, and the wall stays meanwhile"
        ) from None
    if kind == "value":
        return value
    if kind == "whole":
        raise NoChild(value)
    if (error := _ERRORS.get(kind)) is not None:
        raise error(value)
    raise RuntimeError(f"the process that reads policies: {value}")
