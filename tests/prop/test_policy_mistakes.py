"""Whatever is wrong with a policy: dnsfw's own words, a place, and everything at once."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.problems import Problems
from dnsfw.policy.syntax_yaml import Path, read_document

GOOD: dict[str, Any] = {
    "version": 1, "default": "allow", "mode": "audit", "resolved_only": True,
    "inbound": [80, 443], "loopback": "own", "ttl": {"min": "5s", "max": "1h", "grace": "10s"},
    "qtypes": ["A", "TXT"], "guard": {"action": "log", "names": 5, "window": "5m", "rate": 50},
    "rules": [
        {"allow": ["x.com:443", "*.y.com:443"], "note": "n", "ttl": {"min": "1s"}, "private": True,
         "broad": True, "addresses": 5, "qtypes": "strict", "guard": "refuse"},
        {"allow": "k.com", "keep": True},
        {"deny": ".z.com", "shared": "deny", "close": "asked"},
        {"deny": {"list": "https://l.example/a", "format": "adblock", "ports": "443",
                  "optional": True, "refresh": "12h", "sha256": "a" * 64, "ca": "/ca.pem",
                  "limits": {"size": "1MiB", "lines": 5, "time": "1m", "refused": 5}}},
        {"allow": "10.0.0.0/8:53/udp"},
    ],
    "roles": {"web": {
        "default": "deny", "inbound": "tcp", "locked": True, "number": 3, "guard": "off",
        "subjects": [{"cgroup": "/a"}, {"uid": 1}, {"source": "10.0.0.0/8", "interface": "e0"},
                     {"executable": "/bin/x"}, {"via": "eth2", "role": "host"}],
        "rules": [{"allow": "w.com"}]}},
    "tests": [{"allow": "x.com:443", "role": "host", "answer": ["c.x.com", "192.0.2.1"]}],
    "dns": {
        "listen": ["127.0.0.1:53"], "refuse": "zero", "takeover": True, "xdp": ["eth0"],
        "upstreams": ["9.9.9.9", {"server": "tls://dns.quad9.net", "addresses": ["9.9.9.9"],
                                  "pin": ["sha256/" + "A" * 43 + "="], "trusted": True}],
        "nat64_prefix": "2001:db8:64::/96", "kernel_answers": "on"},
    "host": {"containers": True}, "tables": {"grants": 2048}, "degraded": "deny", "revision": 3,
    "log": {"names": "all", "retention": "7d", "size": "64M", "without": ["web"]},
}  # fmt: skip
VALUES: list[Any] = [
    None, True, 5, -1, 10**9, "zzz", "", "*", [], {}, [1], ["a", "a"], {"x": 1}, [[1]], "3.5",
    "x" * 300, "a b", "ä", "-1s", "0s", "999999999d", ["zzz", 5, None],
]  # fmt: skip
NOT_OURS = re.compile(
    r"input should|validation|pydantic|value is|string should|should have|Traceback"
    r"|\bTrue\b|\bFalse\b|\bNone\b|\['|\{'|\(ctx"
)
Mutant = tuple[Path, str, Any]  # where, and `=` a value, `+` an unknown key or `-` nothing


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    if at:
        yield at
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*at, index))


def value_at(value: Any, at: Path) -> Any:
    for part in at:
        value = value[part]
    return value


def mutants() -> list[Mutant]:
    found: list[Mutant] = []
    for at in paths(GOOD):
        found += [(at, "=", value) for value in VALUES]
        found.append((at, "-", None))
        if isinstance(value_at(GOOD, at), dict):
            found.append((at, "+", None))
    return Random(5).sample(found, 500)


def mutated(policy: Any, mutant: Mutant) -> Any:
    at, how, value = mutant
    made = copy.deepcopy(policy)
    around = value_at(made, at[:-1])
    if how == "=":
        around[at[-1]] = value
    elif how == "+":
        around[at[-1]]["zzkey"] = 1
    else:
        del around[at[-1]]
    return made


def errors(policy: Any) -> list[str]:
    try:
        compile_text(json.dumps(policy, indent=1, ensure_ascii=False), "p")
    except PolicyError as error:
        return str(error).splitlines()
    return []


def messages(policy: Any) -> set[str]:
    return {line.split(": ", 1)[1] for line in errors(policy)}


@cache
def wrong() -> list[tuple[Mutant, frozenset[str]]]:
    """The mutants that are mistakes, with what is said of each."""
    found = [(mutant, frozenset(messages(mutated(GOOD, mutant)))) for mutant in mutants()]
    return [(mutant, said) for mutant, said in found if said]


def test_the_policy_itself_is_good() -> None:
    assert errors(GOOD) == []


def test_every_mistake_is_told_in_our_own_words_at_its_place() -> None:
    for mutant in mutants():
        policy = mutated(GOOD, mutant)
        said = errors(policy)
        for line in said:
            assert re.match(r"p:\d+:\d+: \S", line), line
            assert not NOT_OURS.search(line), line
        if not said or mutant[1] != "=":
            continue
        document = read_document(json.dumps(policy, indent=1), "p", Problems())
        assert document is not None
        at = mutant[0] if not isinstance(mutant[0][-1], int) else mutant[0][:-1]
        near = {place.line for path, place in document.places.items() if path[: len(at)] == at}
        assert near & {int(line.split(":")[1]) for line in said}, (mutant, said)


def test_two_mistakes_are_told_at_once() -> None:
    random, compared = Random(6), 0
    while compared < 400:
        (one, first), (two, second) = random.sample(wrong(), 2)
        if hides(one[0], two[0]) or hides(two[0], one[0]):
            continue
        together = messages(mutated(mutated(GOOD, one), two))
        compared += 1
        assert first <= together and second <= together, (one, two, together)


def hides(one: Path, two: Path) -> bool:
    """Whether the second stands inside the first, is counted by it, or leans on it."""
    if two[: len(one)] == one or (isinstance(one[-1], int) and two[: len(one) - 1] == one[:-1]):
        return True
    leans = one[0] == "roles" and two[0] in ("tests", "log")  # on the names of roles
    return leans or (one[:4] == two[:4] and one[0] == "rules") or one[:2] == two[:2] == (
        "dns", "upstreams"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: [{allow: '*x.com', shared: deny, qtypes: FOO, ttl: {grace: 1s}}]",
         ["'*x.com' would match", "'shared' is for deny", "'FOO' is no type", "grace is at least"]),
        ("rules: [{allow: '*x.com', deny: 'a..b'}]",
         ["allow or deny, not both", "'*x.com' would match", "empty label"]),
        ("rules: [{deny: {list: no.txt, ports: x}, private: true}]",
         ["'private' is for allow", "no.txt: No such file", "'x'"]),
        ("dns: {upstreams: [{server: 'tls://x', addresses: [y], pin: [z], ca: w}]}",
         ["'tls://x'", "'y' is no address", "'z' is no pin", "'w': there is no such file"]),
        ("tests: [{allow: a..b, role: none, answer: [q..r]}]",
         ["no role 'none'", "'a..b'", "'q..r'"]),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_with_one_entry_is_told(text: str, told: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        compile_text(f"version: 1\ndefault: deny\n{text}\n", "p")

    for part in told:
        assert part in str(caught.value), str(caught.value)
