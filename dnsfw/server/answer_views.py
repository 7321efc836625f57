"""What the kernel answers by itself, as `status` shows it: how much, where, and why not more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnsfw.datapath.abi import DnsLimit, Fall, RoleAnswers
from dnsfw.datapath.answers import Size
from dnsfw.model import RoleId
from dnsfw.server.answers import Book
from dnsfw.server.kernel import Kernel
from dnsfw.server.refusing import Refusing

__all__ = ["answers_view", "by_kernel", "by_role"]

# What an element takes of the kernel's memory, with what belongs to it: slabs of powers of two.
_BYTES = {Size.SMALL: 512, Size.BIG: 2048, Size.LONG: 2048}
_DONE = (Fall.ANSWERED, Fall.REFUSED)
_ROOM = {
    Size.SMALL: int(DnsLimit.MAX_ANSWERS),
    Size.BIG: int(DnsLimit.MAX_ANSWERS_BIG),
    Size.LONG: int(DnsLimit.MAX_ANSWERS_LONG),
}


def answers_view(
    kernel: Kernel, book: Book | None, refusing: Refusing | None = None
) -> dict[str, Any]:
    """`on` false: every question comes to the daemon. `suffixes` are the bytes of what is
    refused without having been asked.
    """
    if book is None or kernel.answers is None:
        return {"on": False}
    table = kernel.answers
    hooks = kernel.answering()
    suffixes = refusing.bytes if refusing is not None else 0
    missing = [f"{hook.where}: {hook.note}" for hook in hooks if not hook.attached]
    if refusing is not None and refusing.trouble:
        missing.append(f"refusals of names never asked for: {refusing.trouble}")
    falls = table.counters()
    return {
        "on": table.on,
        "where": [f"{hook.where} ({hook.how})" for hook in hooks if hook.attached],
        "missing": missing,
        "answered": falls[Fall.ANSWERED],
        "refused": falls[Fall.REFUSED],
        "passed_on": {fall_text(f): n for f, n in falls.items() if n and f not in _DONE},
        "held": {size.name.lower(): count for size, count in book.sizes.items()},
        "room": {size.name.lower(): room for size, room in _ROOM.items()},
        "bytes": sum(_BYTES[size] * count for size, count in book.sizes.items()) + suffixes,
        "suffixes": suffixes,
        "published": book.published,
        "renewed": book.renewed,
        "evicted": book.evicted,
        "too_large": book.unfit,
        "failed": book.failed,
    }


def by_kernel(kernel: Kernel) -> dict[str, int]:
    """How much never reached us."""
    falls = {} if kernel.answers is None else kernel.answers.counters()
    return {
        "answered": falls.get(Fall.ANSWERED, 0),
        "refused": falls.get(Fall.REFUSED, 0),
    }


def by_role(kernel: Kernel) -> Mapping[RoleId, RoleAnswers]:
    """What each role was answered, and refused, without the daemon."""
    return {} if kernel.answers is None else kernel.answers.role_counters()


def fall_text(fall: Fall) -> str:
    """`fall-miss` is said `miss`."""
    return fall.name.lower().removeprefix("fall_").replace("_", "-")
