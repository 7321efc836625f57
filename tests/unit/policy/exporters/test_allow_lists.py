"""Endpoints and sandboxes: what is written of a role, and what cannot be."""

from __future__ import annotations

import json

import pytest

from dnsfw.policy.exporters import Exported
from dnsfw.policy.importers import Kept
from tests.unit.policy.exporters.test_outcome import made

DENY = "default: deny"


def endpoints(*rules: str) -> Exported:
    return made("allowed-endpoints", "".join(f'  - {rule}"\n' for rule in rules), DENY)


def sandbox(*rules: str) -> tuple[Exported, list[str], list[str]]:
    done = made("sandbox", "".join(f'  - {rule}"\n' for rule in rules), DENY)
    network = json.loads(done.text)["network"]
    return done, network["allowedDomains"], network["deniedDomains"]


def test_each_port_is_an_endpoint() -> None:
    done = endpoints('allow: "x.example:80,443', 'allow: ".y.example:443',
                     'allow: "192.0.2.1:22-23')  # fmt: skip

    assert done.lost == ()
    assert done.text.splitlines()[1:] == [
        "x.example:80", "x.example:443", "y.example:443", "*.y.example:443",
        "192.0.2.1:22", "192.0.2.1:23",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    ["x.example", "x.example:443/tcp", "x.example:1-1000", "+.x.example:443", "a-*.x.example:443",
     "10.0.0.0/8:443", "x.example/icmp", "[2001:db8::1]:443"],
)  # fmt: skip
def test_what_is_no_endpoint_is_lost(rule: str) -> None:
    done = endpoints(f'allow: "{rule}')

    assert len(done.lost) == 1 and len(done.text.splitlines()) == 1


def test_a_denial_is_lost_where_something_is_open_around_it() -> None:
    done = endpoints('allow: "*.x.example:443', 'deny: "a.x.example', 'deny: "y.example')

    assert [(f.source, f.kept) for f in done.findings] == [
        ("deny a.x.example", Kept.LOST), ("deny y.example", Kept.NOTED),
    ]  # fmt: skip


def test_a_sandbox_has_tcp_alone_and_says_so() -> None:
    done, allowed, denied = sandbox('allow: "x.example', 'allow: ".y.example:443/tcp',
                                    'allow: "z.example/udp', 'deny: "a.y.example')  # fmt: skip

    assert (allowed, denied) == (["x.example", "y.example:443", "*.y.example:443"], ["a.y.example"])
    assert [f.source for f in done.lost] == ["allow z.example/udp"]
    assert "allow x.example" in [f.source for f in done.findings if f.kept is Kept.NOTED]


def test_what_a_denial_around_it_would_beat_is_lost() -> None:
    done, allowed, denied = sandbox('deny: "*.x.example', 'allow: "a.x.example',
                                    'allow: "192.0.2.1')  # fmt: skip

    assert [f.source for f in done.lost] == ["allow a.x.example"]
    assert (allowed, denied) == (["192.0.2.1"], ["*.x.example"])


@pytest.mark.parametrize("form", ["sandbox", "allowed-endpoints"])
def test_an_open_default_is_lost(form: str) -> None:
    assert "default: allow" in [f.source for f in made(form, "  - deny: x.example\n").lost]
