"""Two libraries, one door: which suffixes are public, and what a U-label is in ASCII.

Each is imported when it is asked.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dnsfw.policy.problems import Wrong, shown

# Top names that nobody can register below: RFC 6761, 6762, 7686, 8375, 9476, and those that
# ICANN keeps back (2018: home, corp, mail; 2024: internal).
_NEVER_DELEGATED = frozenset(
    (
        *("alt", "example", "home.arpa", "invalid", "local", "localhost", "onion", "test"),
        *("corp", "home", "internal", "mail"),
    )
)


@cache
def _rules() -> dict[str, bytes]:
    """The list's rules of more than one label, by their top name: sorted lines of a name in
    ASCII and what is said of it: itself (`=`), all below (`*`), not it (`!`). The library holds
    them as a set of ten thousand strings: a megabyte more, in every daemon.
    """
    from publicsuffixlist import PSLFILE

    found: dict[str, bytearray] = {}
    with Path(PSLFILE).open(encoding="utf-8") as lines:
        for line in lines:
            rule = line.partition(" ")[0].rstrip().lower()
            if "." not in rule or rule.startswith("//"):
                continue
            name = rule.removeprefix("*.").removeprefix("!")
            said = "=" if name == rule else rule[0]
            if not name.isascii():
                name = ".".join(map(_a_label, name.split(".")))
            top = name.rpartition(".")[2]
            found.setdefault(top, bytearray()).extend(f"{name} {said}\n".encode())
    return {top: _sorted(bytes(told)) for top, told in found.items()}


def _sorted(told: bytes) -> bytes:
    """One top name at a time: what this takes, the next one takes again."""
    marks: dict[bytes, bytes] = {}
    for line in told.splitlines():
        name, said = line.split()
        marks[name] = marks.get(name, b"") + said
    lines = sorted(b"\n%b %b" % each for each in marks.items())
    return b"".join(lines) + b"\n"


def _a_label(label: str) -> str:
    """Of a label that is spelled as it must be, as the list's are."""
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def anybody_registers_below(suffix: str) -> bool:
    """True for the root, public suffixes (private section too) and unknown top names."""
    if suffix in _NEVER_DELEGATED:
        return False
    if "." not in suffix:
        return True
    rules = _rules().get(suffix.rpartition(".")[2], b"")
    said = _said(rules, suffix)
    if b"!" in said:
        return False
    # What is below a name with `*` is public, and the name itself (the list's tests say so).
    return bool(said) or b"*" in _said(rules, suffix.partition(".")[2])


def _said(rules: bytes, name: str) -> bytes:
    """What the lines say of this name."""
    wanted = b"\n" + name.encode() + b" "
    low, high = 0, len(rules) - 1
    while low < high:  # both at the beginning of a line
        line = rules.rfind(b"\n", low, (low + high) // 2 + 1)
        end = rules.index(b"\n", line + 1)
        if rules.startswith(wanted, line):
            return rules[line + len(wanted) : end]
        if rules[line:end] < wanted:
            low = end
        else:
            high = line
    return b""


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
