"""Runs `dnsfw` commands inside the test's process, as a shell would see them."""

from __future__ import annotations

import asyncio
import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from dnsfw.cli.main import main


@dataclass(frozen=True)
class Done:
    """How it ended and what it said."""

    code: int
    out: str
    err: str


def dnsfw(*argv: str) -> Done:
    """One command to its end."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main(list(argv))
    code = caught.value.code
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


async def dnsfw_beside(*argv: str) -> Done:
    """The same in a thread, so that a daemon in this loop can answer."""
    return await asyncio.to_thread(dnsfw, *argv)
