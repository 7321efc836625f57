"""The timetable of the daemon's sources, and what is told of them: rows 127 and 128."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.model import SECOND, Nanos
from dnsfw.policy.remote import Remote
from dnsfw.server.fetcher import Fetcher
from dnsfw.server.remotes import REMIND, RETRY, Remotes
from tests.support.https import Ca, Https, answered, dripping
from tests.support.remotes import Reloads, Wall, fetcher_in, in_there, source_at, update

DAY = 24 * 3600


class Middle:
    """A die that always falls in the middle: no jitter."""

    value = 0.5

    def random(self) -> float:
        return self.value


@dataclass
class Desk:
    """Remotes over a real fetcher, with clocks that a test turns."""

    site: Https
    directory: Path
    wall: Wall = field(default_factory=Wall)
    reload: Reloads = field(default_factory=Reloads)
    told: list[str] = field(default_factory=list)
    locked: bool = False
    die: Middle = field(default_factory=Middle)
    fetcher: Fetcher = field(init=False)
    remotes: Remotes = field(init=False)

    def __post_init__(self) -> None:
        self.again()

    def again(self) -> Remotes:
        """As after a restart."""
        self.fetcher = fetcher_in(self.directory, self.wall)
        self.remotes = Remotes(
            self.fetcher, lambda: self.directory / "none.yaml", self.reload,
            lambda kind, text: self.told.append(text), self.told.append, lambda: self.locked,
            lambda: Nanos(int(self.wall.time * SECOND)), self.wall, self.die,
        )  # fmt: skip
        return self.remotes

    async def beat(self, seconds: float = 0) -> None:
        """Time goes on, and what is due is done."""
        self.wall.time += seconds
        self.remotes.look()
        if (task := self.remotes._task) is not None:
            await task

    @property
    def row(self) -> dict[str, object]:
        (row,) = self.remotes.rows()
        return row


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def desk(ca: Ca, tmp_path: Path) -> Iterator[Desk]:
    with Https(ca) as site:
        site.put("/ads.txt", "a.example\n")
        yield Desk(site, tmp_path / "state")


async def fetched(desk: Desk, **options: object) -> Remote:
    """A source that is in force."""
    source = source_at(desk.site, **options)
    async with desk.fetcher.alone():
        await desk.fetcher.look(source)
        await desk.fetcher.accept(source)
    desk.remotes.take([source])
    return source


async def test_a_source_is_looked_at_when_its_time_has_come(desk: Desk) -> None:
    await fetched(desk)
    asked = desk.site.asked("/ads.txt")

    await desk.beat(DAY - 1)
    assert desk.site.asked("/ads.txt") == asked
    assert (desk.row["state"], desk.row["next"]) == ("good", 1)

    await desk.beat(1)
    assert desk.site.asked("/ads.txt") == asked + 1
    assert (desk.row["checked"], desk.row["next"]) == (0, DAY)
    assert desk.reload.asked == [], "nothing was new"


@pytest.mark.parametrize(("die", "share"), [(0.0, 0.9), (0.999999, 1.1)])
async def test_not_all_who_read_a_list_ask_at_the_same_second(
    desk: Desk, die: float, share: float
) -> None:
    desk.die.value = die
    await fetched(desk)

    assert desk.row["next"] == pytest.approx(DAY * share, abs=2)


async def test_a_restart_asks_no_sooner_and_no_later(desk: Desk) -> None:
    source = await fetched(desk)
    desk.wall.time += DAY / 2

    desk.again().take([source])
    assert desk.row["next"] == DAY / 2

    desk.wall.time += 10 * DAY
    desk.again().take([source])
    assert desk.row["next"] == 0


async def test_a_clock_that_was_set_back_does_not_put_it_off(desk: Desk) -> None:
    source = await fetched(desk)
    desk.wall.time -= 1000 * DAY

    desk.again().take([source])

    assert desk.row["next"] == DAY


async def test_what_is_new_is_tried_by_a_reload_and_then_kept(desk: Desk) -> None:
    source = await fetched(desk)
    desk.site.put("/ads.txt", "a.example\nb.example\n")

    await desk.beat(DAY)

    assert desk.reload.asked == [frozenset({source.digest})]
    assert desk.row["rules"] == 2
    assert any("a list of 2 rules is in force" in text for text in desk.told)
    copy = fetcher_in(desk.directory).copies.get(source)
    assert copy is not None and copy.names == 2


async def test_what_a_reload_refuses_is_dropped_and_the_old_one_stays(desk: Desk) -> None:
    source = await fetched(desk)
    desk.site.put("/ads.txt", "a.example\nb.example\n")
    desk.reload.refuse = "a test fails: deny b.example"

    await desk.beat(DAY)

    assert (desk.row["state"], desk.row["rules"]) == ("stale", 1)
    assert "a test fails" in str(desk.row["error"])
    assert "the last good one stays in force" in desk.told[-1]
    assert in_there(desk.directory, "*.next") == []
    copy = fetcher_in(desk.directory).copies.get(source)
    assert copy is not None and copy.names == 1


async def test_row_128_a_failure_is_said_once_and_tried_again_sooner(desk: Desk) -> None:
    await fetched(desk)
    desk.site.put("/ads.txt", answered(503))

    await desk.beat(DAY)
    waits = [desk.row["next"]]
    for _ in range(12):
        await desk.beat(float(str(desk.row["next"])))
        waits.append(desk.row["next"])

    assert waits[:4] == [RETRY, 2 * RETRY, 4 * RETRY, 8 * RETRY]
    assert waits[-1] == DAY, "never more rarely than it would be asked anyway"
    assert len([text for text in desk.told if "503" in text]) == 1
    assert float(str(desk.row["failing"])) > DAY

    desk.site.put("/ads.txt", "a.example\n")
    await desk.beat(DAY)
    assert (desk.row["state"], desk.row["error"], desk.row["failing"]) == ("good", "", None)
    assert "is fetched again" in desk.told[-1]


async def test_a_source_that_is_long_without_a_sign_of_life_is_late(desk: Desk) -> None:
    await fetched(desk)
    del desk.site.pages["/ads.txt"]

    await desk.beat(2 * DAY)
    assert desk.row["state"] == "stale"
    assert list(desk.remotes.wrong()) == []

    await desk.beat(DAY + 1)
    assert desk.row["state"] == "late"
    assert "was not refreshed for 3 times" in next(iter(desk.remotes.wrong()))
    assert any(text.startswith("ALARM: ") for text in desk.told)


async def test_row_127_what_has_expired_alarms_and_stays(desk: Desk) -> None:
    pytest.importorskip("cryptography")
    from tests.support.signer import Signer

    signer, body = Signer(), b"a.example\n"
    comment = "revision:1 expires:2027-02-01"  # sixteen days after the test's clock begins
    desk.site.put("/ads.txt.minisig", answered(body=signer.sign(body, comment)))
    source = await fetched(desk, key=signer.key, refresh=30 * DAY)
    assert desk.row["state"] == "good"
    assert 0 < float(str(desk.row["expires"])) < 30 * DAY

    await desk.beat(20 * DAY)
    for _ in range(5):
        await desk.beat(60)

    assert desk.row["state"] == "expired"
    alarms = [text for text in desk.told if text.startswith("ALARM")]
    assert alarms == [f"ALARM: {source.url} has expired; what it said last stays in force"]
    assert list(desk.remotes.wrong()) == [alarms[0].removeprefix("ALARM: ")]
    assert fetcher_in(desk.directory).copies.get(source) is not None, "it never opens"

    await desk.beat(REMIND)
    assert len([text for text in desk.told if text.startswith("ALARM")]) == 2


async def test_a_source_without_a_copy_is_fetched_at_once_and_told_of(desk: Desk) -> None:
    desk.site.put("/ads.txt", answered(404))
    desk.remotes.take([source_at(desk.site, optional=True)])
    assert (desk.row["state"], desk.row["next"]) == ("missing", 0)

    await desk.beat()
    assert "its rule says nothing" in desk.told[-1]
    assert len(list(desk.remotes.wrong())) == 1

    desk.site.put("/ads.txt", "a.example\n")
    await desk.beat(RETRY)
    assert (desk.row["state"], desk.row["rules"]) == ("good", 1)


async def test_nothing_leaves_in_a_lockdown(desk: Desk) -> None:
    await fetched(desk)
    asked, desk.locked = desk.site.asked("/ads.txt"), True

    await desk.beat(DAY)
    with pytest.raises(ConfigError, match="lockdown"):
        await desk.remotes.now()
    assert await desk.remotes.provide(desk.directory / "p.yaml") == []
    assert desk.site.asked("/ads.txt") == asked

    desk.locked = False
    await desk.beat()
    assert desk.site.asked("/ads.txt") == asked + 1


async def test_everything_can_be_looked_at_now(desk: Desk) -> None:
    good, bad = source_at(desk.site), source_at(desk.site, "/none.txt")
    desk.remotes.take([good, bad])

    new, failed = await desk.remotes.now()

    assert new == [f"{good.url}: a list of 1 rule"]
    assert len(failed) == 1 and failed[0].startswith(f"{bad.url}: the server says 404")


async def test_a_policy_without_a_source_forgets_it_and_keeps_the_others_time(
    desk: Desk,
) -> None:
    source = await fetched(desk)
    desk.wall.time += DAY / 4
    other = source_at(desk.site, "/other.txt")

    desk.remotes.take([source, other])
    assert [row["next"] for row in desk.remotes.rows()] == [DAY * 3 / 4, 0]

    desk.remotes.take([other])
    assert [row["url"] for row in desk.remotes.rows()] == [other.url]


async def test_the_end_of_the_daemon_waits_for_no_server(desk: Desk) -> None:
    desk.site.put("/ads.txt", dripping())
    desk.remotes.take([source_at(desk.site)])
    desk.remotes.look()
    await asyncio.sleep(0.2)

    async with asyncio.timeout(3):
        await desk.remotes.close()


async def test_one_look_at_a_time(desk: Desk) -> None:
    done = asyncio.Event()
    look: Callable[[Remote], object] = desk.fetcher.look

    async def slow(source: Remote) -> object:
        await done.wait()
        return await look(source)  # type: ignore[misc]

    desk.fetcher.look = slow  # type: ignore[method-assign,assignment]
    desk.remotes.take([source_at(desk.site)])
    for _ in range(5):
        desk.remotes.look()
        await asyncio.sleep(0)
    done.set()
    assert desk.remotes._task is not None
    await desk.remotes._task

    assert desk.site.asked("/ads.txt") == 1


async def test_update_is_what_the_daemon_does(desk: Desk) -> None:
    """The helper of these tests takes what is new, once."""
    source = source_at(desk.site)

    assert await update(desk.fetcher, source)
    assert not await update(desk.fetcher, source)
