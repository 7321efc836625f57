"""Whether the kernel holds a reply for a name, and why not, for `explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dnsfw.datapath.abi import Suffix
from dnsfw.datapath.answers import AnswerKey
from dnsfw.model import SECOND, Lockdown, Mode, Name, Nanos
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import RolePolicy
from dnsfw.server.answers import Book
from dnsfw.server.refusing import STOPS
from dnsfw.wire.codes import type_text
from dnsfw.wire.name import labels, suffix_starts

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["kernel_row"]

_LAST_TYPE = 128  # what lies above has no records of its own, or nobody asks for it
_MISSING = "it was not asked for twice since the last reload, or its answer has ended"


def kernel_row(daemon: Daemon, role: RolePolicy, name: Name) -> dict[str, Any]:
    """`held` are replies that the kernel gives to this role, by type; `unasked`: it refuses the
    name without having been asked before; `why`: neither, for this reason.
    """
    book = daemon.service.book
    why = _never(daemon, role, book)
    if why or book is None:
        return {"held": [], "unasked": False, "why": why}
    held = sorted(_held(book, role, name, daemon.now()), key=lambda row: -row["hits"])
    unasked = not held and _unasked(daemon, role, name)
    return {"held": held, "unasked": unasked, "why": "" if held or unasked else _MISSING}


def _never(daemon: Daemon, role: RolePolicy, book: Book | None) -> str:
    if book is None:
        return "nothing answers in the kernel here"
    if not daemon.reloader.policy.dns.kernel_answers:
        return "dns.kernel_answers is off"
    if role.mode is Mode.AUDIT:
        return "a role in audit is always answered by dnsfw itself"
    if daemon.kernel.sink.locked is not Lockdown.OFF:
        return "lockdown is on"
    return ""


def _held(book: Book, role: RolePolicy, name: Name, now: Nanos) -> Iterator[dict[str, Any]]:
    for number in range(1, _LAST_TYPE):
        for do in (False, True):
            for cd in (False, True):
                found = book.held(AnswerKey(role.role, name, number, do, cd))
                if found is not None and found.until > now:
                    yield {
                        "type": type_text(number),
                        "do": do,
                        "cd": cd,
                        "refusal": found.refusal,
                        "seconds": None if found.refusal else (found.until - now) // SECOND,
                        "hits": found.hits,
                    }


def _unasked(daemon: Daemon, role: RolePolicy, name: Name) -> bool:
    """As `policy.fingerprints` compiles it: what falls through there is answered by us."""
    refusing = daemon.service.refusing
    if refusing is None or not refusing.bytes or len(labels(name)) > Suffix.LABELS:
        return False
    if any(Name(name[start:]) in STOPS for start in suffix_starts(name)):
        return False
    judged = role.judge(name)
    if judged.answered:
        return False
    if (rule := judged.rule) is None:
        return daemon.reloader.policy.dns.refuse == "nxdomain"
    glob = isinstance(rule.what, Pattern) and rule.what.kind is Kind.GLOB
    return rule.close is None and not glob
