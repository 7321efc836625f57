"""What reads policy files: each job of `loading`, in whichever process does it.

Importing this imports pydantic, PyYAML and the rest that no answer ever needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dnsfw.engine.cases import require_tests
from dnsfw.errors import DnsfwError
from dnsfw.policy import compile as compiler
from dnsfw.policy import kept, texts
from dnsfw.policy.copies import Copies
from dnsfw.policy.fingerprints import refuses
from dnsfw.policy.frozen import NotWhole, freeze
from dnsfw.policy.listed_prints import wanted
from dnsfw.policy.policy import DnsSettings, Policy
from dnsfw.policy.print_store import PrintStore
from dnsfw.policy.remote import Remote, Texts
from dnsfw.policy.temporary_rule import make_rules

__all__ = ["JOBS", "FROZEN_JOBS", "load", "renew"]

Where = tuple[str, frozenset[str]]  # of copies: their directory, and which proposals count


def copies_of(where: Where | None) -> Copies:
    """The copies that another process means."""
    return Copies() if where is None else Copies(Path(where[0]), where[1])


def load(path: Path, known: Mapping[str, int], copies: Copies | None = None) -> Policy:
    """PolicyError for what is wrong with it, a line for each test of its own that fails too."""
    policy = compiler.load(path, known, copies)
    require_tests(policy)
    return policy


def renew(policy: Policy, known: Mapping[str, int], copies: Copies) -> Policy:
    """The texts of a policy with what has come over https, and nothing else."""
    renewed = compiler.renew(policy, known, copies)
    require_tests(renewed)
    return renewed


def _load(path: Path, known: Mapping[str, int], where: Where | None, spell: bool) -> bytes:
    """Its tests have passed and are of no more use; the next start finds it compiled."""
    before = None
    if where is None:
        with suppress(DnsfwError):  # said by the compilation
            before = kept.texts_now(path)
    policy = replace(load(path, known, copies_of(where)), tests=())
    if spell:
        _spell(policy)
    data = kept.keep(path, policy, before) if before is not None else freeze(policy)
    if data is None:
        raise NotWhole("a list could not be put on disk")
    return data


def _renew(source: Texts | None, known: Mapping[str, int], where: Where) -> bytes:
    stub = Policy({}, DnsSettings((), ()), texts=source)
    return freeze(replace(renew(stub, known, copies_of(where)), tests=()))


def _sources(path: Path, where: Where | None) -> tuple[Remote, ...]:
    return texts.sources_of(path, copies_of(where))


def _settings(path: Path, where: Where | None) -> DnsSettings:
    return texts.settings_of(path, copies_of(where))


def _revision(path: Path, where: Where | None) -> int | None:
    return compiler.load(path, None, copies_of(where)).revision


def _spell(policy: Policy) -> None:
    """The names of its lists in one text, of which the kernel's table of refusals is built."""
    roles = filter(refuses, policy.roles.values())
    PrintStore().spell(wanted(names.table for role in roles for names in role.lists))


JOBS: Mapping[str, Callable[..., Any]] = {
    "revision": _revision,
    "rules": make_rules,
    "settings": _settings,
    "sources": _sources,
}
FROZEN_JOBS: Mapping[str, Callable[..., bytes]] = {"load": _load, "renew": _renew}
