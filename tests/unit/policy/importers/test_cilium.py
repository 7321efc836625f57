"""Cilium's policies: what adds up, what beats what, and what no host can know."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, Inbound, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept, import_text
from dnsfw.wire.name import from_text

HEAD = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: web}\nspec:\n"


def made(rules: str, selector: str = "{}") -> Imported:
    text = f"{HEAD}  endpointSelector: {selector}\n{rules}"
    return import_text(FORMATS["cilium"], text, "p.yaml")


def answered(imported: Imported, name: str) -> bool:
    return compile_text(imported.text).roles[HOST].judge(from_text(name)).answered


def reaches(imported: Imported, address: str, port: int = 443) -> bool:
    host = compile_text(imported.text).host
    found = host.judge_addr(addr_from(address), 6, port)
    return (found.verdict if found else host.default) is Verdict.ALLOW


def test_rules_that_name_nobody_close_the_rest_only() -> None:
    done = made("  egress:\n  - {}\n")

    assert done.lost == ()
    assert compile_text(done.text).host.default is Verdict.DENY
    assert not compile_text(done.text).host.rules


def test_a_prefix_with_holes_closes_nothing_that_another_rule_opens() -> None:
    done = made(
        "  egress:\n  - toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]\n"
        "  - toCIDR: [10.1.2.0/24]\n"
    )

    assert done.lost == ()
    assert reaches(done, "10.0.0.1") and reaches(done, "10.1.2.3")
    assert not reaches(done, "10.1.3.1")


def test_what_egress_deny_names_is_closed_whatever_opens_it() -> None:
    deny = "  egressDeny:\n  - toCIDR: [10.0.0.0/8]\n"
    never = made(f"  egress:\n  - toCIDR: [10.1.0.0/16]\n{deny}")
    part = made(
        f"  egress:\n  - toCIDR: [10.1.0.0/16]\n{deny}"
        "    toPorts: [{ports: [{port: '25', protocol: TCP}]}]\n"
    )

    assert never.lost == () and not reaches(never, "10.1.0.1")
    assert [one.source for one in part.lost] == ["allow 10.1.0.0/16"]


def test_a_star_that_stands_for_nothing_is_a_name_of_its_own() -> None:
    done = made("  egress:\n  - toFQDNs: [{matchPattern: 'api-*.x.example'}]\n")

    assert answered(done, "api-1.x.example") and answered(done, "api-.x.example")
    assert not answered(done, "api-1.y.x.example")


def test_a_name_that_no_rule_of_dns_lets_be_asked_is_told() -> None:
    done = made(
        "  egress:\n  - toEndpoints: [{matchLabels: {k8s-app: kube-dns}}]\n    toPorts:\n"
        "    - ports: [{port: '53', protocol: UDP}]\n"
        "      rules: {dns: [{matchPattern: '**.x.example'}]}\n"
        "  - toFQDNs: [{matchName: a.x.example}, {matchName: y.example}]\n"
    )

    assert [one.source for one in done.lost] == ["y.example"]


def test_every_port_is_port_zero_and_a_range_has_two_ends() -> None:
    done = made(
        "  egress:\n  - toCIDR: [192.0.2.0/24]\n    toPorts:\n"
        "    - ports: [{port: '0', protocol: TCP}]\n"
        "  - toCIDR: [198.51.100.0/24]\n    toPorts:\n"
        "    - ports: [{port: '80', endPort: 90, protocol: TCP}]\n"
    )

    assert done.lost == ()
    assert reaches(done, "192.0.2.1", 1) and reaches(done, "198.51.100.1", 90)
    assert not reaches(done, "198.51.100.1", 91)


def test_ports_alone_are_ports_of_everybody() -> None:
    done = made("  egress:\n  - toPorts: [{ports: [{port: '443', protocol: TCP}]}]\n")

    assert reaches(done, "192.0.2.1", 443) and not reaches(done, "192.0.2.1", 80)
    assert answered(done, "whatever.example")


def test_a_selector_becomes_a_role_whose_inbound_stays_as_it_was() -> None:
    done = made("  egress:\n  - {}\n", "{matchLabels: {app: web}}")
    policy = compile_text(done.text)
    web = policy.roles[policy.role_id("web")]

    assert (policy.host.default, web.default) == (Verdict.ALLOW, Verdict.DENY)
    assert web.access.inbound is Inbound.ALL
    assert "nobody is yet" in done.findings[0].became


def test_denials_of_two_selectors_cannot_be_told_apart() -> None:
    one = HEAD + "  endpointSelector: {matchLabels: {a: b}}\n  egress: [{}]\n"
    two = HEAD + "  endpointSelector: {}\n  egressDeny: [{toCIDR: [192.0.2.0/24]}]\n"

    done = import_text(FORMATS["cilium"], f"{one}---\n{two}", "p.yaml")

    assert [found.kept for found in done.findings if "selector" in found.source].count(
        Kept.LOST
    ) == 1


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("  egress:\n  - toFQDNs: [{matchName: a.b}]\n    toCIDR: [10.0.0.0/8]\n", "one rule"),
        ("  egress:\n  - toCIDR: [10.0.0.1/8]\n", "is no prefix"),
        ("  ingress: [{}]\n", "says anything of what leaves"),
    ],
)
def test_what_cilium_refuses_is_refused(rules: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        made(rules)


@pytest.mark.parametrize("selectors", ["", "  endpointSelector: {}\n  nodeSelector: {}\n"])
def test_a_policy_says_once_whom_it_selects(selectors: str) -> None:
    with pytest.raises(PolicyError, match="one of endpointSelector"):
        import_text(FORMATS["cilium"], f"{HEAD}{selectors}  egress: [{{}}]\n", "p.yaml")


@pytest.mark.parametrize(
    "rule",
    [
        "toEndpoints: [{}]", "toEntities: [world]", "toServices: [{k8sService: {}}]",
        "toFQDNs: [{matchName: 'x.example', unknown: 1}]", "surprise: 1",
        "toFQDNs: [{matchPattern: '**.*.example'}]", "toFQDNs: [{matchPattern: '*.*.example'}]",
        "authentication: {mode: required}",
    ],
)  # fmt: skip
def test_what_a_host_cannot_know_is_lost(rule: str) -> None:
    assert made(f"  egress:\n  - {{}}\n  - {rule}\n").lost
