"""The formats that people keep lists of names in, each read the way its own tools read it.

A line that cannot be a DNS rule is counted and shown, never guessed at: an address in a hosts
file, a cosmetic filter, an upstream of dnsmasq. Reading a million lines takes about a second,
so what most lines look like is one regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from dnsfw.policy.lists.adblock import read_adblock
from dnsfw.policy.lists.columns import (
    MAX_TEXT,
    NAME,
    TREE,
    Means,
    Parsed,
    name_of,
    prefix_of,
    said_lines,
)  # fmt: skip
from dnsfw.policy.lists.rpz import read_rpz
from dnsfw.policy.psl import public_suffixes

__all__ = ["PLAIN_NAMES", "Format", "read_list"]


class Format(Enum):
    """How the lines of a list look."""

    PLAIN = "plain"  # a name a line
    HOSTS = "hosts"  # 0.0.0.0 name name …
    WILDCARD = "wildcard"  # name, *.name
    ADBLOCK = "adblock"  # ||name^, @@||name^
    RPZ = "rpz"  # a response policy zone, as named and unbound read it
    DNSMASQ = "dnsmasq"  # address=/name/…, local=/name/, nftset=/name/…
    CIDR = "cidr"  # an address or a prefix a line


# Where a line may be a name and no more, which `as: suffix` reads as the name and all below it.
PLAIN_NAMES = frozenset({Format.PLAIN, Format.HOSTS, Format.WILDCARD})


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


def _plain(text: str, parsed: Parsed, suffix: bool) -> None:
    means = int(TREE if suffix else Means.SELF)
    add = parsed.add
    fits = NAME.fullmatch
    for number, line in said_lines(text, parsed, "#"):
        # The common case without a call: a name that cannot be an address.
        if fits(line) and len(line) < MAX_TEXT and not line[-1].isdigit() and line[-1] != ".":
            add(line.lower(), means, number)
        elif name := name_of(line):
            add(name, means, number)
        else:
            parsed.refuse(number, "not a name", line)


def _wildcard(text: str, parsed: Parsed, suffix: bool) -> None:
    for number, line in said_lines(text, parsed, "#"):
        star = line.startswith("*.")
        name = name_of(line[2:] if star else line)
        if name is None:
            parsed.refuse(number, "not a name", line)
        elif star:
            parsed.add(name, Means.BELOW, number)
        else:
            parsed.add(name, TREE if suffix else Means.SELF, number)


_NOWHERE = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})
# What every hosts file says of the host itself.
_OWN = frozenset(
    (
        *("localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"),
        *("ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix"),
        *("ip6-allnodes", "ip6-allrouters", "ip6-allhosts"),
    )
)


def _hosts(text: str, parsed: Parsed, suffix: bool) -> None:
    means = int(TREE if suffix else Means.SELF)
    for number, line in said_lines(text, parsed, "#"):
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
            if name := name_of(written):
                parsed.add(name, means, number)
            else:
                parsed.refuse(number, "not a name", written)


_DIRECTIVE = re.compile(
    r"(address|server|local|nftset|ipset|rebind-domain-ok)=(/[^/]*(?:/[^/]*)*/)([^/]*)"
)


def _dnsmasq(text: str, parsed: Parsed, suffix: bool) -> None:
    for number, line in said_lines(text, parsed, "#\0"):  # a # also stands for "any address"
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
            if name := name_of(written.removeprefix("*.").removeprefix(".")):
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


def _cidr(text: str, parsed: Parsed, suffix: bool) -> None:
    for number, line in said_lines(text, parsed, "#"):
        line = line.partition(";")[0].strip()
        if not line:
            continue
        if prefix := prefix_of(line):
            parsed.prefixes.append((prefix, number))
        else:
            parsed.refuse(number, "not an address or a prefix", line[:80])


_READERS: dict[Format, Callable[[str, Parsed, bool], None]] = {
    Format.PLAIN: _plain,
    Format.HOSTS: _hosts,
    Format.WILDCARD: _wildcard,
    Format.ADBLOCK: read_adblock,
    Format.RPZ: read_rpz,
    Format.DNSMASQ: _dnsmasq,
    Format.CIDR: _cidr,
}
