"""How a policy comes into the daemon: its lists compiled elsewhere, its own tests passed.

A daemon has all of it done by another process (`apart`), for what it takes to read YAML is a
third of its memory and half of its start. Else, and where no process can be started, it is
done here. All of these wait: a loop calls them in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dnsfw.model import RuleId
from dnsfw.policy import kept
from dnsfw.policy.copies import Copies
from dnsfw.policy.files import policy_files
from dnsfw.policy.policy import DnsSettings, Policy
from dnsfw.policy.remote import Remote, url_of
from dnsfw.policy.rule import Rule
from dnsfw.policy.temporary import Wanted
from dnsfw.policy.warm import command, has_lists
from dnsfw.server.compile_apart import NoChild, ask

__all__ = [
    "apart", "load_tested", "make_rules", "names_nothing_elsewhere", "recall", "renew_tested",
    "revision_of", "settings_of", "sources_of", "warm",
]  # fmt: skip

_LONGEST = 600.0  # seconds; then the lists are compiled here, which is slower for everybody
# What a text that names a URL has: its middle, or an escape that may stand for it.
_ELSEWHERE = (b"://", b"\\")
_elsewhere = {"done": False}
# What was asked for lately, as the policy would write it: it is put on top a moment later, and
# again at each reload, and to ask another process takes half a second of CPU.
_made: dict[Wanted, Rule] = {}
_MOST_MADE = 256


def apart(do: bool = True) -> None:
    """Whether another process does all of this from now on. For `serve`, before the first."""
    _elsewhere["done"] = do


def recall(path: Path, known: Mapping[str, int]) -> Policy | None:
    """The policy as the last start or reload compiled it, if a compilation would say the same
    now, and nothing of it has to be fetched.
    """
    return kept.recall(path, known) if _elsewhere["done"] else None


def load_tested(
    path: Path, known: Mapping[str, int], copies: Copies | None = None, *, hurry: bool = False
) -> Policy:
    """PolicyError for what is wrong with it, a line for each test of its own that fails too.

    `hurry`: nobody is answered meanwhile, and the names of its lists can be spelled later.
    """
    if _elsewhere["done"]:
        with contextlib.suppress(NoChild):
            found: Policy = ask("load", path, dict(known), _where(copies), not hurry, hurry=hurry)
            return found
    from dnsfw.server.compile_jobs import load

    return load(path, known, copies)


def renew_tested(policy: Policy, known: Mapping[str, int], copies: Copies) -> Policy:
    """The policy in force with what has come over https, and nothing else: files that somebody
    is just editing are not read. PolicyError as above.
    """
    if _elsewhere["done"]:
        with contextlib.suppress(NoChild):
            found: Policy = ask("renew", policy.texts, dict(known), _where(copies))
            return found
    from dnsfw.server.compile_jobs import renew

    return renew(policy, known, copies)


def make_rules(wanted: Sequence[Wanted], taken: frozenset[RuleId]) -> Sequence[Rule | str]:
    """Temporary rules; see `temporary.Maker`."""
    known = [_made[one] for one in wanted if one in _made]
    ids = {rule.id for rule in known}
    if len(ids) == len(wanted) and not ids & taken:
        return known
    found: Sequence[Rule | str] = _done("rules", tuple(wanted), taken, hurry=True)
    if not taken and len(wanted) == 1 and isinstance(rule := found[0], Rule):
        if len(_made) >= _MOST_MADE:
            _made.clear()
        _made[replace(wanted[0], to=rule.text.partition(" ")[2])] = rule
    return found


def sources_of(path: Path, copies: Copies | None = None) -> tuple[Remote, ...]:
    """What a policy takes from elsewhere. ConfigError: it cannot be read."""
    if names_nothing_elsewhere(path):
        return ()
    found: tuple[Remote, ...] = _done("sources", path, _where(copies), hurry=True)
    return found


def settings_of(path: Path, copies: Copies | None = None) -> DnsSettings:
    """The `dns` section as far as it can be read."""
    found: DnsSettings = _done("settings", path, _where(copies), hurry=True)
    return found


def revision_of(path: Path, copies: Copies) -> int | None:
    """The revision of a policy, whether or not its tests pass. PolicyError."""
    found: int | None = _done("revision", path, _where(copies), hurry=False)
    return found


def names_nothing_elsewhere(path: Path) -> bool:
    """Whether a policy surely names no URL. Cheap, and never wrong when it says so."""
    if url_of(path) is not None:
        return False
    try:
        texts = [file.read_bytes() for file in policy_files(path)]
    except OSError:
        return False  # whoever reads it says why not
    return not any(mark in text for text in texts for mark in _ELSEWHERE)


def _done(job: str, *arguments: object, hurry: bool) -> Any:
    if _elsewhere["done"]:
        with contextlib.suppress(NoChild):
            return ask(job, *arguments, hurry=hurry)
    from dnsfw.server.compile_jobs import JOBS

    return JOBS[job](*arguments)


def _where(copies: Copies | None) -> tuple[str, frozenset[str]] | None:
    return None if copies is None else (str(copies.directory), copies.fresh)


async def warm(path: Path) -> None:
    """Have the lists of a policy compiled by another process. Never raises: without it the
    load takes longer, and no more.
    """
    if _elsewhere["done"] or not await asyncio.to_thread(has_lists, path):
        return
    argv, environment = command(path)
    with contextlib.suppress(OSError):
        child = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_LONGEST):
                await child.wait()
        except TimeoutError:
            pass
        finally:
            if child.returncode is None:
                child.kill()
