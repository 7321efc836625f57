"""Lists of names and addresses as whole policies: few entries as rules, many by reference.

A list is a deny list unless somebody says that it is an allow list (`--allow`): its lines look
the same. Exceptions of a filter list take back what the list says and nothing else, which only
the list itself can say, so a list with exceptions is named by the policy and not copied into it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dnsfw.policy.importers.outcome import Finding, Imported, Kept, quoted
from dnsfw.policy.lists.columns import NOT_TREE, TREE, Means, Parsed
from dnsfw.policy.lists.formats import Format, read_list
from dnsfw.policy.problems import Position, Problems, printable

__all__ = ["ABOUT", "INLINE", "import_list", "reader"]

INLINE = 256  # rules that a person still reads; more are a list
ABOUT = {
    Format.PLAIN: "a name a line",
    Format.HOSTS: "0.0.0.0 NAME, as in /etc/hosts",
    Format.WILDCARD: "NAME or *.NAME a line",
    Format.ADBLOCK: "filters: ||NAME^, @@||NAME^",
    Format.RPZ: "a response policy zone",
    Format.DNSMASQ: "address=/NAME/, local=/NAME/, nftset=/NAME/SET",
    Format.CIDR: "an address or a prefix a line",
}
_WRITTEN = {Means.SELF: "", Means.BELOW: "*.", TREE: "."}
_CLOSED = "their own addresses are looked up and closed too"


def reader(
    kind: Format, allow: bool, suffix: bool = False
) -> Callable[[str, str, Problems], Imported | None]:
    """The importer of one format, for deny lists or for allow lists."""
    return partial(import_list, kind, allow, suffix)


def import_list(
    kind: Format, allow: bool, suffix: bool, text: str, file: str, problems: Problems
) -> Imported | None:
    """The policy of a list; None when the problems say why there is none. `suffix`: a plain
    name means all below it too.
    """
    parsed = read_list(text.replace("\r\n", "\n"), kind, suffix=suffix)
    findings = [
        Finding(Position(file, line, 1), Kept.LOST, "a line", printable(why))
        for line, why in parsed.refused
    ]
    unclear = _check_sets(text, file, allow, parsed, findings) if kind is Format.DNSMASQ else set()
    unsaid = sum(parsed.refusals.values()) - len(parsed.refused)
    if unsaid:
        more = f"{unsaid} more lines"
        findings.append(Finding(Position(file, 1, 1), Kept.LOST, more, "as the others"))
    if not parsed.names and not parsed.prefixes:
        problems.error(Position(file, 1, 1), f"no line is one of the format {kind.value}")
        for one in parsed.refused[:3]:
            problems.error(Position(file, one[0], 1), one[1])
        return None
    verb = "allow" if allow else "deny"
    lines = f"# Made by `dnsfw import {kind.value}`.\nversion: 1\n"
    lines += f"default: {'deny' if allow else 'allow'}\nrules:\n"
    excepted = any(means & (NOT_TREE | Means.IMPORTANT) for means in parsed.means)
    large = excepted or len(parsed.names) + len(parsed.prefixes) > INLINE
    if large and unclear:
        _stop_sets(findings, unclear, problems)
        return None
    if large:
        path = quoted(str(Path(file).absolute()))
        meaning = ", as: suffix" if suffix else ""
        lines += f"  - {verb}: {{list: {path}, format: {kind.value}{meaning}}}\n"
        became = f"{verb} {{list: {file}}}: {_tally(parsed)}"
        findings.append(Finding(Position(file, 1, 1), Kept.READ, "the list", printable(became)))
    else:
        inline = _inline(parsed, verb, file, findings, unclear)
        lines = lines + inline if inline else lines.removesuffix("rules:\n")
        if not allow and inline:
            findings.append(Finding(Position(file, 1, 1), Kept.NOTED, "names", _CLOSED))
    findings.sort(key=lambda found: found.where)
    return Imported(kind.value, lines, tuple(findings))


def _check_sets(
    text: str, file: str, allow: bool, parsed: Parsed, findings: list[Finding]
) -> set[int]:
    """The lines whose verdict nobody knows: a set is open or closed by whoever has it."""
    unclear: set[int] = set()
    read = set(parsed.lines)
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        a_set = line.startswith(("nftset=/", "ipset=/"))
        denies = line.startswith(("address=/", "local=/", "server=/"))
        if number not in read:
            continue
        if a_set and not allow:
            why = "is the set open or closed? --allow says that it is open"
        elif denies and allow:
            why = "it denies, and the list is an allow list: import it alone"
        else:
            continue
        unclear.add(number)
        findings.append(Finding(Position(file, number, 1), Kept.LOST, printable(line[:80]), why))
    return unclear


def _stop_sets(findings: list[Finding], unclear: set[int], problems: Problems) -> None:
    """A list that is used as it is cannot leave its unclear lines out."""
    for one in findings:
        if one.line in unclear and one.kept is Kept.LOST:
            problems.error(one.where, f"{one.source}: {one.became}")


def _inline(
    parsed: Parsed, verb: str, file: str, findings: list[Finding], unclear: set[int]
) -> str:
    rules: dict[str, str] = {}
    entries = [
        (_WRITTEN[Means(means & TREE)] + name, line)
        for name, means, line in zip(parsed.names, parsed.means, parsed.lines, strict=True)
    ]
    for text, line in [*entries, *parsed.prefixes]:
        if line in unclear:
            continue
        became = f"{verb} {text}" if text not in rules else "the same as a line above"
        findings.append(Finding(Position(file, line, 1), Kept.READ, text, became))
        rules[text] = f"  - {verb}: {quoted(text)}\n"
    return "".join(rules.values())


def _tally(parsed: Parsed) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(parsed.became.items()))
