"""Kubernetes manifests: several documents a file, lists of objects, selectors, names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dnsfw.policy.importers.outcome import Finding, Section
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.problems import Position, Problems
from dnsfw.policy.syntax_yaml import Document, read_document
from dnsfw.values import dataclass

__all__ = ["Manifest", "manifests", "role_name", "selector_text"]

_MOST = 256  # documents of one file: each is read with the lines before it, for its numbers
_CUT = re.compile(r"^(?:---(?=[ \t\r]|$)|\.\.\.[ \t\r]*$)", re.MULTILINE)
_OURS = frozenset(("host", "none", "probe"))  # no names of roles
_EMPTY = re.compile(r"(?:[ \t\r]*(?:#.*)?(?:\n|\Z))*")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    kind: str
    version: str
    name: str
    top: Section


def manifests(
    text: str, file: str, problems: Problems, findings: list[Finding]
) -> list[Manifest]:
    """Every object, those inside a List too; what has no kind is an error."""
    found: list[Manifest] = []
    for document in _documents(text, file, problems):
        top = Section(document, (), problems, findings)
        for one in top.sections("items") if str(top.value.get("kind")) == "List" else [top]:
            kind = one.text("kind")
            if kind is None:
                one.wrong((), "an object without 'kind'", "name its kind and apiVersion")
                continue
            version = one.text("apiVersion") or ""
            meta = one.child("metadata")
            found.append(Manifest(kind, version, meta.text("name") or "", one))
    return found


def _documents(text: str, file: str, problems: Problems) -> Iterator[Document]:
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        document = read_json(text, file, problems)
        if document is not None:
            yield document
        return
    cuts = list(_CUT.finditer(text))
    if len(cuts) > _MOST:
        problems.error(Position(file), f"more than {_MOST} documents", "split the file")
        return
    begins = [0, *(cut.end() for cut in cuts)]
    ends = [*(cut.start() for cut in cuts), len(text)]
    for begin, end in zip(begins, ends, strict=True):
        part = text[begin:end]
        if _EMPTY.fullmatch(part):
            continue
        before = "\n" * text.count("\n", 0, begin)
        document = read_document(before + part, file, problems)
        if document is not None:
            yield document


def selector_text(value: object) -> str:
    """A selector for people, and the same text for the same selector; empty: everything."""
    if value in (None, {}, []):
        return ""
    if isinstance(value, dict):
        return ", ".join(
            f"{key}={inner}" if (inner := selector_text(value[key])) else str(key)
            for key in sorted(value)
            if value[key] not in (None, {}, [])
        )
    if isinstance(value, list):
        return "[" + "; ".join(map(selector_text, value)) + "]"
    return str(value)


def role_name(text: str, taken: Collection[str]) -> str:
    """A role's name made of an object's, told apart from those that are taken."""
    stem = re.sub(r"[^a-z0-9_-]", "-", text.lower())[:26].strip("-_") or "imported"
    if stem in _OURS:
        stem = f"{stem}-pods"
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    return name
