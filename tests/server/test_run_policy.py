"""What a run's file and command line come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import HOST, Inbound, Loopback, Mode, Verdict, addr_from
from dnsfw.policy.policy import RolePolicy
from dnsfw.server.run_policy import RUN, RunRules, run_policy
from dnsfw.wire.name import from_text

TCP = 6


def host(**rules: object) -> RolePolicy:
    policy = run_policy(RunRules(**rules))  # type: ignore[arg-type]
    assert list(policy.roles) == [HOST, RUN]
    assert policy.subjects == ()
    return policy.roles[RUN]


def opens(role: RolePolicy, name: str, port: int = 443) -> bool:
    return role.judge(from_text(name)).share(TCP, port).verdict is Verdict.ALLOW


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    return str(file)


def test_allow_alone_denies_the_rest() -> None:
    role = host(allow=("*.pypi.org:443",))

    assert role.default is Verdict.DENY
    assert opens(role, "files.pypi.org")
    assert not opens(role, "files.pypi.org", 80)
    assert not opens(role, "example.com")


def test_deny_alone_allows_the_rest() -> None:
    role = host(deny=("tracker.example",))

    assert opens(role, "example.com")
    assert not opens(role, "tracker.example")


def test_default_deny_alone_is_no_network_at_all() -> None:
    role = host(default="deny")

    assert (role.default, role.rules) == (Verdict.DENY, ())


def test_audit_alone_judges_by_deny_and_lets_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSFW_POLICY", "/nonexistent")  # the host's file is not asked

    role = host(audit=True)

    assert (role.default, role.rules, role.mode) == (Verdict.DENY, (), Mode.AUDIT)


def test_audit_of_a_file_judges_by_the_file(tmp_path: Path) -> None:
    role = host(policy=written(tmp_path, "version: 1\ndefault: allow\n"), audit=True)

    assert (role.default, role.mode) == (Verdict.ALLOW, Mode.AUDIT)


@pytest.mark.parametrize("rules", [{"allow": ("example.com",)}, {"deny": ("example.com",)}])
def test_row_30_metadata_is_refused_under_either_default(rules: dict[str, object]) -> None:
    decision = host(**rules).judge_addr(addr_from("169.254.169.254"), TCP, 80)

    assert decision is not None
    assert decision.verdict is Verdict.DENY


def test_nothing_listens_and_loopback_is_its_own_and_dns_is_taken_over() -> None:
    policy = run_policy(RunRules(allow=("example.com",)))

    access = policy.roles[RUN].access
    assert (access.inbound, access.loopback) == (Inbound.DENY, Loopback.OWN)
    assert policy.dns.takeover
    *_, plan = policy.plan().roles
    assert plan.takeover


def test_what_the_file_says_of_access_counts(tmp_path: Path) -> None:
    file = written(tmp_path, "version: 1\ndefault: deny\nloopback: all\ninbound: tcp\n")

    access = host(policy=file).access
    assert (access.inbound, access.loopback) == (Inbound.TCP, Loopback.ALL)


def test_options_stand_on_top_of_the_file(tmp_path: Path) -> None:
    text = "version: 1\ndefault: deny\nrules: [{allow: 'example.com:443'}]\n"
    file = written(tmp_path, text)

    role = host(policy=file, allow=("example.com:443", "example.org:443"), audit=True)

    assert opens(role, "example.com")
    assert opens(role, "example.org")
    assert len(role.rules) == 2
    assert role.mode is Mode.AUDIT


def test_a_role_of_the_file_can_be_the_runs(tmp_path: Path) -> None:
    text = (
        "version: 1\ndefault: allow\nroles:\n  web:\n    default: deny\n    loopback: all\n"
        "    subjects: [{uid: 33}]\n    rules: [{allow: 'example.com:443'}]\n"
    )
    file = written(tmp_path, text)

    role = host(policy=file, role="web")

    assert role.default is Verdict.DENY
    assert all(rule.role == RUN for rule in role.rules)
    assert role.access.loopback is Loopback.ALL
    with pytest.raises(ConfigError, match="no role 'db'; it has host, web"):
        host(policy=file, role="db")


def test_a_mistake_names_its_option() -> None:
    with pytest.raises(ConfigError, match=r"^--allow: .*URL.*write 'example.com:443'"):
        host(allow=("https://example.com/",))
    with pytest.raises(ConfigError, match=r"^--deny: "):
        host(deny=("a.*.b",))
    with pytest.raises(ConfigError, match=r"^--allow: '\*' is open to names that anybody"):
        host(allow=("*",))
    with pytest.raises(ConfigError, match="add --policy FILE"):
        host(allow=("example.com",), role="web")


def test_a_contradiction_is_an_error(tmp_path: Path) -> None:
    text = "version: 1\ndefault: deny\nrules: [{deny: 'example.com:443'}]\n"
    file = written(tmp_path, text)

    with pytest.raises(PolicyError, match="contradicts"):
        host(policy=file, allow=("example.com:443",))
    with pytest.raises(ConfigError, match="contradicts"):
        host(allow=("example.com:443",), deny=("example.com:443",))


def test_row_59_a_run_that_allows_the_rest_has_no_encrypted_way_round() -> None:
    run = run_policy(RunRules(deny=("x.com",))).roles[RUN]

    assert not run.judge(from_text("dns.google")).answered
    assert run.judge(from_text("example.com")).answered
    found = run.judge_addr(addr_from("203.0.113.9"), 6, 853)
    assert found is not None and found.verdict is Verdict.DENY
    lifted = run_policy(RunRules(default="allow", allow=("dns.google:443",))).roles[RUN]
    assert lifted.judge(from_text("dns.google")).answered
    assert not run_policy(RunRules(allow=("x.com",))).roles[RUN].implied
    assert run_policy(RunRules(allow=("x.com",), deny=("encrypted-dns",))).roles[RUN].implied


def test_lists_of_a_file_and_what_may_be_asked_hold_in_a_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "ads.txt").write_text("ads.example\n")
    (tmp_path / "nets.txt").write_text("192.0.2.0/24\n")
    file = written(
        tmp_path,
        "version: 1\ndefault: allow\nqtypes: strict\nguard: throttle\nrules:\n"
        "  - deny: {list: ads.txt}\n  - deny: {list: nets.txt, format: cidr}\n",
    )

    role = host(policy=file)

    assert not opens(role, "ads.example")
    assert opens(role, "other.example")
    assert role.judge_addr(addr_from("192.0.2.7"), TCP, 443) is not None
    assert all(entry.role == RUN for entry in role.addresses.entries)
    assert role.questions.types.text == "strict"
    assert role.questions.guard.text == "throttle"


def test_parts_beside_the_file_hold_in_a_run_as_in_up(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\ndefault: deny\n")
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "a.yaml").write_text("rules: [{allow: x.example}]\ninbound: tcp\n")

    policy = run_policy(RunRules(policy=str(tmp_path / "policy.yaml")))

    role = policy.roles[RUN]
    assert [rule.text for rule in role.rules] == ["allow x.example"]
    assert role.access.inbound is Inbound.TCP
