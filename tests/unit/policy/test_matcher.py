"""The vectors of the language: every pattern row, every sentence of precedence."""

from __future__ import annotations

import pytest

from dnsfw.model import Name, Reason, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.wire.name import from_text

TCP, UDP, ICMP, SCTP = 6, 17, 1, 132


def role(*rules: str, default: str = "deny") -> RolePolicy:
    """The role `host` of a policy with these rules ("allow x.com", broad where it must be)."""
    lines = [f"version: 1\ndefault: {default}"]
    if rules:
        lines.append("rules:")
    for rule in rules:
        verdict, _, what = rule.partition(" ")
        what, _, option = what.partition(" ")
        lines.append(f'  - {verdict}: "{what}"' + (f"\n    {option}: true" if option else ""))
    return compile_text("\n".join(lines)).host


def allowed(policy: RolePolicy, name: str | Name, proto: int = TCP, port: int = 443) -> bool:
    wire = from_text(name) if isinstance(name, str) else name
    return policy.judge(wire).share(proto, port).verdict is Verdict.ALLOW


PATTERN_ROWS = [
    # pattern, matches, not
    ("x.com", ["x.com", "X.CoM.", "x.com."], ["a.x.com", "evilx.com", "com", "xxcom"]),
    ("*.x.com", ["a.x.com", "a.b.x.com"], ["*.x.com", "x.com", "evilx.com", "com", "x.com.a"]),
    (".x.com", ["x.com", "a.x.com", "a.b.c.x.com"], ["evilx.com", "com", "ax.com"]),
    ("+.x.com", ["a.x.com"], ["x.com", "a.b.x.com", "evilx.com"]),
    (
        "api-*.x.com",
        ["api-1.x.com", "API-xyz.x.com", "api--.x.com"],
        ["api-.x.com", "api-1.y.x.com", "y.api-1.x.com", "xapi-1.x.com", "api.x.com", "x.com"],
    ),
    ("a*z.x.com", ["abz.x.com", "azz.x.com"], ["az.x.com", "a.z.x.com", "abzq.x.com"]),
    ("*-cdn.x.com", ["eu-cdn.x.com"], ["-cdn.x.com", "cdn.x.com", "a.eu-cdn.x.com"]),
    ("_dmarc.x.com", ["_dmarc.x.com"], ["dmarc.x.com"]),
    ("bücher.example", ["xn--bcher-kva.example"], ["bucher.example"]),
]


@pytest.mark.parametrize(("pattern", "matches", "misses"), PATTERN_ROWS, ids=lambda v: str(v)[:30])
def test_pattern_matches_what_its_row_says(
    pattern: str, matches: list[str], misses: list[str]
) -> None:
    policy = role(f"allow {pattern}")

    assert [name for name in matches if not allowed(policy, name)] == []
    assert [name for name in misses if allowed(policy, name)] == []


def test_row_91_a_star_alone_matches_every_name_but_the_root() -> None:
    policy = role("allow * broad")

    assert allowed(policy, "x.com")
    assert allowed(policy, "com")
    assert not allowed(policy, ".")


def test_row_91_a_public_suffix_with_broad_matches_below_it() -> None:
    policy = role("allow *.co.uk broad")

    assert allowed(policy, "evil.co.uk")
    assert not allowed(policy, "co.uk")
    assert not allowed(policy, "evil.uk")


def test_row_91_a_literal_star_label_in_a_query_is_just_a_label() -> None:
    policy = role("deny *.x.com", "deny y.com", default="allow")

    assert allowed(policy, "*.y.com")  # the label '*' matches nothing by itself
    assert not allowed(policy, "*.x.com")  # it lies below x.com as any label does


def test_row_89_a_label_that_contains_dots_never_equals_two_labels() -> None:
    policy = role("deny x.com", "deny *.y.com", default="allow")

    assert allowed(policy, Name(b"\x05x.com\0"))
    assert allowed(policy, Name(b"\x07a.y.com\0"))
    assert allowed(policy, Name(b"\x03a.y\x03com\0"))
    assert not allowed(policy, Name(b"\x03a.b\x01y\x03com\0"))


@pytest.mark.parametrize("octet", [*b'. \0\x1f\x7f\xff"/*@,:'], ids=hex)
def test_row_89_under_default_deny_odd_labels_are_refused_for_their_octets(octet: int) -> None:
    policy = role("allow .x.com")
    odd = Name(bytes((3, ord("a"), octet, ord("b"))) + from_text("x.com"))

    judgement = policy.judge(odd)

    assert judgement.reason is Reason.BAD_LABEL
    assert not judgement.answered
    assert policy.judge(Name(b"\x03a-_\x01x\x03com\0")).answered


def test_row_89_an_odd_label_is_found_wherever_it_stands() -> None:
    policy = role("allow .x.com", "allow +.y.com", "allow a*.z.com")

    for below in ("x.com", "y.com", "z.com", "unnamed.org"):
        for front in (b"\x02a.", b"\x01a\x02b.", b"\x02b.\x01a"):
            assert policy.judge(Name(front + from_text(below))).reason is Reason.BAD_LABEL


def test_under_default_allow_odd_labels_are_matched_by_their_octets() -> None:
    policy = role("deny *.x.com", default="allow")

    assert not allowed(policy, Name(b"\x03a b" + from_text("x.com")))
    assert allowed(policy, Name(b"\x03a b" + from_text("y.com")))


ROW_92 = ["allow *.x.com", "deny a.x.com", "allow b.a.x.com"]
PRECEDENCE = [
    # sentence, rules, name, who wins
    ("exact first", ["deny .x.com", "allow x.com"], "x.com", "allow x.com"),
    ("exact first", ["allow .x.com", "deny x.com"], "x.com", "deny x.com"),
    ("exact before a glob", ["deny a*.x.com", "allow ab.x.com"], "ab.x.com", "allow ab.x.com"),
    ("the longer suffix", ["deny *.x.com", "allow *.a.x.com"], "b.a.x.com", "allow *.a.x.com"),
    ("the longer suffix", ["deny *.a.x.com", "allow *.x.com"], "b.a.x.com", "deny *.a.x.com"),
    (".a.x.com beats +.x.com", ["allow +.x.com", "deny .a.x.com"], "a.x.com", "deny .a.x.com"),
    (".a.x.com beats a glob", ["allow a*.x.com", "deny .ab.x.com"], "ab.x.com", "deny .ab.x.com"),
    ("glob before +.", ["deny +.x.com", "allow a*.x.com"], "ab.x.com", "allow a*.x.com"),
    ("glob before *.", ["deny *.x.com", "allow a*.x.com"], "ab.x.com", "allow a*.x.com"),
    ("+. before *.", ["deny *.x.com", "allow +.x.com"], "a.x.com", "allow +.x.com"),
    ("+. before .", ["deny .x.com", "allow +.x.com"], "a.x.com", "allow +.x.com"),
    ("*. and . are equal, deny", ["allow *.x.com", "deny .x.com"], "a.x.com", "deny .x.com"),
    ("*. and . are equal, deny", ["allow .x.com", "deny *.x.com"], "a.x.com", "deny *.x.com"),
    ("more literal", ["deny a*.x.com", "allow ab*.x.com"], "abc.x.com", "allow ab*.x.com"),
    ("more literal", ["deny a*bc.x.com", "allow ab*.x.com"], "abbc.x.com", "deny a*bc.x.com"),
    ("then deny", ["allow a*b.x.com", "deny ac*.x.com"], "acb.x.com", "deny ac*.x.com"),
    ("row 92", ROW_92, "a.x.com", "deny a.x.com"),
    ("row 92", ROW_92, "b.a.x.com", "allow b.a.x.com"),
    ("row 92", ROW_92, "c.a.x.com", "allow *.x.com"),
    ("a wide rule is the fallback", ["allow .com broad", "deny .x.com"], "y.com", "allow .com"),
    ("+. is one label", ["allow *.x.com", "deny +.x.com"], "b.a.x.com", "allow *.x.com"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "rules", "name", "winner"), PRECEDENCE)
@pytest.mark.parametrize("turn", [1, -1], ids=["written", "reversed"])
def test_precedence(sentence: str, rules: list[str], name: str, winner: str, turn: int) -> None:
    judgement = role(*rules[::turn]).judge(from_text(name))
    share = judgement.share(TCP, 443)

    assert share.rule is not None
    assert share.rule.text == winner, sentence


def test_only_rules_that_cover_the_port_compete() -> None:
    policy = role("deny x.com:22", "allow .x.com:22,443", "allow *.com:80 broad")

    assert not allowed(policy, "x.com", port=22)
    assert allowed(policy, "x.com", port=443)
    assert allowed(policy, "x.com", port=80)
    assert not allowed(policy, "x.com", port=8080)
    assert not allowed(policy, "x.com", TCP, 0)


def test_only_rules_that_cover_the_protocol_compete() -> None:
    policy = role("deny x.com/udp", "allow .x.com", "allow x.com:9/sctp")

    assert allowed(policy, "x.com", TCP, 53)
    assert not allowed(policy, "x.com", UDP, 53)
    assert allowed(policy, "x.com", ICMP, 0)
    assert allowed(policy, "x.com", SCTP, 9)
    assert not allowed(policy, "x.com", SCTP, 10)


def test_a_name_is_answered_when_any_port_of_it_is_allowed() -> None:
    policy = role("deny .x.com", "allow x.com:443/tcp")

    judgement = policy.judge(from_text("x.com"))

    assert judgement.answered
    assert judgement.rule is not None
    assert judgement.rule.text == "allow x.com:443/tcp"
    assert judgement.share(TCP, 80).verdict is Verdict.DENY
    assert not policy.judge(from_text("a.x.com")).answered


def test_a_denied_name_is_refused_though_the_default_allows_other_protocols() -> None:
    policy = role("deny x.com", default="allow")

    judgement = policy.judge(from_text("x.com"))

    assert not judgement.answered
    assert judgement.reason is Reason.BY_NAME


def test_a_name_with_one_port_denied_is_answered_under_default_allow() -> None:
    judgement = role("deny x.com:25/tcp", default="allow").judge(from_text("x.com"))

    assert judgement.answered
    assert judgement.share(TCP, 25).verdict is Verdict.DENY
    assert judgement.share(TCP, 443).rule is None


@pytest.mark.parametrize("default", ["deny", "allow"])
def test_a_name_that_no_rule_names_gets_the_default(default: str) -> None:
    judgement = role("allow x.com" if default == "deny" else "deny x.com", default=default).judge(
        from_text("unnamed.org")
    )

    assert judgement.answered == (default == "allow")
    assert judgement.reason is Reason.NAME_DEFAULT
    assert [share.ports for share in judgement.shares] == [KNOWN]


def test_shares_are_disjoint_and_cover_every_known_protocol() -> None:
    policy = role(
        "deny x.com:1-100", "allow .x.com:50-200", "allow *.com/udp broad", "deny x.com/gre"
    )

    shares = policy.judge(from_text("x.com")).shares
    union = shares[0].ports
    for share in shares[1:]:
        assert not union.intersect(share.ports)
        union = union.union(share.ports)

    assert union == KNOWN


def test_a_share_of_many_holes_comes_in_pieces_that_fit_the_kernel() -> None:
    ports = ",".join(str(port) for port in range(1, 32, 2))
    policy = role(f"deny x.com:{ports}/tcp", f"deny x.com:{ports}/udp", default="allow")

    shares = policy.judge(from_text("x.com")).shares

    assert all(len(share.ports.ranges) <= 16 for share in shares)
    assert sum(share.rule is None for share in shares) > 1


def test_globs_are_remembered_for_a_bounded_number_of_combinations() -> None:
    policy = role(*(f"allow {letter}*.x.com:44{at}" for at, letter in enumerate("abcdefgh")))

    for letter in "abcdefgh":
        assert allowed(policy, f"{letter}1.x.com", port=440 + "abcdefgh".index(letter))
    assert not allowed(policy, "i1.x.com", port=440)


def test_ranked_lists_every_rule_that_matches_best_first() -> None:
    policy = role("deny .com", "allow *.x.com", "allow a*.x.com", "deny ab.x.com", "allow y.com")

    texts = [rule.text for rule in policy.ranked(from_text("ab.x.com"))]

    assert texts == ["deny ab.x.com", "allow a*.x.com", "allow *.x.com", "deny .com"]


def test_row_87_a_search_domain_behind_a_name_is_another_name() -> None:
    policy = role("allow github.com", "allow .corp.example")

    assert not allowed(policy, "github.com.evil-search.test")
    assert not allowed(policy, "github.com.corp")
    assert allowed(policy, "github.com.corp.example")  # what that rule says, and no other


def test_row_90_case_and_final_dots_make_no_other_name() -> None:
    policy = role("allow GITHUB.com.", "deny *.GitHub.COM")

    assert allowed(policy, "github.com")
    assert allowed(policy, "GITHUB.com.")
    assert not allowed(policy, "a.github.com")
    assert not allowed(policy, ".")
