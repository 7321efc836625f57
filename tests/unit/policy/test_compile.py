from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, Verdict, addr_from
from dnsfw.policy.compile import compile_text, load
from dnsfw.policy.policy import Endpoint, Policy
from dnsfw.policy.rule import Ttl

DESIGN = """
# yaml-language-server: $schema=dnsfw.schema.json
version: 1
default: deny                    # what no rule names: deny | allow
mode: enforce                    # enforce | audit (judge, log, let pass)
rules:                           # the role `host`
  - allow: pypi.org:443
  - allow: ["*.pythonhosted.org:443", "api-*.example.com:443,8443"]
  - allow: 10.20.0.0/16:5432/tcp
  - allow: "[2001:db8::]/32"
  - deny:  "*.tracker.example"
  - allow: github.com:22,443
    note: deploy keys
    ttl: {min: 30s, grace: 60s}
dns:
  listen: ["127.0.53.53:53"]
  upstreams: [system]            # system | 9.9.9.9
  refuse: nxdomain               # nxdomain | refused | nodata | zero
  takeover: false
  private: allow
"""


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in compile_text(text, "p").warnings]


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        compile_text(text, "p")
    return str(raised.value)


def rules(default: str, *lines: str) -> str:
    return "\n".join(
        [f"version: 1\ndefault: {default}\nrules:", *(f"  - {line}" for line in lines)]
    )


def test_the_example_of_the_language_compiles() -> None:
    policy = compile_text(DESIGN)

    assert [rule.text for rule in policy.host.rules] == [
        "allow pypi.org:443",
        "allow *.pythonhosted.org:443",
        "allow api-*.example.com:443,8443",
        "allow 10.20.0.0/16:5432/tcp",
        "allow [2001:db8::]/32",
        "deny *.tracker.example",
        "allow github.com:22,443",
    ]
    github = policy.host.rules[-1]
    assert github.note == "deploy keys"
    assert github.ttl == Ttl(min=30, max=3600, grace=60)
    assert (github.where.line, github.where.column) == (12, 12)
    assert policy.dns.listen == (Endpoint(addr_from("127.0.53.53"), 53),)
    assert policy.dns.upstreams == (None,)
    assert not policy.warnings


def test_the_same_policy_as_json_says_the_same() -> None:
    yaml = compile_text(rules("deny", 'allow: ["a.com:443", b.com]'))
    json = compile_text(
        '{"version": 1, "default": "deny", "rules": [{"allow": ["a.com:443", "b.com"]}]}'
    )

    assert [r.text for r in yaml.host.rules] == [r.text for r in json.host.rules]


def test_what_is_not_written_has_its_default() -> None:
    policy = compile_text("version: 1\ndefault: deny")

    assert set(policy.roles) == {HOST}
    assert policy.host.rules == ()
    assert policy.host.ttl == Ttl(min=5, max=3600, grace=10)
    assert [str(endpoint) for endpoint in policy.dns.listen] == ["127.0.53.53:53"]
    assert (policy.dns.refuse, policy.dns.takeover, policy.dns.private) == (
        "nxdomain",
        False,
        "allow",
    )
    assert not policy.degraded
    assert not policy.containers


def test_a_rule_takes_from_the_policys_ttl_what_it_does_not_say() -> None:
    policy = compile_text(
        "version: 1\ndefault: deny\nttl: {min: 20s, grace: 20s}\n"
        "rules: [{allow: x.com, ttl: {max: 60s}}]"
    )

    assert policy.host.rules[0].ttl == Ttl(min=20, max=60, grace=20)


def test_settings_that_change_nothing_are_warnings() -> None:
    found = warnings("version: 1\ndefault: deny\nresolved_only: true\ndns: {private: deny}")

    assert len(found) == 2
    assert all("changes nothing under default: deny" in warning for warning in found)


def test_the_same_destination_twice_keeps_two_ids() -> None:
    policy = compile_text(rules("deny", "allow: x.com", "allow: X.com."))

    assert len({rule.id for rule in policy.host.rules}) == 2
    assert len(policy.warnings) == 1


def test_row_62_a_name_that_no_rule_names_is_refused_under_default_deny() -> None:
    policy: Policy = compile_text(rules("deny", "allow: x.com"))

    from dnsfw.wire.name import from_text

    assert policy.host.judge(from_text("c2VjcmV0.evil.com")).verdict is Verdict.DENY


def test_load_reads_a_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\ndefault: deny\n")
    path.chmod(0o644)

    policy = load(path)

    assert policy.sources == (str(path),)


def test_a_policy_of_thousands_of_rules_compiles() -> None:
    many = "\n".join(f"  - allow: h{n}.example.com:443" for n in range(3000))

    policy = compile_text(f"version: 1\ndefault: deny\nrules:\n{many}")

    assert len(policy.host.rules) == 3000
    assert len({rule.id for rule in policy.host.rules}) == 3000


def test_tables_say_how_much_the_kernel_holds() -> None:
    policy = compile_text(
        "version: 1\ndefault: deny\ntables: {grants: 1000000}\nrules: [{allow: x.com}]\n"
    )

    assert policy.tables == {"grants": 1_000_000}
