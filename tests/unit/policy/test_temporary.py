"""What holds for a time on top of a policy."""

from __future__ import annotations

import pytest

from dnsfw.errors import ConfigError
from dnsfw.model import Mode, Nanos, Verdict, addr_text
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.policy.temporary import Temporary, canonical, decides, on_top
from dnsfw.wire.name import from_text

UNTIL = Nanos(7)
POLICY = """\
version: 1
default: allow
rules:
  - deny: evil.example
  - deny: 192.0.2.0/24
  - deny: "*.wild.example"
roles:
  web: {subjects: [{uid: 4241}], rules: [{allow: a.example}]}
  vault: {subjects: [{uid: 4242}], locked: true}
"""


def made(word: str, to: str, role: str = "host") -> Temporary:
    return Temporary(word, to, role, UNTIL)


@pytest.fixture(name="policy")
def compiled() -> Policy:
    return compile_text(POLICY)


def topped(policy: Policy, *items: Temporary) -> Policy:
    found, refused = on_top(policy, [canonical(policy, item) for item in items])
    assert not refused
    return found


def test_at_equal_rank_the_temporary_rule_wins(policy: Policy) -> None:
    new = topped(policy, made("allow", "evil.example"), made("allow", "192.0.2.0/24:443"))

    assert new.host.judge(from_text("evil.example")).verdict is Verdict.ALLOW
    shares = new.host.addr_shares(new.host.addresses.entries[0].addr)
    assert [share.verdict for share in shares] == [Verdict.ALLOW, Verdict.DENY], addr_text
    assert policy.host.judge(from_text("evil.example")).verdict is Verdict.DENY


def test_what_is_written_alike_keeps_its_id(policy: Policy) -> None:
    new = topped(policy, made("allow", "a.example", "web"))

    web = new.roles[new.role_id("web")]
    assert len({rule.id for rule in web.rules}) == 2
    assert web.judge(from_text("a.example")).rule is web.rules[0]
    assert web.rules[0].until == UNTIL
    assert topped(policy, made("allow", "a.example", "web")).roles[web.role].rules == web.rules


def test_a_longer_rule_still_decides_and_is_named(policy: Policy) -> None:
    item = canonical(policy, made("allow", ".example"))
    new = topped(policy, item)

    assert new.host.judge(from_text("evil.example")).verdict is Verdict.DENY
    assert decides(new, item) == ""
    below = canonical(policy, made("deny", ".a.example", "web"))
    assert "'allow a.example'" in decides(topped(policy, below), below)


def test_a_pause_is_mode_audit(policy: Policy) -> None:
    alone = topped(policy, Temporary("pause", "", "web", UNTIL))

    assert {role.name for role in alone.roles.values() if role.mode is Mode.AUDIT} == {"web"}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (made("allow", "*.com"), "anybody can register"),
        (made("allow", "a b"), "a b"),
        (made("deny", "metadata"), "word of policy files"),
        (made("allow", "x.example", "nobody"), "no role is called"),
        (made("allow", "x.example", "vault"), "locks vault"),
        (Temporary("pause", "", "", UNTIL), "locks vault"),
    ],
)
def test_what_the_policy_does_not_take(policy: Policy, item: Temporary, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("*", ".")):
        canonical(policy, item)
    new, refused = on_top(policy, [item])
    assert new is policy and told in refused[item]


def test_nothing_on_top_is_the_policy_itself(policy: Policy) -> None:
    assert on_top(policy, ()) == (policy, {})
