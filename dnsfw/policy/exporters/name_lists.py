"""Lists of names and addresses: no ports, one verdict, and what each format can say of a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from dnsfw.model import Verdict
from dnsfw.policy.exporters.outcome import Left, Made, Named
from dnsfw.policy.first_match import Entry, clash
from dnsfw.policy.lists.formats import Format
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import ANY
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong

__all__ = ["DENY_ONLY", "FORMATS", "ipv4_or_6", "literal"]

DENY_ONLY = (Format.HOSTS, Format.ADBLOCK, Format.RPZ)
_SETS = "4#inet#dnsfw#open4,6#inet#dnsfw#open6"  # where the resolver puts the addresses
_HEAD = "# Made by `dnsfw export {}`.\n"
_ORIGIN = "$TTL 60\n@ SOA localhost. root.localhost. 1 1h 15m 30d 2h\n  NS localhost.\n"


def literal(what: Pattern) -> str:
    """The part of a pattern without its mark."""
    return what.text.removeprefix(what.kind.value) if what.kind is not Kind.GLOB else what.text


def ipv4_or_6(prefix: Prefix) -> str:
    """A prefix without the brackets of a policy."""
    return prefix.text.replace("[", "").replace("]", "")


def _make(kind: Format, role: RolePolicy, left: Left) -> str:
    """The list of what differs from the default; a deny list has no other side."""
    side = Verdict.DENY if role.default is Verdict.ALLOW else Verdict.ALLOW
    if kind in DENY_ONLY and side is Verdict.ALLOW:
        left.setting(role, "default: deny", "a list that only denies leaves the rest open")
        side = Verdict.DENY
    rules = left.entries(role)
    whole: list[Named] = []
    for rule, entry in rules:
        if entry.ports != ANY:
            left.lost(rule, "its ports: a list has none")
        else:
            whole.append((rule, entry))
    lines = _zone if kind is Format.RPZ else _filters if kind is Format.ADBLOCK else _plain
    return lines(kind, side, whole, rules, left)


def _plain(
    kind: Format, side: Verdict, whole: list[Named], rules: list[Named], left: Left
) -> str:
    word = "deny" if side is Verdict.ALLOW else "allow"
    write = partial(_WRITERS[kind], side)
    lines: dict[str, None] = {}
    for rule, entry in whole:
        if entry.verdict is not side:
            left.other_side(rule, entry, rules, f"{word} in a list that has the other verdict only")
            continue
        try:
            lines |= dict.fromkeys(write(entry.what))
        except Wrong as wrong:
            left.lost(rule, wrong.message)
    return _HEAD.format(kind.value) + "".join(f"{line}\n" for line in lines)


def _exact(lead: str, side: Verdict, what: Pattern | Prefix) -> Iterable[str]:
    if isinstance(what, Prefix) or what.kind is not Kind.EXACT:
        raise Wrong("the list has exact names only")
    return [lead + what.text]


def _wildcards(side: Verdict, what: Pattern | Prefix) -> Iterable[str]:
    if isinstance(what, Prefix) or what.kind in (Kind.GLOB, Kind.ONE) or what.text == "*":
        raise Wrong("the list has names and '*.example.com' only")
    name = literal(what)
    return {Kind.EXACT: [name], Kind.BELOW: [f"*.{name}"]}.get(what.kind, [name, f"*.{name}"])


def _dnsmasq(side: Verdict, what: Pattern | Prefix) -> Iterable[str]:
    if isinstance(what, Prefix) or what.kind is not Kind.TREE:
        raise Wrong("dnsmasq knows a name with all below it only ('.example.com')")
    name = literal(what)
    return [f"address=/{name}/" if side is Verdict.DENY else f"nftset=/{name}/{_SETS}"]


def _cidr(side: Verdict, what: Pattern | Prefix) -> Iterable[str]:
    if isinstance(what, Pattern):
        raise Wrong("the list has addresses only")
    return [ipv4_or_6(what)]


_WRITERS: dict[Format, Callable[[Verdict, Pattern | Prefix], Iterable[str]]] = {
    Format.PLAIN: partial(_exact, ""),
    Format.HOSTS: partial(_exact, "0.0.0.0 "),
    Format.WILDCARD: _wildcards,
    Format.DNSMASQ: _dnsmasq,
    Format.CIDR: _cidr,
}


def _filters(
    kind: Format, side: Verdict, whole: list[Named], rules: list[Named], left: Left
) -> str:
    """Filters: `$important` beats exceptions, exceptions beat the rest."""
    fit: list[tuple[Named, str]] = []
    for rule, entry in whole:
        try:
            fit.append(((rule, entry), _filter(entry)))
        except Wrong as wrong:
            left.lost(rule, wrong.message)
    passes = [one for one in fit if one[0][1].verdict is Verdict.ALLOW]
    first: list[tuple[Named, str]] = []
    last: list[tuple[Named, str]] = []
    for one in fit:
        if one[0][1].verdict is Verdict.DENY:
            above = any(clash([other[0][1], one[0][1]])[1] is not None for other in passes)
            (first if above and one[1].endswith("^") else last).append(one)
    ordered = [*first, *passes, *last]
    lines: dict[str, None] = {}
    beaten = clash([one[0][1] for one in ordered])
    for at, ((rule, _), line) in enumerate(ordered):
        if (other := beaten[at]) is not None:
            left.lost(rule, f"a filter for '{ordered[other][0][0].text}' would beat it")
            continue
        lines[line + ("$important" if at < len(first) else "")] = None
    head = _HEAD.format(kind.value).replace("#", "!")
    return head + "".join(f"{line}\n" for line in lines)


def _filter(entry: Entry) -> str:
    what, passes = entry.what, "@@" if entry.verdict is Verdict.ALLOW else ""
    if isinstance(what, Prefix) or what.kind in (Kind.GLOB, Kind.ONE) or what.text == "*":
        raise Wrong("a filter is of a name, of what is below it, or of both")
    if what.kind is Kind.EXACT:
        if passes:
            raise Wrong("an exception has all below the name too")
        return what.text
    return f"{passes}||{'*.' if what.kind is Kind.BELOW else ''}{literal(what)}^"


def _zone(
    kind: Format, side: Verdict, whole: list[Named], rules: list[Named], left: Left
) -> str:
    """A response policy zone, where the deeper owner wins, as the longer suffix does here."""
    owners: dict[str, str] = {}
    order = sorted(whole, key=lambda one: (_of_one(one[1]), int(one[1].verdict)))
    for rule, entry in order:
        what, action = entry.what, "." if entry.verdict is Verdict.DENY else "rpz-passthru."
        if isinstance(what, Prefix):
            if entry.verdict is Verdict.ALLOW:
                left.other_side(rule, entry, rules, "a passed address passes in answers only")
            else:
                owners[f"{_address_owner(what)}.rpz-ip"] = "."
            continue
        try:
            for owner in _wildcards(side, what):
                owners.setdefault(owner, action)  # of equal owners our first rule wins
        except Wrong:
            left.lost(rule, "a zone has names and '*.example.com' only")
    _reach_past(owners)
    lines = (f"{owner} CNAME {action}\n" for owner, action in owners.items())
    return _HEAD.format(kind.value).replace("#", ";") + _ORIGIN + "".join(lines)


def _reach_past(owners: dict[str, str]) -> None:
    """A wildcard of DNS ends where the zone holds a name (RFC 4592 section 3.3.1): below and
    beside each name what the wildcard above it says is said again.
    """
    for owner in [one for one in owners if not one.endswith(".rpz-ip")]:
        between: list[str] = []
        name = owner.removeprefix("*.")
        while name:
            above = f"*.{name.partition('.')[2]}"
            between.append(name)
            if (action := owners.get(above)) is not None:
                for one in between:
                    owners.setdefault(one, action)
                    owners.setdefault(f"*.{one}", action)
                break
            name = name.partition(".")[2]


def _of_one(entry: Entry) -> bool:
    """Exact names before the rest: `x` of a rule of its own beats `x` of `.x`."""
    return isinstance(entry.what, Pattern) and entry.what.kind is not Kind.EXACT


def _address_owner(prefix: Prefix) -> str:
    text, _, bits = ipv4_or_6(prefix).partition("/")
    if prefix.v4:
        return ".".join([bits or "32", *reversed(text.split("."))])
    words = text.replace("::", ":zz:").strip(":").split(":")
    return ".".join([bits or "128", *reversed(words)])


FORMATS: dict[str, tuple[str, Made]] = {
    kind.value: (about, partial(_make, kind))
    for kind, about in (
        (Format.PLAIN, "exact names, one a line"),
        (Format.HOSTS, "0.0.0.0 NAME; denied exact names"),
        (Format.WILDCARD, "NAME or *.NAME, one a line"),
        (Format.ADBLOCK, "||NAME^; denied, with exceptions"),
        (Format.RPZ, "a response policy zone; denied, with exceptions"),
        (Format.DNSMASQ, "address=/NAME/ where denied, nftset=/NAME/… where allowed"),
        (Format.CIDR, "addresses and prefixes, one a line"),
    )
}
