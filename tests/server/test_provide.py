"""What a policy lacks is fetched before it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.policy.compile import load
from dnsfw.policy.copies import Copies
from dnsfw.server.provide import NotThere, provide, provide_now
from tests.support.https import Ca, Https
from tests.support.remotes import Wall, fetcher_in


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(ca: Ca) -> Iterator[Https]:
    with Https(ca) as made:
        yield made


def listing(site: Https, path: str, **options: object) -> dict[str, object]:
    return {"deny": {"list": site.url(path), "ca": str(site.ca.file), **options}}


def policy(tmp_path: Path, *rules: object, **more: object) -> Path:
    path = tmp_path / "p.yaml"
    default = {} if "remote" in more else {"default": "allow"}
    told = {"rules": rules} if rules else {}
    path.write_text(json.dumps({"version": 1, **default, **told, **more}))
    return path


async def test_a_list_without_a_copy_is_fetched_and_one_with_a_copy_is_not(
    site: Https, tmp_path: Path
) -> None:
    site.put("/a", "a.example\n")
    path, fetcher = policy(tmp_path, listing(site, "/a")), fetcher_in(tmp_path / "state")

    await provide(path, fetcher)
    await provide(path, fetcher)

    assert len(load(path, copies=fetcher.copies).host.lists) == 1
    assert site.asked("/a") == 1

    await provide(path, fetcher, newest=True)
    assert site.asked("/a") == 2


async def test_what_a_fetched_policy_names_is_fetched_too(site: Https, tmp_path: Path) -> None:
    site.put("/a", "a.example\n")
    whole = {"version": 1, "default": "allow", "rules": [listing(site, "/a")]}
    site.put("/p.yaml", json.dumps(whole))
    pointer = {"policy": site.url("/p.yaml"), "ca": str(site.ca.file)}
    path, fetcher = policy(tmp_path, remote=pointer), fetcher_in(tmp_path / "state")

    await provide(path, fetcher)

    assert len(load(path, copies=fetcher.copies).host.lists) == 1


async def test_what_is_needed_and_not_there_is_told_with_what_else_is(
    site: Https, tmp_path: Path
) -> None:
    site.put("/c", "c.example\n")
    path = policy(tmp_path, *(listing(site, f"/{name}") for name in "abc"))
    fetcher = fetcher_in(tmp_path / "state")

    with pytest.raises(NotThere) as caught:
        await provide(path, fetcher)

    first, second, remedy = str(caught.value).splitlines()
    assert first.startswith(site.url("/a")) and second.startswith(site.url("/b"))
    assert "404" in first and "`optional: true`" in remedy
    assert len(list((tmp_path / "state").glob("*.json"))) == 1, "the third was fetched"


async def test_what_is_optional_is_told_and_missed(site: Https, tmp_path: Path) -> None:
    path = policy(tmp_path, listing(site, "/a", optional=True))
    told: list[str] = []

    await provide(path, fetcher_in(tmp_path / "state"), told=told.append)

    assert len(told) == 1 and "not fetched" in told[0]


async def test_an_old_copy_stands_in_for_a_server_that_fails(
    site: Https, tmp_path: Path
) -> None:
    site.put("/a", "a.example\n")
    path, fetcher = policy(tmp_path, listing(site, "/a")), fetcher_in(tmp_path / "state")
    await provide(path, fetcher)
    del site.pages["/a"]
    told: list[str] = []

    await provide(path, fetcher, newest=True, told=told.append)

    assert "404" in told[0]
    assert len(load(path, copies=Copies(tmp_path / "state")).host.lists) == 1


async def test_a_policy_without_sources_makes_no_directory(tmp_path: Path) -> None:
    path = policy(tmp_path, {"deny": "a.example"})

    await provide(path, fetcher_in(tmp_path / "state"))

    assert not (tmp_path / "state").exists()


def test_a_command_fetches_what_is_missing_and_no_more(
    site: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    site.put("/a", "a.example\n")
    path = policy(tmp_path, listing(site, "/a"), listing(site, "/b", optional=True))

    first = provide_now(path, Wall())
    assert len(first) == 1 and "/b: not fetched" in first[0]
    site.put("/b", "b.example\n")
    assert provide_now(path, Wall()) == []
    assert provide_now(path, Wall()) == []

    assert (site.asked("/a"), site.asked("/b")) == (1, 2)


@pytest.mark.parametrize(
    "newer", ["a.example\nb.example\n", "<html>", "a.example\n"], ids=["tests", "page", "same"]
)
async def test_row_127_what_the_policys_tests_refuse_does_not_become_the_copy(
    site: Https, tmp_path: Path, newer: str
) -> None:
    site.put("/a", "a.example\n")
    path = policy(tmp_path, listing(site, "/a"), tests=[{"allow": "b.example:443"}])
    fetcher, told = fetcher_in(tmp_path / "state"), list[str]()
    await provide(path, fetcher)

    site.put("/a", newer)
    await provide(path, fetcher, newest=True, told=told.append)

    assert len(told) == (newer != "a.example\n")
    (found,) = load(path, copies=Copies(tmp_path / "state")).host.lists
    assert len(found.table) == 1


async def test_what_is_newer_and_good_is_taken(site: Https, tmp_path: Path) -> None:
    site.put("/a", "a.example\n")
    path, fetcher = policy(tmp_path, listing(site, "/a")), fetcher_in(tmp_path / "state")
    await provide(path, fetcher)

    site.put("/a", "a.example\nb.example\n")
    await provide(path, fetcher, newest=True)

    (found,) = load(path, copies=Copies(tmp_path / "state")).host.lists
    assert len(found.table) == 2


async def test_row_127_an_older_policy_does_not_become_the_copy(
    site: Https, tmp_path: Path
) -> None:
    site.put("/p.yaml", "version: 1\ndefault: deny\nrevision: 4\n")
    path = policy(tmp_path, remote={"policy": site.url("/p.yaml"), "ca": str(site.ca.file)})
    fetcher, told = fetcher_in(tmp_path / "state"), list[str]()
    await provide(path, fetcher)

    site.put("/p.yaml", "version: 1\ndefault: deny\nrevision: 3\n")
    await provide(path, fetcher, newest=True, told=told.append)

    assert "revision 3 is older than 4" in told[0]
    assert load(path, copies=fetcher.copies).revision == 4
