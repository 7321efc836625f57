"""A role as a policy of Cilium."""

from __future__ import annotations

import pytest

from dnsfw.policy.compile import compile_text
from dnsfw.policy.exporters import FORMATS, Exported, export
from dnsfw.policy.importers import FORMATS as IMPORTS
from dnsfw.policy.importers import Kept, import_text
from tests.unit.policy.exporters.test_outcome import made


def closed(*rules: str) -> Exported:
    return made("cilium", "".join(f'  - {rule}"\n' for rule in rules), "default: deny")


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("x.example", '    - matchName: "x.example"'),
        ("*.x.example", '    - matchPattern: "**.x.example"'),
        ("+.x.example", '    - matchPattern: "*.x.example"'),
        (".x.example", '    - matchPattern: "**.x.example"'),
        ("192.0.2.1", '  - toCIDR: ["192.0.2.1/32"]'),
        ("[2001:db8::]/32", '  - toCIDR: ["2001:db8::/32"]'),
        ("x.example:443/tcp", '      - {port: "443", protocol: TCP}'),
        ("x.example:80-90/udp", '      - {port: "80", endPort: 90, protocol: UDP}'),
        ("x.example/tcp", '      - {port: "0", protocol: TCP}'),
    ],
)
def test_a_rule_is_written_as_cilium_does(rule: str, line: str) -> None:
    done = closed(f'allow: "{rule}')

    assert done.lost == () and line in done.text.splitlines()


def test_names_need_the_rule_that_lets_them_be_asked() -> None:
    assert "kube-dns" in closed('allow: "x.example').text
    assert "kube-dns" not in closed('allow: "192.0.2.1').text


def test_a_role_without_anything_open_closes_all() -> None:
    assert closed('deny: "192.0.2.1').text.count("  egress:\n  - {}\n") == 1


@pytest.mark.parametrize(
    ("rules", "lost"),
    [
        (['allow: "a-*.x.example'], ["allow a-*.x.example"]),
        (['allow: "*.x.example', 'deny: "a.x.example'], ["deny a.x.example"]),
        (['deny: "10.0.0.0/8', 'allow: "10.1.0.0/16'], ["allow 10.1.0.0/16"]),
        (['allow: "10.0.0.0/8', 'deny: "10.1.0.0/16'], []),
        (['allow: "x.example/icmp'], ["allow x.example/icmp"]),
        (['allow: "x.example', 'deny: "y.example'], []),
    ],
)
def test_what_it_cannot_say_is_lost(rules: list[str], lost: list[str]) -> None:
    assert [found.source for found in closed(*rules).lost] == lost


def test_an_open_role_stays_open_and_its_denied_names_are_lost() -> None:
    done = made("cilium", "  - deny: [192.0.2.0/24, x.example]\n")
    back = import_text(IMPORTS["cilium"], done.text, "c.yaml")

    assert [found.source for found in done.lost] == ["deny x.example"]
    assert "enableDefaultDeny: {egress: false}" in done.text
    assert compile_text(back.text).host.default.name == "ALLOW"


def test_a_roles_name_selects_and_is_its_name_again() -> None:
    roles = "roles:\n  web: {rules: [{allow: x.example}]}\n"
    policy = compile_text(f"version: 1\ndefault: allow\n{roles}")
    done = export(FORMATS["cilium"], policy.roles[policy.role_id("web")])

    back = import_text(IMPORTS["cilium"], done.text, "c.yaml")

    assert back.lost == () and "web" in compile_text(back.text).role_ids
    assert all(found.kept is not Kept.LOST for found in back.findings)
