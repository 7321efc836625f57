"""A list of a policy, for people and as JSON: how many lines became what, which were refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dnsfw.policy.lists.names import NameList
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.problems import printable

_SHOWN = 3  # refused lines in the short form; --json has more


def list_lines(names: NameList) -> Iterator[str]:
    """One line of counts, and the first lines that were refused."""
    meta = names.table.meta
    became = ", ".join(f"{count:,} {what}" for what, count in sorted(meta["became"].items()))
    yield f"{names.rule.text}: {became}"
    total = sum(meta["refusals"].values())
    if not total:
        return
    why = sorted(meta["refusals"].items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{count:,} {printable(kind)}" for kind, count in why)
    yield f"  {total:,} {'line' if total == 1 else 'lines'} refused: {told}"
    for line, reason in meta["refused"][:_SHOWN]:
        yield f"  line {line}: {printable(reason)[:60]}"


def list_json(role: RolePolicy, names: NameList) -> dict[str, Any]:
    meta = names.table.meta
    return {
        "role": role.name,
        "rule": names.rule.text,
        "file": names.file,
        "format": meta["format"],
        "names": len(names.table),
        "became": meta["became"],
        "refusals": meta["refusals"],
        "refused": [{"line": line, "why": why} for line, why in meta["refused"]],
    }
