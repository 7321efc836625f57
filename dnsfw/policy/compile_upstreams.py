"""`dns.upstreams` and `dns.nat64_prefix`: whom to ask, and how this network disguises IPv4."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv6Network, ip_address
from pathlib import Path as FilePath
from typing import TypeVar

from dnsfw.model import addr_from
from dnsfw.policy.endpoints import SYSTEM, parse_upstream
from dnsfw.policy.policy import Endpoint
from dnsfw.policy.problems import Position, Problems, Wrong, shown
from dnsfw.policy.syntax_upstream import UpstreamSection
from dnsfw.policy.syntax_yaml import Document, Path
from dnsfw.policy.upstream import Address, Upstream, asked, parse_pin, unreachable
from dnsfw.values import dataclass

__all__ = ["compile_nat64", "compile_upstreams"]

_AT = ("dns", "upstreams")
# RFC 6052, section 2.2: the lengths at which IPv4 may begin.
_LENGTHS = (32, 40, 48, 56, 64, 96)


def compile_upstreams(
    sections: Sequence[UpstreamSection] | None,
    listen: tuple[Endpoint, ...],
    document: Document,
    problems: Problems,
) -> tuple[Upstream | None, ...]:
    """The upstreams in order; what is wrong goes to the problems and is left out."""
    found: list[Upstream | None] = []
    places: list[Position] = []
    for index, section in enumerate(sections or (UpstreamSection(server=SYSTEM),)):
        at: Path = (*_AT, index)
        where = document.place(at)
        try:
            upstream = _upstream(section, at, document, problems)
        except Wrong as wrong:
            problems.wrong(document.place((*at, wrong.key)), wrong)
            continue
        if upstream in found:
            problems.error(where, f"{shown(section.server)} stands twice", "take one out")
        if upstream is not None and _listens(upstream, listen):
            message = f"{shown(section.server)} is where dnsfw listens"
            problems.error(where, message, "name another server")
        found.append(upstream)
        places.append(where)
    if places and (missing := unreachable(found)):
        problems.wrong(places[0], missing)
    _warn_of_clear(found, places, problems)
    return tuple(found)


def compile_nat64(
    texts: Sequence[str] | None, document: Document, problems: Problems
) -> tuple[IPv6Network, ...]:
    """Prefixes that this network's translator puts before an IPv4 address (RFC 6052)."""
    found = []
    for index, text in enumerate(texts or ()):
        where = document.place(("dns", "nat64_prefix", index))
        try:
            net = IPv6Network(text)
        except ValueError:
            problems.error(where, f"{shown(text)} is no IPv6 prefix", "write '2001:db8:64::/96'")
            continue
        if net.prefixlen not in _LENGTHS or net.network_address.packed[8]:
            remedy = "the lengths are 32, 40, 48, 56, 64 and 96, and bits 64 to 71 are zero"
            problems.error(where, f"{shown(text)} is no NAT64 prefix (RFC 6052)", remedy)
            continue
        found.append(net)
    return tuple(found)


def _upstream(
    section: UpstreamSection, at: Path, document: Document, problems: Problems
) -> Upstream | None:
    """The upstream; None for `system`. Raises Wrong where the server itself is none; what else
    is wrong goes to the problems.
    """
    keys, where = _Keys(at, document, problems), document.place(at)
    upstream, wrong = _server(section.server)
    clear = wrong is None and (upstream is None or not upstream.encrypted)
    if clear and section.model_fields_set - {"server"}:
        message = f"{shown(section.server)} is asked in clear: nothing can be checked there"
        raise Wrong(message, "write a server as 'tls://9.9.9.9#dns.quad9.net'", "server")
    ca = keys.read("ca", section.ca, lambda text: str(_file(text, where)))
    addresses = tuple(keys.each("addresses", section.addresses, _address))
    pins = tuple(keys.each("pin", section.pin, parse_pin))
    if wrong is not None:
        raise wrong
    if upstream is None or clear:
        return upstream
    if addresses and upstream.addresses:
        message = f"{shown(section.server)} has an address already"
        remedy = f"write the name there: '{upstream.scheme}://dns.quad9.net'"
        raise Wrong(message, remedy, "server")
    return replace(
        upstream,
        addresses=upstream.addresses or addresses,
        ca=ca or "",
        pins=pins,
        trusted=section.trusted,
    )


def _server(text: str) -> tuple[Upstream | None, Wrong | None]:
    try:
        return parse_upstream(text), None
    except Wrong as wrong:
        wrong.key = "server"
        return None, wrong


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Keys:
    """Reads what stands beside a server; what is wrong is told at its own place."""

    at: Path
    document: Document
    problems: Problems

    def read(self, key: str, text: str | None, reader: Callable[[str], _T]) -> _T | None:
        return next(self.each(key, [] if text is None else [text], reader), None)

    def each(
        self, key: str, texts: Sequence[str] | None, reader: Callable[[str], _T]
    ) -> Iterator[_T]:
        for index, text in enumerate(texts or ()):
            try:
                yield reader(text)
            except Wrong as wrong:
                self.problems.wrong(self.document.place((*self.at, key, index)), wrong)


def _file(text: str, where: Position) -> FilePath:
    """A file of certificates, from the policy's directory."""
    path = (FilePath(where.file).parent / text).absolute()
    try:
        there = path.is_file()
    except OSError:  # a name that no file can have
        there = False
    if not there:
        raise Wrong(f"{shown(text)}: there is no such file", "name the file of the CA (PEM)")
    return path


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Wrong(f"{shown(text)} is no address", "write '9.9.9.9' or '2620:fe::fe'") from None


def _listens(upstream: Upstream, listen: tuple[Endpoint, ...]) -> bool:
    return not upstream.encrypted and any(
        Endpoint(addr_from(address), upstream.port) in listen for address in upstream.addresses
    )


def _warn_of_clear(
    found: Sequence[Upstream | None], places: Sequence[Position], problems: Problems
) -> None:
    """Failing over from an encrypted upstream to a plain one would be a way to read along."""
    if not any(u and u.encrypted for u in found):
        return
    used = asked([u for u in found if u is not None])
    for upstream, where in zip(found, places, strict=True):
        if upstream not in used:
            problems.warn(
                where,
                f"'{upstream or SYSTEM}' only looks up the names of the encrypted upstreams: "
                "no question goes out in clear beside them",
            )
