"""Whom and which ports a rule of Cilium means: names, prefixes, `toPorts`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from dnsfw.model import PortRange, PortSet
from dnsfw.policy.importers.manifests import selector_text
from dnsfw.policy.importers.outcome import Kept, Section
from dnsfw.policy.pattern import Kind, Pattern, parse_pattern
from dnsfw.policy.ports import ANY, LAST_PORT, PROTOCOLS
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong, shown
from dnsfw.policy.syntax_yaml import Path

__all__ = ["WORLD", "Peer", "names_of", "network_of", "patterns_of", "ports_of", "prefixes_of"]

Peer = tuple[Path, Pattern | Prefix, str]  # where, what, as the file has it
Network = IPv4Network | IPv6Network

WORLD: tuple[Pattern | Prefix, ...] = (
    Prefix.of(ip_network("0.0.0.0/0")), Prefix.of(ip_network("::/0")), parse_pattern("*"),
)  # fmt: skip
_ALL = re.compile(r"\*+\.?")
_DEEP = re.compile(r"\*{2,}\.")
_PROTOCOLS = {
    "TCP": ("tcp",), "UDP": ("udp",), "SCTP": ("sctp",), "ANY": ("tcp", "udp", "sctp"),
}  # fmt: skip
_DNS = PortSet.of(PortRange(PROTOCOLS[name], 53, 53) for name in ("tcp", "udp", "sctp"))


def patterns_of(written: str) -> list[Pattern]:
    """What a `matchPattern` matches, in our patterns. Raises Wrong where they cannot say it."""
    if _ALL.fullmatch(written):
        return [parse_pattern("*")]
    if deep := _DEEP.match(written):
        rest = written[deep.end() :]
        if "*" in rest:
            raise Wrong(f"{shown(written)}: a star stands in the leftmost label only")
        return [parse_pattern(f"*.{rest}")]
    text = re.sub(r"\*+", "*", written)
    if text.startswith("*."):
        if "*" in text[2:]:
            raise Wrong(f"{shown(written)}: a star stands in the leftmost label only")
        return [parse_pattern(f"+.{text[2:]}")]
    found = parse_pattern(text)
    if found.kind is not Kind.GLOB:
        return [found]
    # There a star may stand for nothing, here for one character or more.
    return [found, parse_pattern(text.replace("*", "", 1))]


def names_of(rule: Section) -> Iterator[Peer]:
    """The names of `toFQDNs`; what is no name of ours is lost."""
    for index, one in enumerate(rule.sections("toFQDNs")):
        at: Path = ("toFQDNs", index)
        for key in ("matchName", "matchPattern"):
            text = one.text(key)
            if text is None:
                continue
            try:
                found = [parse_pattern(text)] if key == "matchName" else patterns_of(text)
                if key == "matchName" and found[0].kind is not Kind.EXACT:
                    raise Wrong(f"{shown(text)} is no name", "write matchPattern")
            except Wrong as wrong:
                tail = f"; {wrong.remedy}" if wrong.remedy else ""
                rule.found(Kept.LOST, (*at, key), f"{key} {text}", wrong.message + tail)
                continue
            for what in found:
                yield (*at, key), what, f"{key} {text}"
        one.rest_is_lost("dnsfw knows names by matchName and matchPattern only")


def prefixes_of(rule: Section) -> Iterator[Peer]:
    """The prefixes of `toCIDR` and `toCIDRSet`; one with `except` in the pieces that are left."""
    for index, value in enumerate(rule.items("toCIDR")):
        at: Path = ("toCIDR", index)
        if (network := network_of(rule, at, value)) is not None:
            yield at, Prefix.of(network), f"toCIDR {value}"
    for index, one in enumerate(rule.sections("toCIDRSet")):
        at = ("toCIDRSet", index)
        cidr = one.text("cidr")
        holes = [network_of(one, ("except", n), value)
                 for n, value in enumerate(one.items("except"))]  # fmt: skip
        one.rest_is_lost("is told by the cluster: dnsfw knows prefixes by cidr and except only")
        if cidr is None:
            continue
        network = network_of(one, ("cidr",), cidr)
        if network is None or None in holes:
            continue
        source = f"toCIDRSet {cidr}" + (f" except {selector_text(one.value['except'])}"
                                        if holes else "")  # fmt: skip
        for piece in _without(network, [hole for hole in holes if hole is not None]):
            yield at, Prefix.of(piece), source


def _without(network: Network, holes: list[Network]) -> list[Network]:
    """The prefixes that are left when the holes are cut out, in order."""
    left: list[Network] = [network]
    for hole in holes:
        cut: list[Network] = []
        for piece in left:
            if piece.version != hole.version or not piece.overlaps(hole):
                cut.append(piece)
            elif hole.prefixlen > piece.prefixlen:
                cut += piece.address_exclude(hole)  # type: ignore[arg-type]
        left = cut
    return sorted(left, key=lambda piece: (piece.version, piece.network_address.packed))


def network_of(section: Section, at: Path, value: object) -> Network | None:
    """A prefix; None when the problems say why it is none."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError("write it as a text: 10.0.0.0/8")
        network = ip_network(value, strict=True)
        mapped = getattr(network.network_address, "ipv4_mapped", None)
        if mapped is not None:
            raise ValueError("it is an IPv4 address")
        return network
    except ValueError as error:
        section.wrong(at, f"{shown(value)} is no prefix ({error})", "write 10.0.0.0/8")
        return None


def ports_of(rule: Section) -> tuple[PortSet | None, bool]:
    """The ports of `toPorts` (all where it is missing), and whether it is only about DNS.

    None where a port cannot be said: what is left of the rule would be another rule.
    """
    if not rule.items("toPorts") and not rule.items("icmps"):
        return ANY, False
    if rule.items("icmps"):
        rule.found(Kept.LOST, ("icmps",), "icmps", "no type of ICMP can be told: write /icmp")
        return None, False
    ports, whole, names = PortSet(), True, False
    for one in rule.sections("toPorts"):
        for port in one.sections("ports"):
            found = _port(port)
            whole = whole and found is not None
            ports = ports.union(found or PortSet())
        layer7 = one.child("rules")
        names = names or bool(layer7.items("dns"))
        for key in layer7.value:
            if key != "dns" and layer7.items(key):
                layer7.found(Kept.LOST, (key,), f"rules: {key}", "dnsfw judges names and ports")
                whole = False
        if not one.items("ports"):
            one.found(Kept.LOST, (), "toPorts", "it has no ports")
            whole = False
        one.rest_is_lost("dnsfw judges names and ports only")
        whole = whole and not set(one.value) - {"ports", "rules"}
    if not whole:
        rule.found(Kept.LOST, (), "a rule", "left out whole: its ports cannot be said")
        return None, False
    return ports, not ports.minus(_DNS) and (names or _kube_dns(rule))


def _kube_dns(rule: Section) -> bool:
    peers = rule.items("toEndpoints")
    return bool(peers) and all("k8s-app=kube-dns" in selector_text(peer) for peer in peers)


def _port(port: Section) -> PortSet | None:
    """One entry of `ports`: a number or a range, with a protocol."""
    value, end = port.items("port")[:1], port.number("endPort", LAST_PORT)
    word = port.text("protocol") or "ANY"
    port.rest_is_lost("dnsfw knows port, endPort and protocol only")
    text = str(value[0]) if value else ""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else -1
    names = _PROTOCOLS.get(word.upper())
    if names is None:
        port.found(Kept.LOST, (), f"protocol {word}", "write TCP, UDP, SCTP or ANY")
        return None
    if not 0 <= number <= LAST_PORT:
        port.found(Kept.LOST, (), f"port {text or '(none)'}", "a port is a number here")
        return None
    last = end or number
    if last < number:
        port.found(Kept.LOST, (), f"port {number} to {last}", "the range runs backwards")
        return None
    low, high = (number, last) if number else (0, LAST_PORT)  # 0 stands for all
    return PortSet.of(PortRange(PROTOCOLS[name], low, high) for name in names)
