"""From memory to disk: few rows a second, and no more than the policy wants known."""

from __future__ import annotations

from typing import Any, cast

from dnsfw.engine.effects import Note
from dnsfw.model import HOST, SECOND, Nanos, Reason, RoleId, RuleId, Verdict, addr_from
from dnsfw.policy.asked import parse_asked
from dnsfw.server.history import Learnt, Seen
from dnsfw.server.history_disk import HistoryDisk, Kept, KeptLearnt, KeptRefusals
from dnsfw.server.remembering import Remembering
from dnsfw.server.veil import CLEAR, Veil
from dnsfw.server.who_asks import NOBODY, Who
from dnsfw.wire.name import from_text

KIDS = RoleId(16)
NOTE = Note("refused", Verdict.DENY, Reason.BY_NAME, HOST, from_text("bad.x.com"), RuleId(9))
WHO = Who("10.0.0.2", "udp", 1000)
LEARNT = Learnt(
    HOST, from_text("www.x.com"), addr_from("192.0.2.7"), RuleId(9), (), 1.0, 2.0, Nanos(5), WHO
)


class Rows(list[Kept]):
    """A disk that a test reads."""

    def put(self, kept: Kept) -> None:
        self.append(kept)


def remembering(rows: Rows, veil: Veil = CLEAR, *, askers: bool = True) -> Remembering:
    row: dict[str, Any] = {
        "kind": "refused", "reason": "by-name", "rule": "deny bad.x.com", "name": "bad.x.com",
        "address": "", "text": "leads to y.com",
    }  # fmt: skip
    return Remembering(
        cast(HistoryDisk, rows), veil, lambda: Nanos(7 * SECOND),
        lambda role: {HOST: "host", KIDS: "kids"}[RoleId(role)], lambda rule: "allow .x.com",
        lambda what: dict(row), frozenset({"kids"}), askers=askers,
    )  # fmt: skip


def seen(note: Note = NOTE) -> Seen:
    return Seen(3.0, note, (), WHO)


def test_a_refusal_becomes_a_count_and_an_event() -> None:
    rows = Rows()
    remembering(rows).happened(4, seen())

    count, event = rows
    assert isinstance(count, KeptRefusals)
    assert (count.what, count.rule, count.asker) == ("bad.x.com", "deny bad.x.com", WHO)
    assert not isinstance(event, KeptLearnt | KeptRefusals) and event.id == 4


def test_row_137_roles_that_opted_out_leave_nothing() -> None:
    rows = Rows()
    kept = remembering(rows)
    kept.happened(4, seen(NOTE._replace(role=KIDS)))
    kept.learnt(LEARNT._replace(role=KIDS))

    assert rows == []


def test_row_137_under_a_veil_no_name_leaves_and_without_askers_nobody_does() -> None:
    rows = Rows()
    kept = remembering(rows, Veil(bytes(32)), askers=False)
    kept.happened(4, seen())
    kept.learnt(LEARNT)

    told = repr(rows)
    for secret in ("x.com", "y.com", "192.0.2", "10.0.0.2"):
        assert secret not in told
    assert all(getattr(row, "asker", NOBODY) == NOBODY for row in rows)


def test_row_136_a_flood_leaves_a_bounded_number_of_rows() -> None:
    rows = Rows()
    kept = remembering(rows)
    for n in range(10_000):
        kept.happened(n, seen())

    assert len(rows) == 2 * 3000
    assert kept.left_out == 7000


def test_what_somebody_asks_for_by_name_is_no_secret_to_him() -> None:
    veil = Veil(bytes(32))
    kept = remembering(Rows(), veil)
    item = KeptLearnt(
        "host", veil.name("www.x.com"), veil.address("192.0.2.7"), "", (), 1, 2, 1, ""
    )

    assert kept.clear(item, parse_asked("www.x.com"))[0] == "www.x.com"
    assert kept.clear(item, parse_asked("192.0.2.7"))[1] == "192.0.2.7"
    assert kept.clear(item, parse_asked("192.0.2.7"))[0].startswith("h:")
