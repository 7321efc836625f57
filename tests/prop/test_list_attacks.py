"""Lists of somebody else's, hostile or huge: bounds as ratios and counts, never as seconds."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import Verdict
from dnsfw.policy import matcher
from dnsfw.policy.compile import load
from dnsfw.policy.lists import store
from dnsfw.policy.lists.formats import Format, read_list
from dnsfw.policy.lists.store import ListSource, Store
from dnsfw.policy.lists.table import Table, build
from dnsfw.wire.name import from_text

FEW, TIMES = 2_000, 16
LINES = {
    Format.PLAIN: "{}", Format.HOSTS: "0.0.0.0 {}", Format.WILDCARD: "*.{}",
    Format.ADBLOCK: "||{}^", Format.RPZ: "*.{} CNAME .", Format.DNSMASQ: "address=/{}/",
}  # fmt: skip
ERROR_PAGE = """<!DOCTYPE html>
<html><head><title>503</title></head>
<body>
Unavailable
<p>Try again later, or ask ops@lists.example.</p>
</body></html>
"""


def names(count: int) -> list[str]:
    rng = random.Random(count)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"{''.join(rng.choices(letters, k=8))}{at:x}.example.com" for at in range(count)]


def least(run: Callable[[], object], turns: int = 5) -> int:
    """Nanoseconds of this thread: of a few turns the one that nobody disturbed."""
    found = []
    for _ in range(turns):
        start = time.thread_time_ns()
        run()
        found.append(time.thread_time_ns() - start)
    return min(found)


def table(some: list[str]) -> Table:
    parsed = read_list("".join(f"||{name}^\n" for name in some), Format.ADBLOCK)
    return Table(memoryview(build(parsed, {"exceptions_first": True})))


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.value)
def test_row_125_a_line_without_end_costs_itself_alone(kind: Format) -> None:
    line = LINES[kind].format("ads.example")
    endless = LINES[kind].format("x" * 1_000_000)

    parsed = read_list(f"{endless}\n{line}\n", kind)

    assert parsed.names == ["ads.example"]
    assert sum(parsed.refusals.values()) == 1
    assert all(len(why) < 1000 for _, why in parsed.refused)


def test_row_125_a_list_has_a_size(
    kept: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ads.txt"
    path.write_text("ads.example\n" * 100)
    monkeypatch.setattr(store, "MAX_SOURCE", 1000)

    with pytest.raises(ConfigError, match="larger than"):
        kept.load(ListSource(path, Format.PLAIN))


def test_row_125_refused_lines_are_counted_and_the_first_are_kept() -> None:
    parsed = read_list("<p>\n" * 50_000, Format.PLAIN)

    assert sum(parsed.refusals.values()) == 50_000
    assert len(parsed.refused) <= 1000


@pytest.mark.parametrize("kind", Format, ids=lambda kind: kind.value)
@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", ERROR_PAGE], ids=repr)
def test_row_128_an_empty_list_and_an_error_page_are_errors_not_lists(
    kept: Store, tmp_path: Path, kind: Format, text: str
) -> None:
    path = tmp_path / "ads.txt"
    path.write_text(text)

    with pytest.raises(PolicyError, match="no line of it is a rule"):
        kept.load(ListSource(path, kind))


def test_row_128_a_list_that_became_an_error_page_stops_the_reload_not_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\ndefault: allow\nrules:\n  - deny: {list: ads.txt}\n")
    (tmp_path / "ads.txt").write_text("ads.example\n")
    before = load(path)
    (tmp_path / "ads.txt").write_text(ERROR_PAGE)

    with pytest.raises(PolicyError, match="no line of it is a rule"):
        load(path)

    assert before.host.judge(from_text("ads.example")).verdict is Verdict.DENY


@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.value)
@pytest.mark.parametrize(
    "name", ["com", "localhost", "", ".", "*", "*.", "0.0.0.0", "127.0.0.1", "..", "-.", "::1"]
)
def test_row_129_nothing_that_is_everything_gets_into_a_list(kind: Format, name: str) -> None:
    parsed = read_list(LINES[kind].format(name) + "\n", kind, suffix=True)

    assert parsed.names == []


@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.value)
@pytest.mark.parametrize("name", ["co.uk", "github.io", "CO.UK."])
def test_row_129_a_public_suffix_with_all_below_it_does_not_either(
    kind: Format, name: str
) -> None:
    parsed = read_list(LINES[kind].format(name) + "\n", kind, suffix=True)

    assert parsed.names == []
    assert sum(parsed.refusals.values()) == 1


@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.value)
def test_row_131_sixteen_times_the_names_take_no_more_than_their_share(kind: Format) -> None:
    def run(count: int) -> Callable[[], object]:
        text = "".join(LINES[kind].format(name) + "\n" for name in names(count))
        return lambda: build(read_list(text, kind), {})

    assert least(run(FEW * TIMES), 2) < 3 * TIMES * least(run(FEW))


def test_row_131_a_look_up_takes_its_labels_not_the_lists_length() -> None:
    few, many = table(names(100)), table(names(100 * 16 * 16))
    asked = [from_text("www." + name) for name in names(100)]

    def ask(listed: Table) -> Callable[[], object]:
        return lambda: [listed.find(name) for name in asked]

    assert least(ask(many)) < 4 * least(ask(few))


def test_row_131_a_compiled_list_is_smaller_than_its_names_and_is_not_read_into_memory(
    kept: Store, tmp_path: Path
) -> None:
    path = tmp_path / "ads.txt"
    path.write_text("\n".join(names(FEW * TIMES)))
    source = ListSource(path, Format.PLAIN)
    kept.load(source)
    (compiled,) = kept.directory.glob("*.list")

    tracemalloc.start()
    try:
        listed = kept.load(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(listed) == FEW * TIMES
    assert compiled.stat().st_size < path.stat().st_size
    assert peak < compiled.stat().st_size / 4


def test_row_131_what_was_asked_is_remembered_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(matcher, "_MAX_REMEMBERED", 10)
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\ndefault: allow\nrules:\n  - deny: {list: ads.txt}\n")
    (tmp_path / "ads.txt").write_text("\n".join(names(500)))
    judge = load(path).host.judge

    judgements = {id(found): found for found in map(judge, map(from_text, names(500)))}
    again = judge(from_text(names(500)[-1]))

    assert all(found.verdict is Verdict.DENY for found in judgements.values())
    assert judge(from_text(names(500)[-1])) is again  # remembered
    assert judge(from_text(names(500)[0])) is not judgements[next(iter(judgements))]  # forgotten
