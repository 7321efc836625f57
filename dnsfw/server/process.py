"""The process of `dnsfw up`: its helper, its log, its loop, and the daemon in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dnsfw.errors import DnsfwError
from dnsfw.server.capabilities import TO_START, Cap, check, drop, drop_all
from dnsfw.server.helper import Helper, start_helper
from dnsfw.server.hurry import relax
from dnsfw.server.kernel import OpenKernel
from dnsfw.server.loading import apart
from dnsfw.server.log import Log
from dnsfw.server.loop import answers_first, calm_collector, only_young, raise_file_limit, run
from dnsfw.server.options import Options

__all__ = ["serve"]


def serve(options: Options) -> None:
    """The process of `dnsfw up`: returns when it was told to end."""
    if not options.dns_only:
        check(TO_START)
    helper = None if options.dns_only else start_helper()  # before there is a second thread
    raise_file_limit()
    only_young()
    answers_first()
    apart()
    log = Log()
    try:
        run(_serve(options, _opener(options), log, helper))
    finally:
        apart(False)
        log.close()
        if helper is not None:
            helper.close()


def _opener(options: Options) -> OpenKernel:
    if options.dns_only:
        from dnsfw.server.dns_only import open_names_only

        return open_names_only
    from dnsfw.server.wall import open_wall  # with ctypes, netlink, BPF: not for tests above it

    return open_wall


async def _serve(
    options: Options, open_kernel: OpenKernel, log: Log, helper: Helper | None
) -> None:
    # Whatever runs in a thread reads and writes files, or speaks to the helper.
    workers = ThreadPoolExecutor(thread_name_prefix="worker", initializer=drop_all)
    asyncio.get_running_loop().set_default_executor(workers)
    from dnsfw.server.daemon import Daemon  # after the helper was forked: it needs none of it

    await Daemon(
        options, open_kernel, log, _say, helper=helper, shed=_ready, own=_own_before(options)
    ).run()


def _own_before(options: Options) -> Callable[[int], object]:
    """Marks sockets for the wall that an earlier daemon left: it lets nobody else have our port."""
    if not options.dns_only:
        from dnsfw.server.wall import standing_own

        with contextlib.suppress(DnsfwError):  # said when the wall is built
            if (mark := standing_own(options)) is not None:
                return mark
    return lambda fd: None


def _ready() -> frozenset[Cap]:
    """Everything is in place: from here on no more rights, nor a better place, than others."""
    calm_collector()
    relax()
    return drop()


def _say(text: str) -> None:
    """On stdout, if anybody still reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)
