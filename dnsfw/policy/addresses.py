"""Address rules: one ordered list for every prefix, so that the kernel needs one look-up."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from dnsfw.model import Addr, FixedEntry, FixedRule, Reason, RoleId, RuleId, Verdict, abi
from dnsfw.policy.ports import KNOWN, take
from dnsfw.policy.prefix import MAPPED, Prefix
from dnsfw.policy.rule import Rule, Share
from dnsfw.values import dataclass

BUILTIN_RULE = RuleId(abi.RuleId.BUILTIN)

# Services that hand out credentials to whoever can send a packet.
METADATA = tuple(
    Prefix.of(ip_network(text))
    for text in (
        "169.254.169.254",  # AWS, Azure, GCP, OpenStack, Oracle, DigitalOcean
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fd20:ce::254",  # GCP over IPv6
        "fe80::a9fe:a9fe",  # OpenStack over IPv6
        "168.63.129.16",  # Azure wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle classic
        "169.254.0.23",  # Tencent
        "169.254.42.42",  # Scaleway
        "fd00:42::42",  # Scaleway over IPv6
    )
)


@dataclass(frozen=True, slots=True)
class _Line:
    """A rule or a built-in deny, with what the order of a list depends on."""

    prefix: Prefix
    fixed: FixedRule
    rule: Rule | None
    order: int


class AddressTable:
    """The address rules of one role: the kernel's `fixed` table, and the same look-up here."""

    __slots__ = ("_lengths", "_lines", "_shares", "entries", "too_long")

    def __init__(self, role: RoleId, rules: Iterable[Rule], metadata: bool) -> None:
        lines = [
            _Line(rule.what, _fixed(rule), rule, at)
            for at, rule in enumerate(rules)
            if isinstance(rule.what, Prefix)
        ]
        if metadata:
            builtin = FixedRule(BUILTIN_RULE, KNOWN, Verdict.DENY)
            lines += [_Line(prefix, builtin, None, len(lines)) for prefix in METADATA]
        self._lines: dict[Prefix, list[_Line]] = {}
        for line in lines:
            self._lines.setdefault(line.prefix, []).append(line)
        self.too_long: list[tuple[Prefix, tuple[Rule, ...]]] = []
        entries = []
        self._shares: dict[tuple[int, int], tuple[Share, ...]] = {}
        prefixes = self._all_prefixes()
        self._lengths = sorted({prefix.bits for prefix in prefixes}, reverse=True)
        for prefix in prefixes:
            found = self._list_for(prefix)
            if len(found) > abi.Limit.FIXED_ENTRIES:
                self.too_long.append((prefix, tuple(line.rule for line in found if line.rule)))
            entries.append(
                FixedEntry(role, prefix.addr, prefix.bits, tuple(line.fixed for line in found))
            )
            self._shares[prefix.bits, prefix.number] = _shares(found)
        self.entries = tuple(entries)

    def shares(self, addr: Addr) -> tuple[Share, ...]:
        """What address rules and built-in denies say of an address; ports that no share
        holds are not theirs to judge.
        """
        number = int.from_bytes(addr, "big")
        for bits in self._lengths:
            found = self._shares.get((bits, number >> (128 - bits)))
            if found is not None:
                return found
        return ()

    def covering(self, addr: Addr) -> list[Rule | None]:
        """Every rule whose prefix holds the address, best first (None: a built-in deny)."""
        return [line.rule for line in self._sorted_for(Prefix(addr, 128))]

    def _all_prefixes(self) -> list[Prefix]:
        """The prefixes that need an entry. IPv4 lives inside ::ffff:0:0/96: where a wider
        IPv6 prefix spans it, an entry of its own keeps that prefix away from IPv4.
        """
        found = set(self._lines)
        mapped = Prefix(MAPPED, 96)
        number = int.from_bytes(MAPPED, "big")
        if any(p.bits < 96 and number >> (128 - p.bits) == p.number for p in found):
            found.add(mapped)
        return sorted(found, key=lambda p: (p.bits, p.addr))

    def _list_for(self, prefix: Prefix) -> list[_Line]:
        """The ordered list of one entry, without lines that can never decide."""
        left = KNOWN
        kept = []
        for line in self._sorted_for(prefix):
            mine, rest = take(line.fixed.ports, left)
            if mine:
                kept.append(line)
            if not line.fixed.ends:  # when it ends, what stands behind it decides again
                left = rest
        return kept

    def _sorted_for(self, prefix: Prefix) -> list[_Line]:
        """Longest prefix first, then temporary rules, then deny; a built-in deny yields to rules
        of its own prefix, because only a prefix inside it lifts it.
        """
        found = [
            line
            for bits in self._lengths
            if (outer := prefix.shortened(bits))
            for line in self._lines.get(outer, ())
        ]
        return sorted(
            found,
            key=lambda x: (
                -x.prefix.bits, x.rule is None, x.rule is None or x.rule.until is None,
                int(x.fixed.verdict), x.order,
            ),
        )  # fmt: skip


def _fixed(rule: Rule) -> FixedRule:
    return FixedRule(rule.id, rule.ports, rule.verdict, rule.until is not None)


def _shares(lines: Iterable[_Line]) -> tuple[Share, ...]:
    left = KNOWN
    shares = []
    for line in lines:
        mine, left = take(line.fixed.ports, left)
        if mine:
            reason = Reason.ADDRESS_RULE if line.rule else Reason.BUILTIN
            shares.append(Share(mine, line.fixed.verdict, line.rule, reason))
    return tuple(shares)
