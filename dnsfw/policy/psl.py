"""Two libraries, one door: which suffixes are public, and what a U-label is in ASCII.

Each is imported when it is asked: a daemon asks neither unless somebody types such a name.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dnsfw.policy.problems import Wrong, shown

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# Top names that nobody can register below: RFC 6761, 6762, 7686, 8375, 9476, and those that
# ICANN keeps back (2018: home, corp, mail; 2024: internal).
_NEVER_DELEGATED = frozenset(
    (
        *("alt", "example", "home.arpa", "invalid", "local", "localhost", "onion", "test"),
        *("corp", "home", "internal", "mail"),
    )
)


@cache
def _list() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)  # what is unknown is judged below


def anybody_registers_below(suffix: str) -> bool:
    """True for the root, public suffixes (private section too) and unknown top names."""
    if suffix in _NEVER_DELEGATED:
        return False
    if "." not in suffix:
        return True
    return bool(_list().is_public(suffix))


def to_ascii(label: str) -> str:
    """The A-label of a label (UTS-46, non-transitional); ASCII passes. Raises Wrong."""
    if label.isascii():
        return label
    import idna

    try:
        return idna.encode(label, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise Wrong(f"{shown(label)} is no IDN label ({shown(error)[1:-1]})") from None


def fold_dots(text: str) -> str:
    """The dots that UTS-46 takes for dots (ideographic, full width, half width), as dots."""
    for dot in "\u3002\uff0e\uff61":
        text = text.replace(dot, ".")
    return text


@cache
def public_suffixes() -> frozenset[str]:
    """Every public suffix of more than one label, in ASCII: to look through a million names,
    where asking `anybody_registers_below` of each would take seconds.
    """
    from publicsuffixlist import PSLFILE

    found: set[str] = set()
    for line in Path(PSLFILE).read_text(encoding="utf-8").splitlines():
        rule = line.split()[0] if line.strip() else "//"
        if rule.startswith(("//", "!")) or "." not in rule:
            continue
        found.add(".".join(to_ascii(label) for label in rule.removeprefix("*.").split(".")))
    return frozenset(name for name in found if "." in name)
