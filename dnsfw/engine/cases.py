"""Runs the tests of a policy: through the same judgement, and where an answer is given through
the engine itself, with the answer from a scripted upstream. Nothing leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnsfw.engine.rehearsal import open_ports, rehearse
from dnsfw.errors import PolicyError
from dnsfw.model import Name, Reason, Verdict, addr_text
from dnsfw.policy.case import Case
from dnsfw.policy.explain import explain_asked
from dnsfw.policy.policy import Policy
from dnsfw.values import dataclass

__all__ = ["Result", "require_tests", "run_cases", "said"]


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
    """Allowed when every address of the answer is told, and open to the ports asked for."""
    judged, role = _judged(policy, case), policy.roles[case.role]
    if judged.verdict is Verdict.DENY and role.default is Verdict.DENY:
        return judged
    name = Name(case.asked.to)
    found = rehearse(policy, case.role, name, case.chain, case.addresses)
    for addr in case.addresses:
        told = addr in found.told or judged.verdict is Verdict.DENY
        if not told or not open_ports(role, addr, found.entries.get(addr), case.asked.ports):
            why = f"{addr_text(addr)} is not open after that answer"
            return Result(case, Verdict.DENY, judged.rule, judged.where, Reason.FILTERED, why)
    return judged
