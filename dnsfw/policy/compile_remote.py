"""What a policy takes from elsewhere: the sources it names, and which copy of each counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path as FilePath

from dnsfw.errors import ConfigError
from dnsfw.policy.copies import Copies, Copy
from dnsfw.policy.problems import Position, Problems, Wrong, shown
from dnsfw.policy.remote import (
    LIST,
    POLICY,
    REFRESH,
    Demands,
    Remote,
    check_url,
    looks_remote,
    url_of,
)
from dnsfw.policy.syntax_check import Checked
from dnsfw.policy.syntax_remote import RemoteKeys, RemoteSection
from dnsfw.policy.syntax_rules import ListSection, RuleSection
from dnsfw.policy.syntax_yaml import Document, Path
from dnsfw.values import dataclass

__all__ = ["Sources", "list_source", "policy_source", "sources_in"]


@dataclass(slots=True)
class Sources:
    """The copies that a compilation may read, and the sources that it met."""

    copies: Copies = field(default_factory=Copies)
    met: dict[str, Remote] = field(default_factory=dict)

    def meet(self, source: Remote) -> None:
        """A source that several rules name is one; it may be missing where all say so."""
        known = self.met.setdefault(source.digest, source)
        if known.optional and not source.optional:
            self.met[source.digest] = replace(known, optional=False)

    def copy(self, source: Remote, where: Position, problems: Problems) -> Copy | None:
        """Its copy; None where there is none, which the problems say."""
        self.meet(source)
        try:
            copy = self.copies.get(source)
        except ConfigError as error:
            problems.error(where, str(error))
            return None
        if copy is None and source.optional:
            problems.warn(where, f"there is no copy of {source.url} yet: the rule says nothing")
        elif copy is None:
            problems.error(
                where, f"there is no copy of {source.url} in {self.copies.directory}",
                "fetch it: `dnsfw check --fetch`",
            )  # fmt: skip
        return copy


def list_source(
    section: ListSection, broad: bool, where: Position, problems: Problems
) -> Remote | None:
    """The source of a list at a URL; None for a file, and for what the problems say."""
    if not looks_remote(section.list):
        for option in section.remote_keys:
            problems.error(where, f"'{option}' is for lists at https://…", "take it out")
        if url_of(FilePath(where.file)) is not None:
            problems.error(
                where, f"a policy from https names no file, and {shown(section.list)} is one",
                "write the whole URL of the list",
            )  # fmt: skip
        return None
    return _source(
        section, section.list, where, problems,
        Remote(
            "", LIST, optional=bool(section.optional), format=section.format,
            suffix=section.meaning == "suffix", broad=broad,
        ),
    )  # fmt: skip


def policy_source(section: RemoteSection, where: Position, problems: Problems) -> Remote | None:
    """The source of a whole policy; None for what the problems say."""
    return _source(section, section.policy, where, problems, Remote("", POLICY))


def _source(
    section: RemoteKeys, text: str, where: Position, problems: Problems, base: Remote
) -> Remote | None:
    try:
        url = check_url(text)
        ca = _ca(section.ca, where.file)
    except Wrong as wrong:
        problems.wrong(where, wrong)
        return None
    return replace(
        base,
        url=url,
        refresh=REFRESH if section.refresh is None else section.refresh,
        sha256=section.sha256 or "",
        key=section.key or "",
        ca=ca,
        demands=section.limits.demands() if section.limits else Demands(),
    )


def _ca(written: str | None, policy_file: str) -> str:
    if written is None:
        return ""
    if url_of(FilePath(policy_file)) is not None and not FilePath(written).is_absolute():
        raise Wrong(
            f"{shown(written)}: 'ca' of a policy from https is a whole path", "begin with /"
        )
    return str((FilePath(policy_file).parent / written).absolute())


def sources_in(checked: Checked, document: Document) -> Iterator[Remote]:
    """What a policy names, without reading any of it; what is wrong with it is left out."""
    nobody = Problems()
    found = [_of_rules(checked.rules, (), document, nobody)]
    for role in checked.roles:
        found.append(_of_rules(role.rules, ("roles", role.name), document, nobody))
    for some in found:
        yield from some


def _of_rules(
    rules: tuple[tuple[int, RuleSection], ...], at: Path, document: Document, problems: Problems
) -> Iterator[Remote]:
    for index, section in rules:
        for key in ("allow", "deny"):
            if isinstance(listing := getattr(section, key), ListSection):
                where = document.place((*at, "rules", index, key, "list"))
                source = list_source(listing, bool(section.broad), where, problems)
                if source is not None:
                    yield source
