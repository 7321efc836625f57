"""What the kernel may refuse by itself is what the policy refuses, for the same reason."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.model import HOST, Name, Reason, RoleId, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.fingerprints import compile_prints, own_suffixes, refuses
from dnsfw.policy.listed_prints import empty
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text
from tests.support.prints import (
    DEFAULT,
    KEY,
    ODD,
    PASS,
    Walk,
    complaint,
    image_of,
    odd_name,
    random_policy,
)


def said(walk: Walk, name: str, role: RoleId = HOST) -> int:
    return walk.outcome(from_text(name), role)


def walk_of(text: str, file: str = "<text>") -> Walk:
    return Walk(image_of(compile_text("version: 1\n" + text, file)))


def rule_text(walk: Walk, outcome: int) -> str:
    rule = walk.image.blames[outcome - DEFAULT].rule
    return rule.text if rule else ""


@pytest.mark.parametrize("seed", range(40))
def test_no_refusal_that_the_policy_does_not_speak(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    policy = random_policy(rng, tmp_path)
    walk = Walk(image_of(policy))
    refused = passed = 0
    for _ in range(400):
        name = odd_name(rng)
        for role in policy.roles:
            outcome = walk.outcome(name, role)
            assert complaint(walk.image, policy, name, role, outcome) == "", (name, role)
            if not policy.roles[role].judge(name).answered and refuses(policy.roles[role]):
                refused += 1
                passed += outcome == PASS
    assert refused >= passed


def test_under_default_deny_a_name_that_no_rule_names_is_refused() -> None:
    walk = walk_of('default: deny\nrules: [allow: "x.com:443", allow: "*.y.com"]\n')

    assert said(walk, "evil.com") == said(walk, "a.x.com") == said(walk, "y.com") == DEFAULT
    assert said(walk, "x.com") == said(walk, "a.y.com") == said(walk, "a.b.y.com") == PASS
    assert walk.outcome(Name(b"\x03a b\4evil\3com\0"), HOST) == ODD
    assert walk.outcome(Name(b"\x03a b\1y\3com\0"), HOST) == PASS  # odd: Python says so
    assert [blame.reason for blame in walk.image.blames[:2]] == [
        Reason.NAME_DEFAULT, Reason.BAD_LABEL,
    ]  # fmt: skip


def test_a_more_specific_allow_falls_through_and_what_is_deeper_still_is_refused() -> None:
    walk = walk_of(
        'default: allow\nrules: [deny: ".x.com", allow: ".ok.x.com", deny: "bad.ok.x.com"]\n'
    )

    assert said(walk, "ok.x.com") == said(walk, "a.ok.x.com") == said(walk, "y.com") == PASS
    assert rule_text(walk, said(walk, "q.x.com")) == "deny .x.com"
    assert rule_text(walk, said(walk, "bad.ok.x.com")) == "deny bad.ok.x.com"


def test_globs_and_names_one_label_below_are_not_taken_for_deeper_ones() -> None:
    walk = walk_of('default: deny\nrules: [allow: "api-*.x.com", allow: "+.y.com"]\n')

    assert said(walk, "api-1.x.com") == said(walk, "q.x.com") == PASS  # Python knows globs
    assert said(walk, "a.api-1.x.com") == DEFAULT
    assert said(walk, "a.y.com") == PASS
    assert said(walk, "a.b.y.com") == said(walk, "y.com") == DEFAULT


def test_a_refusal_that_leaves_a_port_open_is_none() -> None:
    walk = walk_of('default: allow\nrules: [deny: "x.com:22", deny: "y.com"]\n')

    assert said(walk, "x.com") == PASS
    assert said(walk, "y.com") >= abi.Outcome.FIRST


def test_names_that_are_answered_here_and_all_below_them_fall_through() -> None:
    walk = walk_of('default: deny\nrules: [allow: "x.com:443"]\n')

    for name in ("localhost", "a.localhost", "b.onion", "1.0.0.127.in-addr.arpa", "q.test"):
        assert said(walk, name) == PASS, name
    assert said(walk, "notlocalhost") == DEFAULT


def test_what_must_be_known_to_have_been_asked_falls_through() -> None:
    walk = walk_of('default: allow\nrules: [{deny: "*.x.com", close: asked}, {deny: "*.y.com"}]\n')

    assert said(walk, "a.x.com") == PASS
    assert said(walk, "a.y.com") >= abi.Outcome.FIRST


def test_an_audit_refuses_nothing_and_another_role_has_its_own_say() -> None:
    walk = walk_of(
        'default: deny\nmode: audit\nrules: [deny: "x.com"]\nroles:\n'
        '  web: {default: allow, rules: [deny: "x.com"]}\n'
        '  db: {default: allow, rules: [deny: "y.com"]}\n'
    )
    policy_roles = walk.data[64 * walk.head.roles :][: abi.Limit.MAX_ROLES]
    web, db = (role for role in range(abi.Limit.MAX_ROLES) if policy_roles[role])

    assert said(walk, "x.com") == said(walk, "q.com") == PASS
    assert said(walk, "x.com", RoleId(web)) >= abi.Outcome.FIRST
    assert said(walk, "x.com", RoleId(db)) == PASS


def test_another_form_than_nxdomain_leaves_names_without_a_rule_to_python() -> None:
    """They may be an allowed name with a domain of resolv.conf behind it."""
    walk = walk_of('default: deny\nrules: [allow: "x.com", deny: "y.com"]\ndns: {refuse: zero}\n')

    assert said(walk, "x.com.corp.example") == said(walk, "q.com") == PASS
    assert said(walk, "y.com") >= abi.Outcome.FIRST
    assert walk.image.zero


def test_two_roles_share_the_names_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "ads.txt").write_text("".join(f"n{i}.example\n" for i in range(500)))
    rule = "{deny: {list: ads.txt, format: plain, as: suffix}}"
    one = walk_of(f"default: allow\nrules: [{rule}]\n", str(tmp_path / "p.yaml"))
    two = walk_of(
        f"default: allow\nrules: [{rule}]\nroles: {{web: {{default: deny, rules: "
        f"[{rule}, allow: x.com]}}}}\n", str(tmp_path / "p.yaml"),
    )  # fmt: skip
    web = RoleId(bytes(two.data[64 * two.head.roles :]).index(2))

    assert two.head.buckets == one.head.buckets
    assert said(one, "n7.example") >= abi.Outcome.FIRST
    assert said(two, "a.n7.example", web) >= abi.Outcome.FIRST
    assert said(two, "a.n7.example", web) != said(two, "a.n7.example")  # each rule has its id
    assert said(two, "a.m7.example", web) == DEFAULT
    assert said(two, "a.m7.example") == PASS


def test_an_exception_of_a_list_holds_below_and_above_its_refusals(tmp_path: Path) -> None:
    (tmp_path / "ads.txt").write_text("||x.com^\n@@||ok.x.com^\n||bad.ok.x.com^\n")
    walk = walk_of(
        "default: allow\nrules: [{deny: {list: ads.txt, format: adblock}}]\n",
        str(tmp_path / "p.yaml"),
    )

    assert said(walk, "a.x.com") >= abi.Outcome.FIRST
    assert said(walk, "ok.x.com") == said(walk, "bad.ok.x.com") == PASS


def test_more_rules_than_classes_are_pythons() -> None:
    count = (1 << abi.Suffix.CLASS_BITS) + 10
    rules = "".join(f"  - deny: n{i}.example\n" for i in range(count))
    walk = walk_of(f"default: allow\nrules:\n{rules}")
    found = [said(walk, f"n{i}.example") for i in range(0, count, 97)]

    assert found[0] >= abi.Outcome.FIRST
    assert said(walk, f"n{count - 1}.example") == PASS
    assert len(walk.image.blames) <= abi.Suffix.TEMPLATES


def test_a_policy_in_which_every_role_only_watches_has_no_column() -> None:
    text = "version: 1\ndefault: deny\nmode: audit\nrules: [allow: x.com]\n"
    policy: Policy = compile_text(text)
    image = compile_prints(policy, empty(KEY, 10), (), ())
    walk = Walk(image)

    assert walk.head.columns == 0
    assert said(walk, "x.com") == PASS


def test_the_suffixes_of_a_role_are_those_of_its_rules() -> None:
    text = 'version: 1\ndefault: deny\nrules: [allow: "a-*.x.com", deny: ".y.com"]\n'
    role = compile_text(text).host

    assert own_suffixes(role) == {from_text("x.com"): True, from_text("y.com"): False}
    assert role.default is Verdict.DENY


def test_of_two_lists_with_one_name_the_exact_entry_wins_and_then_the_refusal(
    tmp_path: Path,
) -> None:
    (tmp_path / "tree.txt").write_text("x.example\n")
    (tmp_path / "exact.txt").write_text("x.example\n")
    tree = "{deny: {list: tree.txt, format: plain, as: suffix}}"
    exact = "{allow: {list: exact.txt, format: plain}}"
    walk = walk_of(f"default: allow\nrules: [{tree}, {exact}]\n", str(tmp_path / "p.yaml"))

    assert said(walk, "x.example") == PASS
    assert said(walk, "a.x.example") >= abi.Outcome.FIRST
    both = "{allow: {list: exact.txt, format: plain, as: suffix}}"
    walk = walk_of(f"default: allow\nrules: [{both}, {tree}]\n", str(tmp_path / "p.yaml"))
    assert said(walk, "x.example") >= abi.Outcome.FIRST
