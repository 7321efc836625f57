"""How a policy comes into the daemon: its lists compiled elsewhere, its own tests passed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from dnsfw.engine.cases import require_tests
from dnsfw.policy.compile import load, renew
from dnsfw.policy.copies import Copies
from dnsfw.policy.policy import Policy
from dnsfw.policy.warm import command, has_lists

__all__ = ["load_tested", "renew_tested", "warm"]

_LONGEST = 600.0  # seconds; then the lists are compiled here, which is slower for everybody


def load_tested(
    path: Path, known: Mapping[str, int], copies: Copies | None = None
) -> Policy:
    """PolicyError for what is wrong with it, a line for each test of its own that fails too."""
    policy = load(path, known, copies)
    require_tests(policy)
    return policy


def renew_tested(policy: Policy, known: Mapping[str, int], copies: Copies) -> Policy:
    """The policy in force with what has come over https, and nothing else: files that somebody
    is just editing are not read. PolicyError as above.
    """
    renewed = renew(policy, known, copies)
    require_tests(renewed)
    return renewed


async def warm(path: Path) -> None:
    """Have the lists of a policy compiled by another process. Never raises: without it the
    load takes longer, and no more.
    """
    if not await asyncio.to_thread(has_lists, path):
        return
    argv, environment = command(path)
    with contextlib.suppress(OSError):
        child = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_LONGEST):
                await child.wait()
        except TimeoutError:
            pass
        finally:
            if child.returncode is None:
                child.kill()
