"""`host:port` lists, alone and in a workflow."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Mode, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, import_text, recognize

FORM = FORMATS["allowed-endpoints"]


def made(text: str) -> Imported:
    return import_text(FORM, text, "w.yml")


def workflow(*blocks: str) -> str:
    steps = "".join(f"      - with:\n{block}" for block in blocks)
    return f"on: [push]\njobs:\n  a:\n    steps:\n{steps}"


ONE = "          egress-policy: block\n          allowed-endpoints: >\n            a.example:443\n"


def test_each_word_has_its_line_folded_or_not() -> None:
    folded = workflow(ONE + "            b.example:80\n")

    assert [(f.line, f.source) for f in made(folded).findings] == [
        (8, "a.example:443"), (9, "b.example:80"),
    ]  # fmt: skip
    bare = made("# x\na.example:1  b.example:2 # c:3\n\n c.example:3")
    assert [f.line for f in bare.findings] == [2, 2, 4]


def test_what_it_does_not_name_is_closed_and_audit_stays_audit() -> None:
    block, audit = made(workflow(ONE)), made(workflow(ONE.replace("block", "audit")))

    assert compile_text(block.text).host.default is Verdict.DENY
    assert compile_text(block.text).host.mode is Mode.ENFORCE
    assert compile_text(audit.text).host.mode is Mode.AUDIT


@pytest.mark.parametrize(
    "word",
    ["x.example", "https://x.example:443", "x.example:", "x.example:0", "*x.example:443",
     "a.*.example:443", "$HOST:443", "[::1:443", "10.0.0.1/8:443", "-", "x.example:443,"],
)  # fmt: skip
def test_a_word_that_is_no_endpoint_is_lost(word: str) -> None:
    done = made(f"a.example:443\n{word}\n")

    assert [(f.line, f.source) for f in done.lost] == [(2, word)]
    assert len(compile_text(done.text).host.rules) == 1


def test_two_lists_of_one_file_are_two_policies_unless_they_are_the_same() -> None:
    other = ONE.replace("a.example", "b.example")

    assert made(workflow(ONE, ONE)).lost == ()
    assert "line 7" in made(workflow(ONE, other)).lost[0].became
    assert made(workflow(ONE, ONE.replace("block", "audit"))).lost


def test_a_workflow_is_known_by_its_key_and_a_bare_list_is_not() -> None:
    assert recognize(workflow(ONE)) is FORM
    assert recognize("a.example:443\n") is None


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "allowed-endpoints: []\n", "allowed-endpoints: ''\n", "x: [\n"]
)
def test_a_list_without_an_endpoint_is_an_error(text: str) -> None:
    try:
        lost = made(text).lost
    except PolicyError:
        return

    assert lost
