"""A compiled policy: the one thing that `check`, `explain`, the DNS path and the kernel's
tables are made from, so that they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Any, Literal

from dnsfw.errors import ConfigError
from dnsfw.model import (
    DEFAULT_RULE,
    HOST,
    SECOND,
    Addr,
    Inbound,
    Loopback,
    Mode,
    Name,
    Nanos,
    Plan,
    PortSet,
    RoleId,
    RolePlan,
    RuleId,
    Subject,
    Verdict,
    addr_text,
)
from dnsfw.policy.addresses import BUILTIN_RULE, AddressTable
from dnsfw.policy.compile_log import LogSettings
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.matcher import Matcher
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.ports import describe
from dnsfw.policy.problems import Position, Problem, shown
from dnsfw.policy.questions import Questions
from dnsfw.policy.remote import Remote, Texts
from dnsfw.policy.rule import Decision, Judgement, Rule, Share, Ttl
from dnsfw.policy.upstream import Upstream
from dnsfw.values import dataclass

if TYPE_CHECKING:  # it reads policies, and that takes pydantic
    from dnsfw.policy.case import Case

HOST_NAME = "host"
NO_PORTS = PortSet()
Refusal = Literal["nxdomain", "refused", "nodata", "zero"]
PrivateAnswers = Literal["allow", "deny"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port to listen on or to ask."""

    addr: Addr
    port: int

    def __str__(self) -> str:
        text = addr_text(self.addr)
        return f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How the proxy listens, asks and refuses. `system` among the upstreams is None."""

    listen: tuple[Endpoint, ...]
    upstreams: tuple[Upstream | None, ...]
    refuse: Refusal = "nxdomain"
    takeover: bool = False
    private: PrivateAnswers = "allow"
    nat64: tuple[IPv6Network, ...] = ()  # translation prefixes of this network, beside RFC 6052's
    kernel_answers: bool = True  # repeated questions are answered by BPF
    xdp: tuple[str, ...] = ()  # devices on which that happens before the host's own stack
    workers: int = 1  # processes that answer over UDP; 0: one a CPU


@dataclass(frozen=True, slots=True)
class Access:
    """Who may begin a conversation with a role, and what it reaches on loopback. Ports count
    only where the word is PORTS.
    """

    inbound: Inbound = Inbound.ALL
    inbound_ports: PortSet = NO_PORTS
    loopback: Loopback = Loopback.ALL
    loopback_ports: PortSet = NO_PORTS

    @property
    def inbound_text(self) -> str:
        """`deny`, `tcp`, `all`, or the ports."""
        if self.inbound is Inbound.PORTS:
            return describe(self.inbound_ports)
        return self.inbound.name.lower()

    @property
    def loopback_text(self) -> str:
        """`all`, `own`, or the ports."""
        if self.loopback is Loopback.PORTS:
            return describe(self.loopback_ports)
        return self.loopback.name.lower()


class RolePolicy:
    """The rules and the default of one role, ready to judge."""

    __slots__ = (
        "_matcher",
        "access",
        "addresses",
        "closes",
        "default",
        "implied",
        "judge",
        "keeps",
        "lists",
        "locked",
        "metadata",
        "mode",
        "name",
        "paused",
        "questions",
        "resolved_only",
        "role",
        "rules",
        "rules_by_id",
        "takeover",
        "ttl",
    )

    def __init__(
        self,
        role: RoleId,
        name: str,
        default: Verdict,
        rules: tuple[Rule, ...],
        *,
        mode: Mode = Mode.ENFORCE,
        resolved_only: bool = False,
        metadata: bool = False,
        ttl: Ttl | None = None,
        access: Access | None = None,
        takeover: bool = False,
        implied: tuple[Rule, ...] = (),
        lists: tuple[NameList, ...] = (),
        locked: bool = False,
        paused: Nanos | None = None,
        questions: Questions | None = None,
    ) -> None:
        self.role = role
        self.name = name
        self.default = default
        self.rules = rules
        self.mode = mode
        self.resolved_only = resolved_only
        self.metadata = metadata or default is Verdict.DENY
        self.access = access or Access()
        self.takeover = takeover
        self.implied = implied  # what a word stands for: judged like rules, not written as such
        self.lists = lists
        self.locked = locked  # nothing temporary on top of it
        self.paused = paused  # it audits no longer than until then
        self.questions = questions or Questions.under(default, None, None)
        every = rules + implied
        self.ttl = ttl or Ttl()  # for names that only the default speaks for
        self.rules_by_id: Mapping[RuleId, Rule] = {rule.id: rule for rule in every}
        listed = tuple(rule for names in lists for rule in names.prefixes)
        self.addresses = AddressTable(role, every + listed, self.metadata)
        self._matcher = Matcher(every, default, lists)
        self.judge = self._matcher.judge  # bound once: judge(name) -> Judgement, the hot path
        self.closes = tuple(self._closes())
        self.keeps = tuple(self._keeps())

    def __getstate__(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__ if key != "judge"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)
        self.judge = self._matcher.judge

    def with_temporary(self, rules: tuple[Rule, ...], paused: Nanos | None) -> RolePolicy:
        """The same role with these rules on top, and in audit until then."""
        return RolePolicy(
            self.role, self.name, self.default, rules + self.rules,
            mode=self.mode if paused is None else Mode.AUDIT,
            resolved_only=self.resolved_only, metadata=self.metadata, ttl=self.ttl,
            access=self.access, takeover=self.takeover, implied=self.implied, lists=self.lists,
            locked=self.locked, paused=None if self.mode is Mode.AUDIT else paused,
            questions=self.questions,
        )  # fmt: skip

    def ranked(self, name: Name) -> list[Rule]:
        """Every rule that matches the name, best first."""
        return self._matcher.ranked(name)

    def judge_addr(self, addr: Addr, proto: int, port: int) -> Decision | None:
        """What an address rule or a built-in deny decides; None where they are silent."""
        for share in self.addresses.shares(addr):
            if share.ports.covers(proto, port):
                return Decision(share.verdict, share.rule, share.reason)
        return None

    def addr_shares(self, addr: Addr) -> tuple[Share, ...]:
        """The ports of an address that its own rules judge, whatever name holds it."""
        return self.addresses.shares(addr)

    def reachable(self, addr: Addr, ports: PortSet) -> PortSet:
        """What is left of a grant's ports on this address: address rules beat names."""
        for share in self.addresses.shares(addr):
            if share.verdict is Verdict.DENY:
                ports = ports.minus(share.ports)
        return ports

    def allows_private(self, addr: Addr) -> bool:
        """Whether an address rule opens some port of it, so that an answer may hold it."""
        return any(share.verdict is Verdict.ALLOW for share in self.addresses.shares(addr))

    def plan(self) -> RolePlan:
        return RolePlan(
            self.role,
            self.default,
            self.mode,
            self.resolved_only,
            self.access.inbound,
            self.access.inbound_ports,
            self.access.loopback,
            self.access.loopback_ports,
            self.takeover,
            0 if self.paused is None else -(-self.paused // SECOND),
        )

    def _keeps(self) -> list[Name]:
        """The exact names of rules with `keep: true`, where the rule opens some port."""
        found: dict[Name, None] = {}
        for rule in self.rules:
            if rule.keep and isinstance(rule.what, Pattern) and rule.what.kind is Kind.EXACT:
                judgement: Judgement = self.judge(rule.what.suffix)
                if any(share.rule is rule for share in judgement.shares):
                    found[rule.what.suffix] = None
        return list(found)

    def _closes(self) -> list[tuple[Name, Rule]]:
        """The names whose addresses a block list closes by itself (promise 7): exact denied
        names and the apex of `.x`, where the rule has the last word on some port.
        """
        found: list[tuple[Name, Rule]] = []
        if self.default is Verdict.DENY:
            return found
        for rule in self.rules + self.implied:
            what = rule.what
            if rule.verdict is Verdict.ALLOW or not isinstance(what, Pattern):
                continue
            if what.kind not in (Kind.EXACT, Kind.TREE):
                continue
            judgement: Judgement = self.judge(what.suffix)
            if any(share.rule is rule for share in judgement.shares):
                found.append((what.suffix, rule))
        return found


@dataclasses.dataclass(frozen=True, slots=True)  # one field of it is no part of what it is
class Policy:
    """Every role's rules, and the settings that belong to no role."""

    roles: Mapping[RoleId, RolePolicy]
    dns: DnsSettings
    sources: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    subjects: tuple[Subject, ...] = ()  # in the file's order; their rank is the kernel's
    places: Mapping[Subject, Position] = field(default_factory=dict)
    tests: tuple[Case, ...] = ()
    degraded: bool = False  # start although a wanted hook cannot be attached
    containers: bool = False  # guard sockets of other network namespaces as `host` too
    tables: Mapping[str, int] = field(default_factory=dict)  # how much each holds: grants, flows
    revision: int | None = None  # only grows
    remotes: tuple[Remote, ...] = ()  # what of it comes over https
    texts: Texts | None = field(default=None, repr=False, compare=False)  # it was read from
    numbers: Mapping[int, RoleId] = field(default_factory=dict)  # of an older enrolment socket
    log: LogSettings = field(default_factory=LogSettings)

    @property
    def host(self) -> RolePolicy:
        return self.roles[HOST]

    @property
    def role_names(self) -> dict[RoleId, str]:
        """The name of each role, `host` first, then in the file's order."""
        return {number: role.name for number, role in self.roles.items()}

    @property
    def role_ids(self) -> dict[str, RoleId]:
        """The id of each named role: what a later `load` takes as `known`."""
        return {role.name: number for number, role in self.roles.items() if number != HOST}

    def role_id(self, name: str) -> RoleId:
        """The id of a role. ConfigError, with what was probably meant, when there is none."""
        if name == HOST_NAME:
            return HOST
        ids = self.role_ids
        if name in ids:
            return ids[name]
        from difflib import get_close_matches  # only who errs pays for it

        near = get_close_matches(name, [HOST_NAME, *ids], n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"known is {', '.join([HOST_NAME, *ids])}"
        raise ConfigError(f"no role is called {shown(name)}; {hint}")

    def rule(self, rule: RuleId) -> Rule | None:
        """The rule of an id that the kernel or a grant names; None for built-in ids."""
        for role in self.roles.values():
            if found := role.rules_by_id.get(rule):
                return found
        return None

    def plan(self) -> Plan:
        """The policy as the kernel sees it. DEFAULT lives while a default lets something
        pass: when it dies, so do the flows it allowed.
        """
        alive = {BUILTIN_RULE}
        ends: dict[RuleId, int] = {}
        for role in self.roles.values():
            alive.update(role.rules_by_id)
            for rule in role.rules:
                if rule.until is not None:
                    ends[rule.id] = -(-rule.until // SECOND)
        if any(r.default is Verdict.ALLOW or r.mode is Mode.AUDIT for r in self.roles.values()):
            alive.add(DEFAULT_RULE)
        return Plan(
            roles=tuple(role.plan() for role in self.roles.values()),
            fixed=tuple(entry for role in self.roles.values() for entry in role.addresses.entries),
            rules=frozenset(alive),
            ends=tuple(ends.items()),
        )
