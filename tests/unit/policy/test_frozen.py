"""A compiled policy as bytes: the same policy again, and nothing but a policy."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from dnsfw.model import Addr, Name, addr_from
from dnsfw.policy.compile import compile_text, load
from dnsfw.policy.digest import digest
from dnsfw.policy.files import shipped
from dnsfw.policy.frozen import NotWhole, freeze, shape, thaw
from dnsfw.policy.lists.store import ENVIRONMENT
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text

SHIPPED = sorted(p.name for p in shipped().glob("*.yaml") if not p.name.endswith(".test.yaml"))
ASKED = [
    from_text(text)
    for text in (
        "example.com", "www.example.com", "a.b.example.com", "github.com", "api.github.com",
        "pypi.org", "evil.example", "ads.example", "x.ads.example", "localhost",
        "use-application-dns.net",
    )
]  # fmt: skip
ADDRESSES = [addr_from(ip_address(t)) for t in ("169.254.169.254", "10.20.0.9", "2001:db8::1")]


def said(policy: Policy, name: Name) -> list[Any]:
    found = []
    for role in policy.roles.values():
        judged = role.judge(name)
        where = str(judged.rule and judged.rule.where)
        ranked = [rule.text for rule in role.ranked(name)]
        found.append((judged.reason, judged.verdict, where, ranked))
    return found


def reached(policy: Policy, addr: Addr) -> list[Any]:
    return [role.addr_shares(addr) for role in policy.roles.values()]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_policy_is_the_same_again(name: str) -> None:
    policy = replace(load(shipped() / name), tests=())

    again = thaw(freeze(policy))

    assert again.plan() == policy.plan()
    assert again.dns == policy.dns
    assert (again.subjects, again.places) == (policy.subjects, policy.places)
    assert again.texts == policy.texts
    assert digest(again) == digest(policy)
    for asked in ASKED:
        assert said(again, asked) == said(policy, asked)
    for addr in ADDRESSES:
        assert reached(again, addr) == reached(policy, addr)
    for number, role in again.roles.items():
        was = policy.roles[number]
        assert (role.closes, role.keeps) == (was.closes, was.keeps)


def test_what_is_judged_fast_is_judged_fast_again() -> None:
    """Judgements are shared: who holds one name's holds that of another alike."""
    text = "version: 1\ndefault: deny\nrules: [{allow: '*.a.example'}]\n"
    policy = thaw(freeze(compile_text(text)))

    judge = policy.host.judge
    assert judge(from_text("x.a.example")) is judge(from_text("y.a.example"))


def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    (tmp_path / "ads.txt").write_text("ads.example\n192.0.2.0/24\n")
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\ndefault: allow\nrules: [{deny: {list: ads.txt, as: suffix}}]\n")
    return load(file)


def test_a_list_is_mapped_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = listed(tmp_path, monkeypatch)

    again = thaw(freeze(policy))

    name = from_text("x.ads.example")
    assert said(again, name) == said(policy, name)
    assert again.plan() == policy.plan()


def test_another_list_in_its_place_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = freeze(listed(tmp_path, monkeypatch))
    (old,) = (tmp_path / "cache").glob("*.list")
    (tmp_path / "ads.txt").write_text("other.example\n")
    load(tmp_path / "policy.yaml")
    (new,) = (tmp_path / "cache").glob("*.list")
    new.rename(old)

    with pytest.raises(NotWhole, match="another list"):
        thaw(data)


class Call:
    """What a pickle that means harm looks like."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


@pytest.mark.parametrize(
    "function",
    [os.system, eval, open, getattr, Path.unlink, freeze, load, pickle.loads, Policy.plan],
    ids=lambda function: function.__qualname__,
)
def test_no_function_can_be_named(function: Any, tmp_path: Path) -> None:
    target = tmp_path / "harm"

    with pytest.raises(NotWhole):
        thaw(pickle.dumps(Call(function, f"touch {target}")))
    assert not target.exists()


@pytest.mark.parametrize("data", [b"", b"x", b"\x80\x05.", freeze([1])[:-3]])
def test_what_is_no_value_is_not_whole(data: bytes) -> None:
    with pytest.raises(NotWhole):
        thaw(data)


def test_the_shape_is_that_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = shape()
    monkeypatch.setattr("dnsfw.policy.frozen._PLAIN", frozenset())
    shape.cache_clear()
    try:
        assert shape() != before
    finally:
        shape.cache_clear()
