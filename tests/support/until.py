"""Waiting for what another task, thread or process does, with an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 10.0  # seconds; ten times what a busy machine needs


async def until(ready: Callable[[], object]) -> None:
    """Returns when `ready()` is true. TimeoutError if it never is."""
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.002)
