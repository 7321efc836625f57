"""The values a compiled policy is made of: rules, and what they say of a name."""

from __future__ import annotations

from hashlib import blake2s
from typing import Literal, NamedTuple

from dnsfw.model import Nanos, PortRange, PortSet, Reason, RoleId, RuleId, Verdict, abi
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.ports import ANY, PROTOCOLS
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Position
from dnsfw.policy.questions import Guard, Types
from dnsfw.values import dataclass

MIN_GRACE = 2  # seconds: less and a client's connect can lose the race against its own TTL
_ALL_TCP = PortSet((PortRange(PROTOCOLS["tcp"], 1),))
_ID_SPACE = 0x1_0000_0000 - int(abi.RuleId.FIRST)


@dataclass(frozen=True, slots=True)
class Ttl:
    """How long a grant may live, in seconds: the answer's TTL within min..max, plus grace."""

    min: int = 5
    max: int = 3600
    grace: int = 10


@dataclass(frozen=True, slots=True)
class ListName:
    """What a list's own rule is about: neither a name nor a prefix, but a file of them."""

    text: str  # as the policy wrote it


@dataclass(frozen=True, slots=True)
class Rule:
    """One `allow` or `deny` of one destination. `text` is canonical and names the rule."""

    id: RuleId
    role: RoleId
    verdict: Verdict
    text: str
    what: Pattern | Prefix | ListName
    ports: PortSet
    where: Position
    ttl: Ttl = Ttl()
    private: bool = False
    shared: Literal["allow", "deny"] = "allow"
    close: Literal["asked"] | None = None
    addresses: int | None = None  # how many its names may hold at once
    keep: bool = False  # resolved at load, and again before it expires
    qtypes: Types | None = None  # that may be asked for; None: as the role says
    guard: Guard | None = None  # how much names may say; None: as the role says
    note: str = ""
    listed: bool = False  # an entry of a list: at equal rank the policy's own rule wins
    until: Nanos | None = None  # CLOCK_BOOTTIME; of a temporary rule: at equal rank it wins

    @property
    def refuses_all(self) -> bool:
        """Whether it refuses a whole address family, over names and all: a frequent mistake."""
        everything = self.what.text in ("0.0.0.0/0", "[::]/0")
        return everything and self.verdict is Verdict.DENY and not _ALL_TCP.minus(self.ports)


class Share(NamedTuple):
    """What happens to these ports of a name, and because of what (no rule: the default)."""

    ports: PortSet
    verdict: Verdict
    rule: Rule | None
    reason: Reason


class Judgement(NamedTuple):
    """What a policy says of a name: disjoint shares that together cover every known protocol.

    `best` is the share to credit or to blame; its reason is the judgement's.
    """

    shares: tuple[Share, ...]
    answered: bool
    best: Share

    @property
    def reason(self) -> Reason:
        return self.best.reason

    @property
    def verdict(self) -> Verdict:
        return Verdict.ALLOW if self.answered else Verdict.DENY

    @property
    def rule(self) -> Rule | None:
        return self.best.rule

    def share(self, proto: int, port: int) -> Share:
        """The share that holds a port; a protocol nobody lists goes with the last one."""
        return next((s for s in self.shares if s.ports.covers(proto, port)), self.shares[-1])

    def is_over(self, now: Nanos) -> bool:
        """Whether what it opens it opened for a time that has passed."""
        return any(
            share.rule is not None and share.rule.until is not None and share.rule.until <= now
            for share in self.shares
            if share.verdict is Verdict.ALLOW
        )

    @classmethod
    def of(cls, shares: tuple[Share, ...]) -> Judgement:
        """The first share that allows is credited; if none does, the first is blamed.

        What only the default allows counts within tcp, udp and icmp alone: `deny: x.com`
        (which is these three) must refuse the name though SCTP to it stays with the default.
        """
        for share in shares:
            if share.verdict is Verdict.ALLOW and (share.rule or share.ports.intersect(ANY)):
                return cls(shares, True, share)
        return cls(shares, False, shares[0])


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one destination, protocol and port, with the rule that lost to it."""

    verdict: Verdict
    rule: Rule | None
    reason: Reason
    runner_up: Rule | None = None
    why: str = ""  # why the runner-up lost; or what else the operator should know


def rule_id(role: str, text: str, taken: frozenset[RuleId] | set[RuleId]) -> RuleId:
    """An id that depends on the role's name and the rule's text alone, so that it survives
    reloads and restarts without a registry. A collision moves on by one.
    """
    digest = blake2s(f"{role}\n{text}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big") % _ID_SPACE
    while (found := RuleId(int(abi.RuleId.FIRST) + number)) in taken:
        number = (number + 1) % _ID_SPACE
    return found
