"""Allow lists of build systems: `host:port` after `host:port`, alone or in a workflow.

In a workflow they are the text of `allowed-endpoints:`, beside `egress-policy: block` or `audit`.
A wildcard is `*.x`. Each endpoint names its port: one that does not is refused, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dnsfw.model import Verdict
from dnsfw.policy.destination import parse_destination, split
from dnsfw.policy.first_match import Entry
from dnsfw.policy.importers.outcome import Finding, Imported, Kept
from dnsfw.policy.importers.rule_lines import rule_lines, said
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.problems import Position, Problems, Wrong, printable, shown
from dnsfw.policy.syntax_yaml import Document, Path, read_document
from dnsfw.values import dataclass

__all__ = ["FORMAT", "KEY", "import_allowed_endpoints"]

FORMAT = "allowed-endpoints"
KEY = re.compile(r"^[ \t]*(?:-[ \t]+)?[\"']?allowed-endpoints[\"']?[ \t]*:", re.MULTILINE)
_NAME = "allowed-endpoints"
_BESIDE = {"allowed-endpoints", "egress-policy"}
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class _Block:
    """One list: its words with their places, and what stands beside it."""

    words: tuple[tuple[Position, str], ...]
    where: Position
    audit: bool = False


def import_allowed_endpoints(text: str, file: str, problems: Problems) -> Imported | None:
    """The policy of such a list; None when the problems say why there is none."""
    findings: list[Finding] = []
    if KEY.search(text):
        document = read_document(text, file, problems)
        blocks = list(_blocks(document, text, problems, findings)) if document else []
    else:
        blocks = [_Block(tuple(_bare(text, file)), Position(file, 1, 1))]
    if not problems.errors and not any(block.words for block in blocks):
        problems.error(Position(file, 1, 1), "no endpoint stands here", "write example.com:443")
    if problems.errors:
        return None
    first = blocks[0]
    entries = [e for e in (_entry(at, word, findings) for at, word in first.words) if e]
    for other in blocks[1:]:
        _another(first, other, findings)
    broad = [e.what.text for e in entries if isinstance(e.what, Pattern) and e.what.broad]
    if broad:
        why = "strangers can register such names: `broad: true`"
        findings.append(Finding(first.words[0][0], Kept.NOTED, ", ".join(broad), why))
    lines = "# Made by `dnsfw import allowed-endpoints`.\nversion: 1\ndefault: deny\n"
    lines += "mode: audit  # judge, log, let pass\n" if first.audit else ""
    lines += f"rules:\n{rule_lines(entries)}" if entries else ""
    return Imported(FORMAT, lines, tuple(sorted(findings, key=lambda found: found.where)))


def _entry(where: Position, word: str, findings: list[Finding]) -> Entry | None:
    try:
        if split(word).ports is None:
            raise Wrong("no port", f"write {shown(word + ':443')}")
        found = parse_destination(word)
    except Wrong as wrong:
        tail = f"; {wrong.remedy}" if wrong.remedy else ""
        findings.append(Finding(where, Kept.LOST, printable(word), wrong.message + tail))
        return None
    entry = Entry(Verdict.ALLOW, found.what, found.ports)
    findings.append(Finding(where, Kept.READ, printable(word), said(entry)))
    return entry


def _another(first: _Block, other: _Block, findings: list[Finding]) -> None:
    """A second list of the file: the same is the same, another would be another policy."""
    if {w for _, w in first.words} == {w for _, w in other.words} and first.audit == other.audit:
        findings.append(Finding(other.where, Kept.READ, _NAME, "the same as the first"))
        return
    why = f"another list than that of line {first.where.line}: one policy for each"
    findings.append(Finding(other.where, Kept.LOST, _NAME, why))


def _bare(text: str, file: str) -> Iterator[tuple[Position, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for found in _WORD.finditer(re.sub(r"(?:^|\s)#.*", "", line)):
            yield Position(file, number, found.start() + 1), found[0]


def _blocks(
    document: Document, text: str, problems: Problems, findings: list[Finding]
) -> Iterator[_Block]:
    """Every mapping with the key, wherever it is in the workflow."""
    begins = [0, *(found.end() for found in re.finditer("\n", text))]
    for path, around in _with_key(document.value):
        value = around[_NAME]
        where = document.key_place((*path, _NAME))
        if not isinstance(value, str):
            problems.error(where, "'allowed-endpoints' is no text", "write it after '>'")
            continue
        for key in around:
            if key not in _BESIDE:
                place = document.key_place((*path, key))
                why = "nothing that dnsfw does"
                findings.append(Finding(place, Kept.NOTED, printable(f"{key}: {around[key]}"), why))
        policy = around.get("egress-policy")
        if policy not in ("audit", "block", None):
            place = document.key_place((*path, "egress-policy"))
            findings.append(Finding(place, Kept.LOST, printable(f"egress-policy: {policy}"),
                                    "it is neither block nor audit"))  # fmt: skip
        words = tuple(_placed(value, text, where, begins))
        # What the tool does when the word is missing is its own affair: it is told, and closed.
        if policy is None:
            why = "default: deny, as if it said block"
            findings.append(Finding(where, Kept.NOTED, "no egress-policy", why))
        yield _Block(words, where, policy == "audit")


def _with_key(value: object) -> Iterator[tuple[Path, dict[str, object]]]:
    open_: list[tuple[Path, object]] = [((), value)]
    while open_:
        path, one = open_.pop()
        if isinstance(one, dict):
            if _NAME in one:
                yield path, one
            open_ += [((*path, key), inner) for key, inner in reversed(one.items())]
        elif isinstance(one, list):
            open_ += [((*path, n), one[n]) for n in reversed(range(len(one)))]


def _placed(
    value: str, text: str, key: Position, begins: list[int]
) -> Iterator[tuple[Position, str]]:
    """The words of a folded text with the lines that they stand in: YAML has joined them."""
    at = begins[key.line - 1] + key.column - 1 + len(_NAME)
    line = key.line
    for found in _WORD.finditer(value):
        word = found[0]
        there = text.find(word, at)
        if there < 0:  # escaped in the file
            yield key, word
            continue
        line += text.count("\n", at, there)
        at = there + len(word)
        yield Position(key.file, line, there - begins[line - 1] + 1), word
