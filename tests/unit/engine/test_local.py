"""Special names at the level of zones; how clients see them is in scenario/test_local_names.py."""

from __future__ import annotations

import pytest

from dnsfw.engine.local import local_answer
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.wire.message import Rcode
from dnsfw.wire.name import from_text


def policy(*rules: str) -> RolePolicy:
    listed = "".join(f"  - {rule}\n" for rule in rules or ("allow: x.net",))
    return compile_text(f"version: 1\ndefault: allow\nrules:\n{listed}").host


@pytest.mark.parametrize(
    "name", [".", "net", "example.com", "xlocalhost", "onion.example.com", "arpa", "in-addr.arpa"]
)
def test_ordinary_names_are_not_local(name: str) -> None:
    assert local_answer(from_text(name), 1, policy()) is None


def test_localhost_has_two_addresses_and_nothing_else() -> None:
    v4 = local_answer(from_text("localhost"), 1, policy())
    v6 = local_answer(from_text("a.localhost"), 28, policy())
    other = local_answer(from_text("localhost"), 16, policy())

    assert v4 and v4.answers[0].rdata == bytes((127, 0, 0, 1))
    assert v6 and v6.answers[0].rdata == bytes(15) + b"\x01"
    assert other and other.rcode is Rcode.NOERROR and not other.answers and other.authority


def test_the_soa_is_of_the_zone_so_that_it_covers_the_name() -> None:
    found = local_answer(from_text("a.b.onion"), 1, policy())

    assert found and found.authority[0].owner == from_text("onion")


def test_the_default_does_not_lift_a_zone_but_a_rule_does_and_a_deny_does_not() -> None:
    name = from_text("nas.home.arpa")

    assert local_answer(name, 1, policy()) is not None
    assert local_answer(name, 1, policy("allow: .home.arpa")) is None
    assert local_answer(name, 1, policy("deny: .home.arpa")) is not None


def test_localhost_is_lifted_by_nothing() -> None:
    assert local_answer(from_text("localhost"), 1, policy("allow: localhost")) is not None


def test_a_name_below_a_canary_is_not_a_canary() -> None:
    assert local_answer(from_text("a.mask.icloud.com"), 1, policy()) is None
