"""Filter lists, as DNS filters read them: AdGuard Home, Pi-hole, blocky."""

from __future__ import annotations

import re

from dnsfw.policy.lists.columns import (
    MAX_LINE,
    MAX_TEXT,
    NOT_TREE,
    TREE,
    Means,
    Parsed,
    name_of,
)  # fmt: skip
from dnsfw.policy.pattern import MAX_LABEL

__all__ = ["read_adblock"]

_FILTER = re.compile(r"(@@)?\|\|(\*\.)?([^/^$|*]+)\^?\|?(?:\$(.*))?")
_WHOLE = re.compile(
    rf"\|\|((?:[a-z0-9_-]{{1,{MAX_LABEL}}}\.)+[a-z0-9_-]{{1,{MAX_LABEL}}})\^", re.I
).fullmatch
_TREE = int(TREE)
_DNS_OPTIONS = frozenset({"important", "all", "document", "doc", "third-party", "3p"})


def read_adblock(text: str, parsed: Parsed, suffix: bool) -> None:
    """As AdGuard's and other DNS filters read them: `||x^` is x and all below."""
    withdrawn: set[tuple[bool, str]] = set()
    kept: list[tuple[int, bool, str, int]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line[0] in "!#[":
            if "##" in line or "#@#" in line or "#?#" in line:
                parsed.refuse(number, "a cosmetic filter", line[:80])
            continue
        quick = _WHOLE(line)  # what nearly every line is
        if quick and len(quick[1]) < MAX_TEXT and not quick[1][-1].isdigit():
            kept.append((number, False, quick[1].lower(), _TREE))
            continue
        found = _read_filter(line, number, parsed)
        if found is None:
            continue
        exception, name, means, bad = found
        if bad:
            withdrawn.add((exception, name))
        else:
            kept.append((number, exception, name, means))
    for number, exception, name, means in kept:
        if (exception, name) in withdrawn:
            parsed.became["withdrawn by $badfilter"] += 1
        else:
            parsed.add(name, means, number)


def _read_filter(line: str, number: int, parsed: Parsed) -> tuple[bool, str, int, bool] | None:
    if len(line) > MAX_LINE:
        parsed.refuse(number, "the line is too long")
        return None
    if "##" in line or "#@#" in line or "#?#" in line or "#$#" in line:
        parsed.refuse(number, "a cosmetic filter", line[:80])
        return None
    found = _FILTER.fullmatch(line)
    if found is None:
        if name := name_of(line):  # DNS lists mix plain names in
            return False, name, int(Means.SELF), False
        parsed.refuse(number, "not a filter of a whole name", line[:80])
        return None
    options = set(filter(None, (found[4] or "").split(",")))
    odd = options - _DNS_OPTIONS - {"badfilter"}
    name = name_of(found[3])
    if odd:
        parsed.refuse(number, f"the option ${min(odd).partition('=')[0][:20]}", line[:80])
    elif name is None:
        parsed.refuse(number, "not a name", line[:80])
    else:
        exception = found[1] is not None
        below = found[2] is not None
        if exception:
            means = Means.NOT_BELOW if below else NOT_TREE
        else:
            means = Means.BELOW if below else TREE
        if "important" in options and not exception:
            means |= Means.IMPORTANT
        return exception, name, int(means), "badfilter" in options
    return None
