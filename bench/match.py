"""How long does it take to decide about a name, in policies of 10, 1,000 and 100,000 rules?

The peer scans a list of the same rules for the most specific one. A third of the rules
each is exact, `*.` and `.`; a few are globs and `+.`; the default is deny, so that the
octets of labels are checked too. Of the names asked, half meet a rule and half meet none.
Both must agree about every name before a clock runs.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from support import Contender, Report, Table, arguments, contest, each

from dnsfw.datapath import abi
from dnsfw.model import HOST, Name, RuleId, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.matcher import Matcher
from dnsfw.policy.pattern import Kind, Pattern, parse_pattern
from dnsfw.policy.ports import ANY
from dnsfw.policy.problems import Position
from dnsfw.policy.rule import Rule
from dnsfw.wire.name import from_text

SIZES = (10, 1_000, 100_000)
COMPILED = (10, 1_000)  # a text of 100,000 lines is for `list:` files, not for YAML
NAMES = 1_000
SCANNED = 2_000_000  # rules that a round of the naive scan looks at, at most
_FORMS = ("{}", "*.{}", ".{}") * 3 + ("+.{}", "api-*.{}")


def main() -> None:
    options = arguments(__doc__)
    report = Report("match")
    for size in SIZES:
        report.tables.append(_contest(size, options.rounds))
    report.tables.append(_compiling(options.rounds))
    report.publish(options)


def patterns(count: int, rng: random.Random) -> list[str]:
    """Different patterns below different domains, as a block list has them."""
    tops = ("com", "net", "org", "co.uk", "example", "cloud.example")
    return [
        rng.choice(_FORMS).format(f"{_word(rng)}{i:x}.{rng.choice(tops)}") for i in range(count)
    ]


def names(written: list[str], rng: random.Random) -> list[Name]:
    """Half of the names meet a rule, half look like it."""
    made = []
    for i in range(NAMES):
        base = rng.choice(written).lstrip("*+.").replace("api-*.", "")
        if i % 2:
            base = f"{_word(rng)}-{base}"
        made.append(from_text(rng.choice(("", "www.", "api-7.", "a.b.")) + base))
    return made


def _contest(size: int, rounds: int) -> Table:
    rng = random.Random(size)
    written = patterns(size, rng)
    rules = [_rule(number, text) for number, text in enumerate(written)]
    asked = names(written, rng)
    judge = Matcher(rules, Verdict.DENY).judge
    scan = _scanner(rules)
    few = asked[: max(1, min(NAMES, SCANNED // size))]
    for name in few:
        if judge(name).rule is not scan(name):
            sys.exit(f"the scan and dnsfw disagree about {name!r}")
    return contest(
        f"{size:,} rules, a name",
        "µs",
        [
            Contender("dnsfw", lambda: each(judge, asked), "list scan"),
            Contender("list scan", lambda: each(scan, few)),
        ],
        rounds,
    )


def _compiling(rounds: int) -> Table:
    contenders = []
    for size in COMPILED:
        lines = [f"  - deny: '{text}'\n" for text in patterns(size, random.Random(size))]
        text = "version: 1\ndefault: allow\nrules:\n" + "".join(lines)
        contenders.append(Contender(f"compile a file of {size:,} rules", _timed(text)))
    return contest("a policy from YAML", "ms", contenders, min(rounds, 3))


def _timed(text: str) -> Callable[[], float]:
    def run() -> float:
        start = time.process_time()
        compile_text(text)
        return (time.process_time() - start) * 1000

    return run


def _scanner(rules: list[Rule]) -> Callable[[Name], Rule | None]:
    """The obvious way: try every rule, keep the best."""
    rows = [
        (rule.what.kind, rule.what.suffix, rule.what, rule)
        for rule in rules
        if isinstance(rule.what, Pattern)
    ]

    def scan(name: Name) -> Rule | None:
        best, found = (-1, -1, -1), None
        for kind, suffix, what, rule in rows:
            if not name.endswith(suffix):
                continue
            front = name[: len(name) - len(suffix)]
            if (score := _score(kind, what, front, suffix)) > best:
                best, found = score, rule
        return found

    return scan


def _score(kind: Kind, what: Pattern, front: bytes, suffix: bytes) -> tuple[int, int, int]:
    """How specific a match is; (-1, -1, -1) is none. `front` is what stands before the suffix."""
    labels = 0
    at = 0
    while at < len(front):
        labels += 1
        at += front[at] + 1
    if at != len(front):  # the suffix began inside a label
        return (-1, -1, -1)
    fits = {
        Kind.EXACT: labels == 0,
        Kind.TREE: True,
        Kind.BELOW: labels >= 1,
        Kind.ONE: labels == 1,
        Kind.GLOB: labels == 1 and what.globs(front[1:]),
    }[kind]
    if not fits:
        return (-1, -1, -1)
    rank = {Kind.EXACT: 0, Kind.GLOB: 3, Kind.ONE: 2, Kind.BELOW: 1, Kind.TREE: 1}[kind]
    return (int(kind is Kind.EXACT), len(suffix), rank)


def _rule(number: int, text: str) -> Rule:
    return Rule(
        id=RuleId(int(abi.RuleId.FIRST) + number),
        role=HOST,
        verdict=Verdict.ALLOW,
        text=f"allow {text}",
        what=parse_pattern(text),
        ports=ANY,
        where=Position("bench", number + 1, 1),
    )


def _word(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 12)))


if __name__ == "__main__":
    main()
