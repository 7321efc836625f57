from __future__ import annotations

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import Reason, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.explain import Explanation
from dnsfw.policy.explain import explain as explain_for

POLICY = """
version: 1
default: deny
rules:
  - allow: "*.x.com:443"
    note: the site
  - deny: .a.x.com
  - allow: b.a.x.com:22
  - allow: 10.0.0.0/8
  - deny: 10.1.0.0/16:443
  - allow: 169.254.0.0/16
"""


def explain(destination: str, text: str = POLICY) -> Explanation:
    return explain_for(compile_text(text, "p").host, destination)


@pytest.mark.parametrize(
    ("destination", "verdict", "rule", "runner_up", "why"),
    [
        ("w.x.com:443", "ALLOW", "allow *.x.com:443", None, ""),
        (
            "w.a.x.com:443",
            "DENY",
            "deny .a.x.com",
            "allow *.x.com:443",
            "the longer suffix wins: a.x.com over x.com",
        ),
        (
            "b.a.x.com:22",
            "ALLOW",
            "allow b.a.x.com:22",
            "deny .a.x.com",
            "an exact name beats every wildcard",
        ),
        (
            "x.com:443",
            "DENY",
            None,
            "allow *.x.com:443",
            "it is for names below x.com; '.x.com' would be it and all below",
        ),
        ("w.x.com:80", "DENY", None, "allow *.x.com:443", "it speaks for 443/tcp+udp only"),
        ("unnamed.org", "DENY", None, None, ""),
        (
            "10.1.2.3:443",
            "DENY",
            "deny 10.1.0.0/16:443",
            "allow 10.0.0.0/8",
            "the longer prefix wins: 10.1.0.0/16 lies inside 10.0.0.0/8",
        ),
        ("10.1.2.3:80", "ALLOW", "allow 10.0.0.0/8", None, ""),
        (
            "169.254.169.254:80",
            "DENY",
            None,
            "allow 169.254.0.0/16",
            "a built-in deny yields only to a prefix inside it",
        ),
        ("192.0.2.1:443/udp", "DENY", None, None, ""),
        ("127.0.0.1:80", "ALLOW", None, None, ""),
        ("[::1]:80", "ALLOW", None, None, ""),
        ("::1", "ALLOW", None, None, ""),
        ("127.0.0.1", "ALLOW", None, None, ""),
        ("[2001:db8::1]/icmp", "DENY", None, None, ""),
    ],
)
def test_explain_says_verdict_rule_runner_up_and_why(
    destination: str, verdict: str, rule: str | None, runner_up: str | None, why: str
) -> None:
    found = explain(destination)

    assert found.verdict.name == verdict
    assert (found.best.rule.text if found.best.rule else None) == rule
    assert (found.runner_up.text if found.runner_up else None) == runner_up
    assert found.why == why


def test_a_destination_without_a_port_shows_every_share() -> None:
    found = explain("b.a.x.com")

    assert found.verdict is Verdict.ALLOW
    assert [share.verdict for share in found.shares] == [Verdict.ALLOW, Verdict.DENY, Verdict.DENY]


def test_a_port_without_a_protocol_is_tcp() -> None:
    assert explain("w.x.com:443").asked.text == "w.x.com:443/tcp"
    assert explain("w.x.com/udp").asked.text == "w.x.com/udp"
    assert explain("2001:db8::1").asked.text == "2001:db8::1"


@pytest.mark.parametrize(
    ("default", "destination", "reason"),
    [
        ("deny", "x.com", Reason.NAME_DEFAULT),
        ("allow", "x.com", Reason.NAME_DEFAULT),
        ("deny", "a\\.b.com", Reason.BAD_LABEL),
        ("deny", "192.0.2.1", Reason.NEVER_RESOLVED),
        ("allow", "192.0.2.1", Reason.DEFAULT),
        ("deny", "127.0.0.9", Reason.LOOPBACK),
        ("deny", "169.254.169.254", Reason.BUILTIN),
        ("allow", "169.254.169.254", Reason.DEFAULT),
    ],
)
def test_what_no_rule_decides_has_its_reason(
    default: str, destination: str, reason: Reason
) -> None:
    assert explain(destination, f"version: 1\ndefault: {default}").best.reason is reason


def test_resolved_only_refuses_an_address_that_nobody_handed_out() -> None:
    found = explain("192.0.2.1", "version: 1\ndefault: allow\nresolved_only: true")

    assert found.verdict is Verdict.DENY
    assert found.best.reason is Reason.NEVER_RESOLVED


def test_notes_say_what_else_to_know() -> None:
    audit = explain("x.com", "version: 1\ndefault: deny\nmode: audit")
    beaten = explain("x.com", "version: 1\ndefault: allow\nrules: [deny: 0.0.0.0/0]")

    assert explain("w.x.com:443").notes == ("the site",)
    assert "mode audit: logged, and let pass" in audit.notes
    assert any("beats names" in note for note in beaten.notes)


def test_an_idn_is_asked_for_in_ascii() -> None:
    assert explain("bücher.example").asked.text == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    "destination",
    ["", "x..com", "x.com:", "x.com:80,443", "x.com:80-90", "x.com/6", "10.0.0.0/8", "[x]:1",
     "x.com:99999", "x.com:53/icmp", "a" * 64 + ".com", "x.com:443:443", "https://x.com/"],
)  # fmt: skip
def test_what_is_no_destination_is_the_operators_mistake(destination: str) -> None:
    with pytest.raises(ConfigError):
        explain(destination)


def of_role(destination: str, loopback: str) -> Explanation:
    policy = compile_text(
        f"version: 1\ndefault: deny\nroles: {{web: {{loopback: {loopback}}}}}", "p"
    )
    return explain_for(policy.roles[policy.role_id("web")], destination)


@pytest.mark.parametrize(
    ("loopback", "destination", "verdict", "reason"),
    [
        ("all", "127.0.0.1:5432", "ALLOW", Reason.LOOPBACK),
        ("own", "127.0.0.1:5432", "DENY", Reason.LOOPBACK_OTHER),
        ("[5432]", "127.0.0.1:5432", "ALLOW", Reason.LOOPBACK),
        ("[5432]", "[::1]:80", "DENY", Reason.LOOPBACK_OTHER),
        ("[5432/tcp]", "127.0.0.1:5432/udp", "DENY", Reason.LOOPBACK_OTHER),
        ("own", "192.0.2.1:80", "DENY", Reason.NEVER_RESOLVED),
    ],
)
def test_row_32_loopback_is_what_the_role_may_reach_there(
    loopback: str, destination: str, verdict: str, reason: Reason
) -> None:
    found = of_role(destination, loopback)

    assert (found.verdict, found.best.reason) == (Verdict[verdict], reason)
    assert found.role == "web"


def test_a_loopback_that_only_the_kernel_can_judge_says_when_it_is_open() -> None:
    assert of_role("127.0.0.1:80", "own").notes == (
        "it reaches dnsfw, and what the role itself listens on",
    )
    assert of_role("127.0.0.1:80", "[22]").notes == ("of loopback it reaches 22/tcp+udp and dnsfw",)


def test_row_120_an_address_that_only_the_hosts_file_knows_opens_nothing() -> None:
    found = explain("203.0.113.9:443")

    assert (found.verdict, found.best.reason) == (Verdict.DENY, Reason.NEVER_RESOLVED)
    assert "it opens when an allowed name resolves to it" in found.notes[0]
    with pytest.raises(PolicyError, match="unknown key 'hosts_file'"):
        compile_text("version: 1\ndefault: deny\nhosts_file: trust")
