"""Runs the tests of a policy: through the same judgement, and where an answer is given through
the engine itself, with the answer from a scripted upstream. Nothing leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from dnsfw.engine.effects import Ask, Client, Effect, OpenThenReply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.errors import PolicyError
from dnsfw.model import SECOND, Addr, Entry, Name, Nanos, PortSet, Reason, Verdict, addr_text
from dnsfw.policy.case import Case
from dnsfw.policy.explain import explain_asked
from dnsfw.policy.policy import Policy
from dnsfw.wire import reply
from dnsfw.wire.message import AAAA, CNAME, A, Rcode, Record, read_query

__all__ = ["Result", "require_tests", "run_cases", "said"]

_NOW = Nanos(1_000_000 * SECOND)
_TTL = 300


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case, and why."""

    case: Case
    verdict: Verdict
    rule: str  # the text of the rule; empty where none decided
    where: str  # its place
    reason: Reason
    why: str  # in words, for a case that failed

    @property
    def ok(self) -> bool:
        named = not self.case.by or self.case.by == self.rule
        return self.verdict is self.case.expect and named


def run_cases(policy: Policy, cases: Iterable[Case]) -> Iterator[Result]:
    """Each case in order. Never raises for a policy that compiled."""
    for case in cases:
        yield _with_answer(policy, case) if case.addresses else _judged(policy, case)


def said(result: Result) -> str:
    """What came instead, and because of what."""
    case = result.case
    got = "allowed" if result.verdict else "denied"
    if result.verdict is case.expect:
        return f"{got} {result.why}, not by {case.by}"
    return f"{got}: {result.why}" + (f" ({result.where})" if result.where else "")


def require_tests(policy: Policy) -> None:
    """PolicyError, a line each, when a test of the policy's own fails."""
    failed = [result for result in run_cases(policy, policy.tests) if not result.ok]
    if failed:
        raise PolicyError("\n".join(map(_complaint, failed)))


def _complaint(result: Result) -> str:
    return f"{result.case.where}: test fails: {result.case.title}: {said(result)}"


def _judged(policy: Policy, case: Case) -> Result:
    found = explain_asked(policy.roles[case.role], case.asked)
    rule = found.best.rule
    said = f"{found.best.reason.name.lower().replace('_', '-')}"
    return Result(
        case,
        found.verdict,
        rule.text if rule else "",
        str(rule.where) if rule else "",
        found.best.reason,
        f"by {rule.text}" if rule else f"by {said}",
    )


def _with_answer(policy: Policy, case: Case) -> Result:
    """Allowed when every address of the answer is open to the ports that were asked for."""
    judged = _judged(policy, case)
    if judged.verdict is Verdict.DENY and policy.roles[case.role].default is Verdict.DENY:
        return judged
    opened = _opened(policy, case)
    for addr in case.addresses:
        if not _passes(policy, case, addr, opened.get(addr)):
            why = f"{addr_text(addr)} is not open after that answer"
            return Result(case, Verdict.DENY, judged.rule, judged.where, Reason.FILTERED, why)
    return judged


def _passes(policy: Policy, case: Case, addr: Addr, entry: Entry | None) -> bool:
    """As the kernel judges: address rules, grants (a fresh engine closes none), the default."""
    role = policy.roles[case.role]
    asked = case.asked.ports
    for share in role.addr_shares(addr):
        if share.ports.intersect(asked):
            return share.verdict is Verdict.ALLOW
    left: PortSet = asked
    for grant in entry.grants if entry else ():
        left = left.minus(grant.ports)
    if left != asked:
        return True
    return role.default is Verdict.ALLOW and not role.resolved_only


def _opened(policy: Policy, case: Case) -> dict[Addr, Entry]:
    """What the engine opens when the name is asked for and answered so."""
    engine = Engine(policy, 1, Random(0))
    client = Client(None, case.role, Transport.TCP)
    name = Name(case.asked.to)
    found: dict[Addr, Entry] = {}
    for qtype, size in ((A, 4), (AAAA, 16)):
        packed = [p for a in case.addresses if len(p := _packed(a)) == size]
        if not packed:
            continue
        effects = engine.on_query(reply.write_query(1, name, qtype), client, _NOW)
        for ask in [effect for effect in effects if isinstance(effect, Ask)]:
            records = list(_records(name, case.chain, qtype, packed))
            query = read_query(ask.wire)
            wire = reply.write_reply(query, Rcode.NOERROR, records, limit=65535)
            effects = engine.on_answer(ask.ask, wire, _NOW)
        found |= {entry.addr: entry for entry in _entries(effects)}
    return found


def _entries(effects: Iterable[Effect]) -> Iterator[Entry]:
    for effect in effects:
        if isinstance(effect, OpenThenReply):
            yield from effect.entries


def _records(
    name: Name, chain: tuple[Name, ...], qtype: int, packed: Iterable[bytes]
) -> Iterator[Record]:
    owner = name
    for target in chain:
        yield Record(owner, CNAME, 1, _TTL, target)
        owner = target
    for data in packed:
        yield Record(owner, qtype, 1, _TTL, data)


def _packed(addr: Addr) -> bytes:
    return addr[12:] if addr.startswith(bytes(10) + b"\xff\xff") else addr
