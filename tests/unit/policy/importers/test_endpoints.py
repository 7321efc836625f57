"""The YAML of endpoints: each pair of user and interface to its own prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, SubjectKind
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept, import_text
from tests.support.via import reaches

FIXTURE = Path(__file__).resolve().parents[3] / "data" / "imports" / "endpoints.yaml"
FORM = FORMATS["endpoints"]


def imported(text: str) -> Imported:
    return import_text(FORM, text, "endpoints.yaml")


def one(iface: str = "[eth0]", to: str = "[10.0.0.0/8]", allow: str = "[deploy]") -> str:
    return f"endpoints:\n  - x:\n      iface: {iface}\n      range: {to}\n      allow: {allow}\n"


def test_each_endpoint_of_the_example_is_told_with_its_line() -> None:
    done = imported(FIXTURE.read_text())

    assert [(f.line, f.became) for f in done.findings if f.kept is Kept.READ] == [
        (3, "www-data by eth0 to 169.254.169.254, [fd00:ec2::254]; nobody else"),
        (8, "deploy, 1001 by eth0, eth1 to 10.20.0.0/16; nobody else"),
    ]
    assert done.lost == ()


@pytest.mark.parametrize(
    ("user", "interface", "address", "open_"),
    [
        ("www-data", "eth0", "169.254.169.254", True),
        ("www-data", "eth0", "fd00:ec2::254", True),
        ("www-data", "eth1", "169.254.169.254", False),
        ("www-data", "eth0", "10.20.0.1", False),
        ("deploy", "eth0", "169.254.169.254", False),
        ("deploy", "eth0", "10.20.0.1", True),
        ("1001", "eth1", "10.20.255.255", True),
        ("1001", "eth1", "10.21.0.0", False),
        ("root", "eth0", "10.20.0.1", False),
        ("root", "eth0", "169.254.169.254", False),
        ("root", "wlan0", "169.254.169.254", True),
        ("deploy", "wlan0", "192.0.2.1", True),
    ],
)
def test_row_30_the_example_opens_what_it_lists_and_closes_the_rest(
    user: str, interface: str, address: str, open_: bool
) -> None:
    policy = compile_text(imported(FIXTURE.read_text()).text)

    assert reaches(policy, user, interface, address) is open_


def test_a_listed_interface_is_closed_for_whoever_is_not_named() -> None:
    policy = compile_text(imported(FIXTURE.read_text()).text)

    via = [s for s in policy.subjects if s.kind is SubjectKind.VIA and s.base == HOST]
    assert [s.value for s in via] == ["eth0", "eth1"]
    assert {policy.roles[s.role].name for s in via} == {"closed"}


def test_the_same_prefixes_are_one_role_whoever_and_wherever() -> None:
    policy = compile_text(imported(one("[eth0, eth1, eth2]", allow="[a, b, c]")).text)

    assert [name for name in policy.role_ids if name.startswith("to-")] == ["to-1"]


def test_a_metadata_service_inside_a_listed_range_is_open_as_it_was() -> None:
    policy = compile_text(imported(one(to="[169.254.0.0/16]")).text)

    assert reaches(policy, "deploy", "eth0", "169.254.169.254")
    assert not reaches(policy, "root", "eth0", "169.254.169.254")


def test_lone_values_are_lists_of_one() -> None:
    policy = compile_text(imported(one("eth0", "10.0.0.0/8", "deploy")).text)

    assert reaches(policy, "deploy", "eth0", "10.1.1.1")


def test_users_that_look_alike_keep_apart() -> None:
    text = one(allow="[web.app, web-app, Web-App, svc$]")

    policy = compile_text(imported(text).text)

    users = [s.value for s in policy.subjects if s.kind is SubjectKind.UID]
    assert users == ["web.app", "web-app", "Web-App", "svc$"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (one(to="[10.0.0.1/8]"), "'10.0.0.1/8' is no prefix"),
        (one(to="[example.com]"), "is no prefix"),
        (one(allow="['a b']"), "'a b' is neither a name nor a number"),
        (one(allow="[true]"), "is no uid"),
        (one(iface="['eth0/x']"), "is no interface"),
        (one(iface="[]"), "has no 'iface'"),
        (one(allow="[]"), "has no 'allow'"),
        ("endpoints: []\n", "no interface is listed"),
        ("endpoints:\n  - x\n", "is no object"),
        ("endpoints:\n  - x: [1]\n", "is no object"),
        ("endpoints:\n  - x: {iface: eth0, iface: eth1}\n", "stands twice"),
        ("endpoints: [\n", "endpoints.yaml:"),
    ],
)
def test_what_means_nothing_is_an_error_with_its_line(text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        imported(text)

    assert says in str(caught.value)
    assert str(caught.value).startswith("endpoints.yaml:")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (one() + "      ports: [443]\n", "ports: 1 entry"),
        (one() + "defaults: {x: 1}\n", "defaults: x=1"),
        (one(iface="[eth0, lo]"), "iface lo"),
    ],
)
def test_what_dnsfw_cannot_say_is_lost_and_named(text: str, source: str) -> None:
    assert [found.source for found in imported(text).lost] == [source]
