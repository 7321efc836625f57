"""What a list that both policies have holds in the one and not in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dnsfw.model import HOST
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.policy import Policy, RolePolicy

__all__ = ["list_changes", "lists_read_anew"]


def list_changes(old: Policy, new: Policy) -> list[str]:
    """A line for each list whose names are others now. Takes a second for a million names."""
    return _lines(old, new, _of_role)


def lists_read_anew(old: Policy, new: Policy) -> list[str]:
    """A line for each list whose file says something else now. Takes no time, and so it does not
    know which names they are.
    """
    return _lines(old, new, _by_seal)


def _lines(
    old: Policy, new: Policy, told: Callable[[RolePolicy, RolePolicy], Iterator[str]]
) -> list[str]:
    before = {role.name: role for role in old.roles.values()}
    lines: list[str] = []
    for role in new.roles.values():
        if (was := before.get(role.name)) is not None:
            whose = "" if role.role == HOST else f"{role.name}: "
            lines += [f"~ {whose}{line}" for line in told(was, role)]
    return lines


def _by_seal(old: RolePolicy, new: RolePolicy) -> Iterator[str]:
    before = {names.rule.text: names.table for names in old.lists}
    for names in new.lists:
        table = names.table
        was = before.get(names.rule.text, table)
        if was.seal != table.seal:
            here, there = (len(one) + len(one.prefixes) for one in (table, was))
            size = f"{there:,} -> {here:,} entries" if here != there else f"still {here:,} entries"
            yield f"{names.rule.text}: its file has changed, {size}"


def _of_role(old: RolePolicy, new: RolePolicy) -> Iterator[str]:
    before = {names.rule.text: names for names in old.lists}
    for names in new.lists:
        was = before.get(names.rule.text)
        if was is None or (was.file == names.file and was.table.meta == names.table.meta):
            continue  # told as a rule; or one file, read twice
        gone, come = _told(was), _told(names)
        if gone != come:
            counted = f"+{len(come - gone):,} -{len(gone - come):,}"
            yield f"{names.rule.text}: {len(gone):,} entries -> {len(come):,} ({counted})"


def _told(names: NameList) -> set[tuple[str, int]]:
    """Every entry with what is meant by it; the line it stands in matters to nobody."""
    found = {(name, int(means)) for name, means, _ in names.table.names()}
    return found | {(text, -1) for text, _ in names.table.prefixes}
