"""The formats that people keep lists of names in, each read the way its own tools read it.

A line that cannot be a DNS rule is counted and shown, never guessed at: an address in a hosts
file, a cosmetic filter, an upstream of dnsmasq. Reading a million lines takes about a second,
so what most lines look like is one regular expression.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from ipaddress import ip_network

from dnsfw.policy.pattern import MAX_LABEL
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong, shown
from dnsfw.policy.psl import public_suffixes, to_ascii

__all__ = ["Format", "Means", "Parsed", "guess", "read_list"]

MAX_LINE = 1024  # octets: no name is longer than 255, no filter of one name much longer
_SHOWN = 1000  # refused lines that keep their reason; the rest are counted


class Format(Enum):
    """How the lines of a list look."""

    PLAIN = "plain"  # a name a line
    HOSTS = "hosts"  # 0.0.0.0 name name …
    WILDCARD = "wildcard"  # name, *.name
    ADBLOCK = "adblock"  # ||name^, @@||name^
    RPZ = "rpz"  # a response policy zone, as named and unbound read it
    DNSMASQ = "dnsmasq"  # address=/name/…, local=/name/, nftset=/name/…
    CIDR = "cidr"  # an address or a prefix a line


class Means(IntFlag):
    """What a list says of one name; the flags of a name that stands twice are joined."""

    SELF = 1  # the name
    BELOW = 2  # everything below it
    NOT_SELF = 4  # an exception: this list says nothing of the name
    NOT_BELOW = 8
    IMPORTANT = 16  # exceptions do not count against it


TREE = Means.SELF | Means.BELOW
NOT_TREE = Means.NOT_SELF | Means.NOT_BELOW


@dataclass(slots=True)
class Parsed:
    """A list in columns: a name (lower-case ASCII, no final dot), what is meant, its line."""

    names: list[str] = field(default_factory=list)
    means: bytearray = field(default_factory=bytearray)
    lines: array[int] = field(default_factory=lambda: array("I"))
    prefixes: list[tuple[str, int]] = field(default_factory=list)
    became: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[int, str]] = field(default_factory=list)  # line, why: the first ones
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, means: int, line: int) -> None:
        self.names.append(name)
        self.means.append(means)
        self.lines.append(line)

    def refuse(self, line: int, why: str, said: str = "") -> None:
        self.refusals[why] += 1
        if len(self.refused) < _SHOWN:
            self.refused.append((line, f"{shown(said)}: {why}" if said else why))

    def tally(self) -> None:
        """Say what the lines became, in the words of the pattern table."""
        words = {0: "nothing", 1: "exact", 2: "*.", 3: "."}
        for means, count in Counter(self.means).items():
            if means & TREE:
                self.became[words[means & TREE]] += count
            if means & NOT_TREE:
                self.became["exception"] += count
        if self.prefixes:
            self.became["prefix"] += len(self.prefixes)


# One label or more, 253 octets at most: checked by length, for speed.
_NAME = re.compile(rf"(?:[a-z0-9_-]{{1,{MAX_LABEL}}}\.)*[a-z0-9_-]{{1,{MAX_LABEL}}}\.?", re.I)
_MAX_TEXT = 254  # with its final dot
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.I)


def _name(text: str) -> str | None:
    """The name in canonical text, or None where it is none."""
    if _NAME.fullmatch(text) is None:
        if text.isascii():
            return None
        try:
            text = ".".join(to_ascii(label) for label in text.split("."))
        except Wrong:
            return None
        if _NAME.fullmatch(text) is None:
            return None
    if len(text) > _MAX_TEXT or (text[-1].isdigit() and _NUMBER.fullmatch(text)):
        return None
    return text.lower().removesuffix(".")


def read_list(text: str, kind: Format, *, suffix: bool = False, broad: bool = False) -> Parsed:
    """The columns of a list. `suffix`: a plain name means everything below it too; `broad`:
    everything below a public suffix may be meant.

    Nothing raises: what cannot be read is in `refused` and `refusals`. A top-level name,
    `localhost` and (without `broad`) a public suffix with all below are refused too: one such
    line in a list of somebody else's would take a country off the net.
    """
    parsed = Parsed()
    _READERS[kind](text, parsed, suffix)
    _guard(parsed, broad)
    parsed.tally()
    return parsed


def _guard(parsed: Parsed, broad: bool) -> None:
    public = frozenset() if broad else public_suffixes()
    wrong = [
        (at, "a top-level name" if "." not in name else "a public suffix and all below it")
        for at, name in enumerate(parsed.names)
        if "." not in name or (name in public and parsed.means[at] & Means.BELOW)
    ]
    for at, why in reversed(wrong):
        parsed.refuse(parsed.lines[at], why, parsed.names[at])
        del parsed.names[at], parsed.means[at], parsed.lines[at]


def _lines(text: str, parsed: Parsed, comment: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that says something, without its comment."""
    for number, line in enumerate(text.split("\n"), 1):
        if comment in line:
            line = line[: line.index(comment)]
        line = line.strip()
        if not line:
            continue
        if len(line) > MAX_LINE:
            parsed.refuse(number, "the line is too long")
            continue
        yield number, line


def _plain(text: str, parsed: Parsed, suffix: bool) -> None:
    means = int(TREE if suffix else Means.SELF)
    add = parsed.add
    fits = _NAME.fullmatch
    for number, line in _lines(text, parsed, "#"):
        # The common case without a call: a name that cannot be an address.
        if fits(line) and len(line) < _MAX_TEXT and not line[-1].isdigit() and line[-1] != ".":
            add(line.lower(), means, number)
        elif name := _name(line):
            add(name, means, number)
        else:
            parsed.refuse(number, "not a name", line)


def _wildcard(text: str, parsed: Parsed, suffix: bool) -> None:
    for number, line in _lines(text, parsed, "#"):
        star = line.startswith("*.")
        name = _name(line[2:] if star else line)
        if name is None:
            parsed.refuse(number, "not a name", line)
        elif star:
            parsed.add(name, Means.BELOW, number)
        else:
            parsed.add(name, TREE if suffix else Means.SELF, number)


_NOWHERE = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})
# What every hosts file says of the host itself.
_OWN = frozenset(
    "localhost localhost.localdomain local broadcasthost ip6-localhost ip6-loopback "
    "ip6-localnet ip6-mcastprefix ip6-allnodes ip6-allrouters ip6-allhosts 0.0.0.0".split()
)


def _hosts(text: str, parsed: Parsed, suffix: bool) -> None:
    means = int(TREE if suffix else Means.SELF)
    for number, line in _lines(text, parsed, "#"):
        address, *names = line.split()
        if address not in _NOWHERE:
            own = all(name in _OWN for name in names)
            why = "an address of a name, not a refusal" if names and not own else ""
            if why or not names:
                parsed.refuse(number, why or "no name after the address", line)
            continue
        if not names:
            parsed.refuse(number, "no name after the address", line)
        for written in names:
            if written in _OWN:
                continue
            if name := _name(written):
                parsed.add(name, means, number)
            else:
                parsed.refuse(number, "not a name", written)


_FILTER = re.compile(r"(@@)?\|\|(\*\.)?([^/^$|*]+)\^?\|?(?:\$(.*))?")
_WHOLE = re.compile(
    rf"\|\|((?:[a-z0-9_-]{{1,{MAX_LABEL}}}\.)+[a-z0-9_-]{{1,{MAX_LABEL}}})\^", re.I
).fullmatch
_TREE = int(TREE)
_DNS_OPTIONS = frozenset({"important", "all", "document", "doc", "third-party", "3p"})


def _adblock(text: str, parsed: Parsed, suffix: bool) -> None:
    """As AdGuard's and other DNS filters read them: `||x^` is x and all below."""
    withdrawn: set[tuple[bool, str]] = set()
    kept: list[tuple[int, bool, str, int]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line[0] in "!#[":
            if "##" in line or "#@#" in line or "#?#" in line:
                parsed.refuse(number, "a cosmetic filter", line[:80])
            continue
        if quick := _WHOLE(line):  # what nearly every line is
            if len(quick[1]) < _MAX_TEXT and not quick[1][-1].isdigit():
                kept.append((number, False, quick[1].lower(), _TREE))
                continue
        found = _read_filter(line, number, parsed)
        if found is None:
            continue
        exception, name, means, bad = found
        if bad:
            withdrawn.add((exception, name))
        else:
            kept.append((number, exception, name, means))
    for number, exception, name, means in kept:
        if (exception, name) in withdrawn:
            parsed.became["withdrawn by $badfilter"] += 1
        else:
            parsed.add(name, means, number)


def _read_filter(line: str, number: int, parsed: Parsed) -> tuple[bool, str, int, bool] | None:
    if len(line) > MAX_LINE:
        parsed.refuse(number, "the line is too long")
        return None
    if "##" in line or "#@#" in line or "#?#" in line or "#$#" in line:
        parsed.refuse(number, "a cosmetic filter", line[:80])
        return None
    found = _FILTER.fullmatch(line)
    if found is None:
        if name := _name(line):  # DNS lists mix plain names in
            return False, name, int(Means.SELF), False
        parsed.refuse(number, "not a filter of a whole name", line[:80])
        return None
    options = set(filter(None, (found[4] or "").split(",")))
    odd = options - _DNS_OPTIONS - {"badfilter"}
    name = _name(found[3])
    if odd:
        parsed.refuse(number, f"the option ${min(odd).partition('=')[0][:20]}", line[:80])
    elif name is None:
        parsed.refuse(number, "not a name", line[:80])
    else:
        exception = found[1] is not None
        below = found[2] is not None
        if exception:
            means = Means.NOT_BELOW if below else NOT_TREE
        else:
            means = Means.BELOW if below else TREE
        if "important" in options and not exception:
            means |= Means.IMPORTANT
        return exception, name, int(means), "badfilter" in options
    return None


_DIRECTIVE = re.compile(
    r"(address|server|local|nftset|ipset|rebind-domain-ok)=(/[^/]*(?:/[^/]*)*/)([^/]*)"
)


def _dnsmasq(text: str, parsed: Parsed, suffix: bool) -> None:
    for number, line in _lines(text, parsed, "#\0"):  # a # also stands for "any address"
        line = line.partition(" #")[0].strip()
        if line.startswith("#"):
            continue
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            parsed.refuse(number, "not a directive about names", line[:80])
            continue
        what, names, value = found[1], found[2].strip("/").split("/"), found[3]
        if why := _unkept(what, value):
            parsed.refuse(number, why, line[:80])
            continue
        for written in names:
            star = written.startswith("*.")
            if name := _name(written.removeprefix("*.").removeprefix(".")):
                parsed.add(name, Means.BELOW if star else TREE, number)
            else:
                parsed.refuse(number, "not a name", written)


def _unkept(what: str, value: str) -> str:
    """Why a directive is no allow and no deny; empty where it is."""
    if what == "address":
        none = value in ("", "#", "0.0.0.0", "::", "127.0.0.1", "::1")
        return "" if none else "an address of a name, not a refusal"
    if what in ("server", "local"):
        return "" if not value else "an upstream of its own for a name"
    return "" if what in ("nftset", "ipset") else "nothing that a policy says"


_RECORD = re.compile(
    r"(?P<owner>\S*)\s+(?:(?P<ttl>[0-9]+[smhdw]?)\s+)?(?:(?:IN)\s+)?(?:[0-9]+[smhdw]?\s+)?"
    r"(?P<type>[A-Z0-9]+)\s+(?P<data>.*)",
    re.I,
)
_QUIET = frozenset({"SOA", "NS"})


def _rpz(text: str, parsed: Parsed, suffix: bool) -> None:
    origin, owner = "", ""
    joined = _parentheses(text)
    for number, line in joined:
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "$ORIGIN":
            origin = rest.strip().strip(".").lower()
            continue
        if word.startswith("$"):
            if word.upper() != "$TTL":
                parsed.refuse(number, f"the directive {word[:20]}", line[:80])
            continue
        found = _RECORD.fullmatch(line.rstrip())
        if found is None:
            parsed.refuse(number, "not a record", line[:80])
            continue
        owner = (found["owner"] or owner).lower()
        if found["type"].upper() == "SOA" and not origin:
            origin = owner.strip(".") if owner != "@" else ""
        if found["type"].upper() not in _QUIET:
            _rpz_rule(_relative(owner, origin), found, number, line, parsed)


def _relative(owner: str, origin: str) -> str:
    if owner.endswith("."):
        owner = owner.rstrip(".")
        return owner.removesuffix("." + origin) if origin else owner
    return owner


def _rpz_rule(owner: str, found: re.Match[str], number: int, line: str, parsed: Parsed) -> None:
    rtype, data = found["type"].upper(), found["data"].strip().lower()
    trigger = owner.rpartition(".")[2]
    if trigger in ("rpz-client-ip", "rpz-nsdname", "rpz-nsip"):
        parsed.refuse(number, f"the trigger {trigger}", line[:80])
        return
    passes = rtype == "CNAME" and data.rstrip(".") == "rpz-passthru"
    refuses = rtype == "CNAME" and data in (".", "*.", "rpz-drop.", "rpz-drop", "rpz-tcp-only.")
    if data.startswith("rpz-tcp-only"):
        parsed.refuse(number, "the action rpz-tcp-only", line[:80])
    elif trigger == "rpz-ip":
        prefix = _rpz_prefix(owner.removesuffix(".rpz-ip"))
        if prefix is None or not refuses:
            parsed.refuse(number, "an address trigger that denies nothing", line[:80])
        else:
            parsed.prefixes.append((prefix, number))
    elif not passes and not refuses:
        parsed.refuse(number, "local data: an answer of its own", line[:80])
    else:
        star = owner.startswith("*.")
        name = _name(owner[2:] if star else owner)
        if name is None:
            parsed.refuse(number, "not a name", owner)
        elif passes:
            parsed.add(name, Means.NOT_BELOW if star else Means.NOT_SELF, number)
        else:
            parsed.add(name, Means.BELOW if star else Means.SELF, number)


def _rpz_prefix(owner: str) -> str | None:
    """`24.0.2.0.192` is 192.0.2.0/24; `zz` stands for :: in IPv6."""
    bits, *parts = owner.split(".")
    parts.reverse()
    if len(parts) == 4 and "zz" not in parts:
        return _prefix(f"{'.'.join(parts)}/{bits}")
    text = ":".join("" if part == "zz" else part for part in parts)
    if "zz" in (parts[0], parts[-1]):  # an end of :: has two colons of its own
        text = ":" + text if parts[0] == "zz" else text + ":"
    return _prefix(f"{text}/{bits}")


def _prefix(text: str) -> str | None:
    """An address or a prefix as a policy writes it; None where it is none, host bits and all."""
    try:
        return Prefix.of(ip_network(text)).text
    except ValueError:
        return None


def _parentheses(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments; a record in parentheses is one line."""
    held, began = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition(";")[0].rstrip()
        if held:
            held += " " + line.strip()
        elif line.strip():
            held, began = line, number
        if held and held.count("(") <= held.count(")"):
            yield began, held.replace("(", " ").replace(")", " ")
            held = ""


def _cidr(text: str, parsed: Parsed, suffix: bool) -> None:
    for number, line in _lines(text, parsed, "#"):
        line = line.partition(";")[0].strip()
        if not line:
            continue
        if prefix := _prefix(line):
            parsed.prefixes.append((prefix, number))
        else:
            parsed.refuse(number, "not an address or a prefix", line[:80])


_READERS: dict[Format, Callable[[str, Parsed, bool], None]] = {
    Format.PLAIN: _plain,
    Format.HOSTS: _hosts,
    Format.WILDCARD: _wildcard,
    Format.ADBLOCK: _adblock,
    Format.RPZ: _rpz,
    Format.DNSMASQ: _dnsmasq,
    Format.CIDR: _cidr,
}
