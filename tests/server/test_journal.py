"""Which name held which address, over a crash."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from dnsfw.engine.effects import Holder
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, Nanos, RuleId, addr_from
from dnsfw.server import journal as journal_module
from dnsfw.server.journal import Journal, compact
from dnsfw.wire.name import from_text
from tests.support.until import until

ADDR = addr_from("192.0.2.7")


def holder(name: str = "www.example.com", until: int = 1000, rule: int = 300) -> Holder:
    return Holder(HOST, ADDR, from_text(name), RuleId(rule), Nanos(until))


class Clock:
    now = Nanos(10)

    def __call__(self) -> Nanos:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def reborn(tmp_path: Path, clock: Clock, boot: str = "one") -> list[Holder]:
    return Journal(tmp_path, clock, boot).restore()


def test_what_was_added_is_there_after_a_crash(tmp_path: Path, clock: Clock) -> None:
    one = holder()
    other = Holder(
        HOST, ADDR, from_text("b.example"), RuleId(301), Nanos(99),
        (from_text("c.example"), from_text("d.example")),
    )  # fmt: skip

    Journal(tmp_path, clock, "one").add([one, other])  # and nobody closed it

    assert reborn(tmp_path, clock) == [one, other]


def test_the_latest_record_of_a_name_wins(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, "one")
    journal.add([holder(until=50)])
    journal.add([holder(until=90)])

    assert reborn(tmp_path, clock) == [holder(until=90)]


def test_two_rules_of_one_name_are_two_records(tmp_path: Path, clock: Clock) -> None:
    Journal(tmp_path, clock, "one").add([holder(rule=300), holder(rule=301)])

    assert {h.rule for h in reborn(tmp_path, clock)} == {300, 301}


def test_what_is_over_is_not_restored(tmp_path: Path, clock: Clock) -> None:
    Journal(tmp_path, clock, "one").add([holder(until=50)])
    clock.now = Nanos(50)

    assert reborn(tmp_path, clock) == []


def test_the_records_of_another_boot_mean_nothing(tmp_path: Path, clock: Clock) -> None:
    Journal(tmp_path, clock, "one").add([holder()])

    assert reborn(tmp_path, clock, "two") == []


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_record_loses_only_itself(tmp_path: Path, clock: Clock, cut: int) -> None:
    Journal(tmp_path, clock, "one").add([holder("a.example"), holder("b.example")])
    path = tmp_path / "holders"
    path.write_bytes(path.read_bytes()[:-cut])

    assert reborn(tmp_path, clock) == [holder("a.example")]


def test_garbage_is_never_believed(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "holders").write_bytes(b"\xff" * 500)
    (tmp_path / "holders.base").write_bytes(b"")

    assert reborn(tmp_path, clock) == []


def test_a_full_disk_is_counted_and_stops_nobody(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path / "missing", clock, "one")

    journal.add([holder()])

    assert journal.failed == 1


async def test_it_is_compacted_and_loses_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_COMPACT_AT", 4096)
    journal = Journal(tmp_path, clock, "one")
    for round_ in range(300):
        journal.add([holder(until=1000 + round_), holder(f"n{round_ % 5}.example")])
        await until(lambda: not journal.compacting)

    assert size_of(tmp_path) < 300 * 60
    assert (tmp_path / "holders.base").exists()
    assert len(reborn(tmp_path, clock)) == 6
    assert holder(until=1299) in reborn(tmp_path, clock)


def test_a_crash_between_sealing_and_merging_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, "one")
    journal.add([holder("a.example")])
    (tmp_path / "holders").rename(tmp_path / "holders.sealed")
    Journal(tmp_path, clock, "one").add([holder("b.example")])

    assert reborn(tmp_path, clock) == [holder("a.example"), holder("b.example")]


def test_removal_forgets_everything(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path, clock, "one")
    journal.add([holder()])

    journal.remove()

    assert reborn(tmp_path, clock) == []
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_may_read_it(tmp_path: Path, clock: Clock) -> None:
    Journal(tmp_path, clock, "one").add([holder()])

    assert (tmp_path / "holders").stat().st_mode & 0o077 == 0


def test_what_is_compacted_reads_as_before(tmp_path: Path, clock: Clock) -> None:
    rng = Random(3)
    journal = Journal(tmp_path, clock, "one")
    until_ = 0
    for number in range(400):
        until_ += rng.randrange(3)
        name = rng.choice(("a.example", "b.example", "c.example"))
        chain = (from_text("x.example"),) if rng.random() < 0.3 else ()
        journal.add([holder(name, until_, rng.choice((300, 301)))._replace(chain=chain)])
        if number == 200:
            (tmp_path / "holders").rename(tmp_path / "holders.sealed")
            journal.close()
    (tmp_path / "holders").rename(tmp_path / "holders.base")  # what is in both, in this order
    paths = journal._paths
    clock.now = Nanos(until_ // 2)
    before = journal_module.read_journal((paths.base, paths.sealed), b"one", clock.now)

    compact(paths, b"one", clock.now)

    assert journal_module.read_journal((paths.base,), b"one", clock.now) == before
    assert len(before) > 1


def test_names_made_up_for_one_address_do_not_make_it_grow(tmp_path: Path, clock: Clock) -> None:
    """As many as the ledger remembers of an address, the latest, whatever else still lives there
    (row 105: the flood is an hour's, and the next start reads all of it).
    """
    kept = Limits().names_per_grant
    paths = journal_module._Paths(tmp_path)
    journal = Journal(tmp_path, clock, "one")
    flood = [holder(f"x{number}.example.com") for number in range(10 * kept)]
    journal.add(flood)
    journal.add([other := holder("www.example.net", rule=301), flood[0]])
    paths.live.rename(paths.sealed)

    compact(paths, b"one", clock.now)

    assert reborn(tmp_path, clock) == [*flood[1 - kept :], other, flood[0]]
