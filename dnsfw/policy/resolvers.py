"""`deny: encrypted-dns`: ways round this resolver, as rules that a policy need not write out.

DNS over TLS and QUIC have ports of their own (RFC 7858, RFC 9250), which are closed for every
address. DNS over HTTPS looks like the web, so there the names of public resolvers are refused.
The list is well-known services, not all there are: a resolver of the attacker's own is a name
like any other, and only `default: deny` stops that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from dnsfw.model import PortRange, PortSet, RoleId, RuleId, Verdict
from dnsfw.policy.pattern import Kind, Pattern, parse_pattern
from dnsfw.policy.ports import ANY, PROTOCOLS
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position, Problems
from dnsfw.policy.rule import Rule, rule_id

ENCRYPTED_WORD = "encrypted-dns"
ENCRYPTED_PORTS = PortSet.of(
    (
        PortRange(PROTOCOLS["tcp"], 853, 853),  # DNS over TLS, RFC 7858
        PortRange(PROTOCOLS["udp"], 853, 853),  # over QUIC, RFC 9250; over DTLS, RFC 8094
        PortRange(PROTOCOLS["udp"], 784, 784),  # over QUIC in its drafts, still served
        PortRange(PROTOCOLS["udp"], 8853, 8853),  # the same
    )
)
EVERYWHERE = tuple(Prefix.of(ip_network(text)) for text in ("0.0.0.0/0", "::/0"))

# Each with everything below it. Names of the service, never of the company's web site.
RESOLVERS = (
    "8888.google",
    "dns.google",
    "dns.google.com",
    "cloudflare-dns.com",  # chrome., mozilla., family., security., 1dot1dot1dot1.
    "cloudflare-gateway.com",
    "dns.cloudflare.com",
    "one.one.one.one",
    "dns.quad9.net",
    "dns9.quad9.net",
    "dns10.quad9.net",
    "dns11.quad9.net",
    "dns12.quad9.net",
    "dns-nosec.quad9.net",
    "dns.opendns.com",
    "doh.opendns.com",
    "doh.familyshield.opendns.com",
    "doh.sandbox.opendns.com",
    "dns.umbrella.com",
    "doh.umbrella.com",
    "adguard-dns.com",
    "dns.adguard.com",
    "dns-family.adguard.com",
    "dns-unfiltered.adguard.com",
    "dns.nextdns.io",
    "dns1.nextdns.io",
    "dns2.nextdns.io",
    "dns.mullvad.net",
    "doh.mullvad.net",
    "dot.mullvad.net",
    "doh.cleanbrowsing.org",
    "adult-filter-dns.cleanbrowsing.org",
    "family-filter-dns.cleanbrowsing.org",
    "security-filter-dns.cleanbrowsing.org",
    "dns.controld.com",
    "freedns.controld.com",
    "dns0.eu",
    "joindns4.eu",
    "wikimedia-dns.org",
    "doh.dns.apple.com",
    "doh.xfinity.com",
    "basic.rethinkdns.com",
    "max.rethinkdns.com",
    "sky.rethinkdns.com",
    "dns.alidns.com",
    "dns.pub",
    "doh.pub",
    "dot.pub",
    "doh.360.cn",
    "dot.360.cn",
    "doh.dns.sb",
    "dot.sb",
    "dns.digitale-gesellschaft.ch",
    "dns.switch.ch",
    "dnsforge.de",
    "doh.ffmuc.net",
    "dot.ffmuc.net",
    "doh.applied-privacy.net",
    "dot1.applied-privacy.net",
    "doh.libredns.gr",
    "dot.libredns.gr",
    "odvr.nic.cz",
    "dns.njal.la",
    "anycast.uncensoreddns.org",
    "unicast.uncensoreddns.org",
    "ordns.he.net",
    "public.dns.iij.jp",
    "dns.twnic.tw",
    "dot.dns.yandex.net",
    "kaitain.restena.lu",
)


def encrypted_dns(
    role: RoleId, name: str, rules: Sequence[Rule], where: Position, ids: set[RuleId]
) -> tuple[Rule, ...]:
    """The rules behind the word, less what the role's own rules allow in so many words: the
    same name, the same ports, or (as for every address rule) a longer prefix.
    """
    made = []
    for text in RESOLVERS:
        pattern = parse_pattern(f".{text}")
        if ports := ANY.minus(_allowed_names(rules, pattern)):
            made.append(_rule(role, name, pattern, ports, where, ids))
    for prefix in EVERYWHERE:
        if ports := ENCRYPTED_PORTS.minus(_allowed_ports(rules, prefix)):
            made.append(_rule(role, name, prefix, ports, where, ids))
    return tuple(made)


def warn_of_ports(rules: Iterable[Rule], problems: Problems) -> None:
    """A name rule cannot open a port that is closed for every address: address rules come
    first in the order of judgement.
    """
    for rule in rules:
        if (
            rule.verdict is Verdict.ALLOW
            and isinstance(rule.what, Pattern)
            and _names_ports(rule)
            and rule.ports.intersect(ENCRYPTED_PORTS)
        ):
            problems.warn(
                rule.where,
                f"'{rule.text}' does not open DNS over TLS: encrypted-dns closes its port",
                "allow the address as well: 'allow: 192.0.2.1:853/tcp'",
            )


def _rule(
    role: RoleId,
    name: str,
    what: Pattern | Prefix,
    ports: PortSet,
    where: Position,
    ids: set[RuleId],
) -> Rule:
    text = f"deny {ENCRYPTED_WORD} {what.text}"
    found = rule_id(name, text, ids)
    ids.add(found)
    return Rule(
        id=found,
        role=role,
        verdict=Verdict.DENY,
        text=text,
        what=what,
        ports=ports,
        where=where,
        note="a way round this resolver",
    )


def _allowed_names(rules: Iterable[Rule], pattern: Pattern) -> PortSet:
    """What rules for the very same tree allow; an exact name wins by itself."""
    found = PortSet()
    for rule in rules:
        what = rule.what
        if (
            rule.verdict is Verdict.ALLOW
            and isinstance(what, Pattern)
            and what.suffix == pattern.suffix
            and what.kind in (Kind.TREE, Kind.BELOW)
        ):
            found = found.union(rule.ports)
    return found


def _allowed_ports(rules: Iterable[Rule], prefix: Prefix) -> PortSet:
    """What rules for every address allow by naming the port: `allow: 0.0.0.0/0` does not."""
    found = PortSet()
    for rule in rules:
        if rule.verdict is Verdict.ALLOW and rule.what == prefix and _names_ports(rule):
            found = found.union(rule.ports)
    return found


def _names_ports(rule: Rule) -> bool:
    tcp = PortSet((PortRange(PROTOCOLS["tcp"]),))
    udp = PortSet((PortRange(PROTOCOLS["udp"]),))
    return bool(tcp.minus(rule.ports)) and bool(udp.minus(rule.ports))
