"""The texts of one policy, from wherever they are: its file, `policy.d`, an https source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.compile_dns import compile_dns
from dnsfw.policy.compile_remote import Sources, policy_source, sources_in
from dnsfw.policy.copies import Copies
from dnsfw.policy.files import MAX_BYTES, case_files, policy_files, read_policy
from dnsfw.policy.importers import convert
from dnsfw.policy.merge import read_parts
from dnsfw.policy.policy import DnsSettings
from dnsfw.policy.problems import Position, Problems
from dnsfw.policy.remote import POLICY, Remote, Texts, url_of
from dnsfw.policy.syntax_check import check_document
from dnsfw.policy.syntax_remote import remote_section
from dnsfw.policy.syntax_yaml import Document

__all__ = ["read_texts", "renewed", "settings_of", "sources_of"]

_KEY = "remote"
_MAY_NAME_ONE = re.compile(r"""\bremote["']?\s*:""")  # cheap, and never wrong when it says no


def read_texts(path: Path, sources: Sources, problems: Problems) -> Texts:
    """All of them. PolicyError, ConfigError where one cannot be read; a copy that is not there
    is a problem.
    """
    if (url := url_of(path)) is not None:
        source, where = Remote(url, POLICY), Position(url)
        return Texts(_copied(source, where, sources, problems), {}, source, where)
    cases = {str(file): read_policy(file) for file in case_files(path)}
    text = read_policy(path)
    meant = convert(text, str(path))  # another tool's file is read as what it means
    name = str(path) if meant is text else f"{path} (imported)"
    parts = {str(part): read_policy(part) for part in policy_files(path)[1:]}
    whole = {name: meant} | parts
    found = _pointer(whole, problems)
    if found is None:
        return Texts(whole, cases)
    copied = _copied(*found, sources, problems)
    return Texts({name: meant} | copied | parts, cases, *found)


def renewed(texts: Texts, sources: Sources, problems: Problems) -> Texts:
    """The same files, and what comes over https as its copy is now."""
    if texts.remote is None:
        return texts
    new = _copied(texts.remote, texts.where, sources, problems)
    return replace(texts, files={**texts.files, **new})


def sources_of(path: Path, copies: Copies | None = None) -> tuple[Remote, ...]:
    """What the policy in a file takes from elsewhere, each once, without reading any list. What
    a policy names that is not here itself is not known yet. ConfigError: it cannot be read.
    """
    sources, nobody = Sources(copies or Copies()), Problems()
    texts = read_texts(path, sources, nobody)
    document = read_parts(texts.files, nobody) if texts.files else None
    checked = check_document(document, nobody) if document else None
    if document is not None and checked is not None:
        for source in sources_in(checked, document):
            sources.meet(source)
    return tuple(sources.met.values())


def settings_of(path: Path, copies: Copies | None = None) -> DnsSettings:
    """The `dns` section as far as it can be read: whom to ask before the policy is whole."""
    nobody = Problems()
    texts = read_texts(path, Sources(copies or Copies()), nobody)
    document = read_parts(texts.files, nobody) if texts.files else None
    checked = check_document(document, nobody) if document else None
    if document is None or checked is None:
        document = Document({}, {(): Position("")}, {})
        return compile_dns(None, document, nobody)
    return compile_dns(checked.top.dns, document, nobody)


def _pointer(texts: Mapping[str, str], problems: Problems) -> tuple[Remote, Position] | None:
    """What `remote:` in these texts stands for. What else is wrong with it is told later."""
    if not any(map(_MAY_NAME_ONE.search, texts.values())):
        return None
    nobody = Problems()
    document = read_parts(texts, nobody)
    value = document.value if document else None
    if document is None or not isinstance(value, dict):
        return None
    section = remote_section(value.get(_KEY))
    where = document.place((_KEY, "policy"))
    source = policy_source(section, where, problems) if section else None
    return (source, where) if source else None


def _copied(
    source: Remote, where: Position, sources: Sources, problems: Problems
) -> dict[str, str]:
    copy = sources.copy(source, where, problems)
    if copy is None:
        return {}
    try:
        text = sources.copies.text(copy, MAX_BYTES)
    except PolicyError:
        raise
    except ConfigError as error:
        problems.error(where, str(error))
        return {}
    if _pointer({source.url: text}, Problems()) is not None:
        problems.error(where, f"{source.url} names a policy elsewhere itself", "name that one")
        return {}
    return {source.url: convert(text, source.url)}
