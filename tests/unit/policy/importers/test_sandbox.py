"""The domains of agent sandboxes: what is denied stays denied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept, import_text, recognize
from dnsfw.wire.name import from_text

FORM = FORMATS["sandbox"]


def made(**network: Any) -> Imported:
    return import_text(FORM, json.dumps({"network": network}, indent=1), "s.json")


def allowed(done: Imported, name: str, port: int = 443, proto: int = 6) -> bool:
    found = compile_text(done.text).host.judge(from_text(name))
    return found.share(proto, port).verdict is Verdict.ALLOW


def test_a_domain_is_open_for_tcp_and_with_a_port_for_that_port() -> None:
    done = made(allowedDomains=["x.example", "y.example:22", "*.z.example"])

    assert done.lost == ()
    assert allowed(done, "x.example") and not allowed(done, "x.example", 443, 17)
    assert allowed(done, "y.example", 22) and not allowed(done, "y.example", 443)
    assert allowed(done, "a.b.z.example") and not allowed(done, "z.example")
    assert not allowed(done, "other.example")


def test_what_is_denied_is_denied_whatever_is_more_specific() -> None:
    done = made(allowedDomains=["*.x.example", "a.y.example"],
                deniedDomains=["b.x.example", "*.y.example"])  # fmt: skip

    assert done.lost == ()
    assert allowed(done, "a.x.example") and not allowed(done, "b.x.example")
    assert not allowed(done, "a.y.example")
    assert [f.kept for f in done.findings if f.source.endswith(" a.y.example")] == [Kept.NOTED]


def test_where_only_a_port_is_denied_nobody_guesses() -> None:
    done = made(allowedDomains=["a.x.example"], deniedDomains=["*.x.example:22"])

    assert [f.source for f in done.lost] == ["allowedDomains a.x.example"]


@pytest.mark.parametrize(
    "around",
    ["NET", '{"network": NET}', '{"sandbox": {"enabled": true, "network": NET}}',
     '{"permissions": {}, "sandbox": {"network": NET}, } // ours'],
)  # fmt: skip
def test_the_domains_are_found_wherever_a_sandbox_has_them(around: str) -> None:
    text = around.replace("NET", '{"allowedDomains": ["x.example"]}')

    done = import_text(FORM, text, "s.json")

    assert done.lost == () and allowed(done, "x.example")
    assert recognize(text) is FORM


def test_an_empty_list_allows_nothing_and_a_missing_one_is_told() -> None:
    assert made(allowedDomains=[]).lost == ()
    assert compile_text(made(allowedDomains=[]).text).host.default is Verdict.DENY
    assert made(deniedDomains=["x.example"]).lost


@pytest.mark.parametrize(
    "value", ["http://x.example", "x.example/a", ".x.example", "+.x.example", "a-*.x.c", "", 7]
)
def test_what_is_no_domain_there_is_lost(value: object) -> None:
    done = made(allowedDomains=[value, "fine.example"])

    assert len(done.lost) == 1 and allowed(done, "fine.example")


def test_every_domain_is_a_wide_word_and_says_so() -> None:
    done = made(allowedDomains=["*"])

    assert done.lost == () and allowed(done, "whatever.example")
    assert any("broad" in f.became for f in done.findings)


@pytest.mark.parametrize("text", ["[]", "{", '{"network": 7}'])
def test_what_is_no_such_file_is_an_error_or_lost(text: str) -> None:
    try:
        assert import_text(FORM, text, "s.json").lost
    except PolicyError as error:
        assert str(error).startswith("s.json:")
