"""A list that a rule names: found, compiled or mapped, and made into rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import PortSet
from dnsfw.policy.compile_remote import Sources, list_source
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.lists.formats import PLAIN_NAMES, Format
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.lists.store import ListSource, Store
from dnsfw.policy.lists.table import Table
from dnsfw.policy.ports import ANY, parse_ports
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position, Problems, shown
from dnsfw.policy.rule import Rule
from dnsfw.policy.syntax_rules import ListSection

__all__ = ["list_ports", "open_list"]

_TOLD = 3  # kinds of refused lines that a warning names


def list_ports(section: ListSection) -> PortSet:
    """What a list's rule covers: every port of tcp, udp and icmp unless it says. Raises Wrong."""
    if section.ports is None:
        return ANY
    ports, slash, proto = section.ports.partition("/")
    return parse_ports(ports or None, proto if slash else None)


def open_list(
    rule: Rule, section: ListSection, *, broad: bool, sources: Sources, problems: Problems
) -> NameList | None:
    """The compiled list of a rule; None where there is none, which the problems say."""
    found = _find(rule.where, section, broad, sources, problems)
    if found is None:
        return None
    path, name = found
    if section.meaning == "suffix" and Format(section.format) not in PLAIN_NAMES:
        known = ", ".join(sorted(kind.value for kind in PLAIN_NAMES))
        told = f"'as: suffix' is for plain names: a line of {section.format} says it itself"
        problems.error(rule.where, told, f"take it out, or name the format: {known}")
        return None
    source = ListSource(
        path, Format(section.format), section.meaning == "suffix", broad, called=name
    )
    try:
        table = Store().load(source)
    except (ConfigError, PolicyError) as error:
        problems.error(rule.where, str(error))
        return None
    _warn(rule.where, name, table, problems)
    return NameList(rule, table, name, tuple(_prefixes(rule, table, name)))


def _find(
    where: Position, section: ListSection, broad: bool, sources: Sources, problems: Problems
) -> tuple[Path, str] | None:
    """Where its bytes are, and what people call it."""
    before = len(problems.errors)
    remote = list_source(section, broad, where, problems)
    if remote is not None:
        copy = sources.copy(remote, where, problems)
        return (sources.copies.path(copy), remote.url) if copy else None
    if len(problems.errors) > before:
        return None
    path = Path(where.file).parent / section.list
    return path, str(path)


def _prefixes(rule: Rule, table: Table, file: str) -> Iterator[Rule]:
    """The addresses of a list, each a rule with its own place and the list's id."""
    for text, line in table.prefixes:
        what = parse_destination(text).what
        assert isinstance(what, Prefix)
        yield replace(
            rule, what=what, text=f"{rule.text}: {text}", where=Position(file, line, 1),
            listed=True,
        )  # fmt: skip


def _warn(where: Position, file: str, table: Table, problems: Problems) -> None:
    refusals: dict[str, int] = table.meta["refusals"]
    if not refusals:
        return
    count = sum(refusals.values())
    kinds = sorted(refusals.items(), key=lambda item: (-item[1], item[0]))
    told = _sentence(f"{number} {why}" for why, number in kinds[:_TOLD])
    first = table.meta["refused"][0]
    lines = "line is no rule" if count == 1 else "lines are no rules"
    problems.warn(
        where,
        f"{shown(file)}: {count} {lines} ({told}), the first is line {first[0]}",
    )


def _sentence(parts: Iterable[str]) -> str:
    return ", ".join(parts)
