"""Notes say who, what and why; names in their text are safe to print."""

from __future__ import annotations

from dnsfw.engine import notes
from dnsfw.engine.filter import Blocked
from dnsfw.engine.places import Left
from dnsfw.model import DEFAULT_RULE, HOST, Reason, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.wire.name import from_text

NAME = from_text("x.net")
ADDR = addr_from("192.0.2.1")
RULE = compile_text("version: 1\ndefault: allow\nrules: [deny: ads.net]\n").host.rules[0]


def test_every_kind_blames_its_rule_or_the_default() -> None:
    assert notes.refused(HOST, NAME, Reason.BY_NAME, RULE).rule == RULE.id
    assert notes.refused(HOST, NAME, Reason.NAME_DEFAULT, None).rule == DEFAULT_RULE


def test_kinds_and_verdicts() -> None:
    found = [
        notes.refused(HOST, NAME, Reason.BY_NAME, RULE),
        notes.audited(HOST, NAME, Reason.BY_NAME, RULE),
        notes.filtered(HOST, NAME, None, ADDR, Reason.FILTERED),
        notes.left_out(HOST, NAME, None, ADDR, Left.FULL),
        notes.left_out(HOST, NAME, None, ADDR, Left.CLOSED),
        notes.cut_short(HOST, NAME, None, 3),
        notes.shared(HOST, NAME, None, ADDR, NAME, Verdict.ALLOW),
        notes.upstream_failed(HOST, NAME, 0, "refused"),
        notes.not_opened(HOST, NAME, DEFAULT_RULE, ADDR),
        notes.not_closed(HOST, NAME, None, 5),
    ]

    assert [(n.kind, n.verdict.name, n.reason.name) for n in found] == [
        ("refused", "DENY", "BY_NAME"),
        ("audited", "ALLOW", "AUDITED"),
        ("filtered", "DENY", "FILTERED"),
        ("table-full", "DENY", "TABLE_FULL"),
        ("shared", "DENY", "CLOSED"),
        ("table-full", "DENY", "TABLE_FULL"),
        ("shared", "ALLOW", "BY_NAME"),
        ("upstream-failed", "DENY", "BY_NOTHING"),
        ("table-full", "DENY", "TABLE_FULL"),
        ("table-full", "ALLOW", "TABLE_FULL"),
    ]


def test_row_134_a_hostile_name_cannot_drive_a_terminal() -> None:
    hostile = from_text("\\027[2J.net")

    by = Blocked(hostile, Reason.CHAIN_DENIED, RULE)

    assert "\x1b" not in notes.chain_refused(HOST, NAME, by).text
    assert "\x1b" not in notes.shared(HOST, NAME, RULE, ADDR, hostile, Verdict.DENY).text
