"""The daemon and what comes over https, whole: rows 127 and 128. Real servers, real sockets, a
kernel in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.copies import Copies
from dnsfw.policy.remote import POLICY, Remote
from dnsfw.server.clock import boot_now
from dnsfw.server.options import Options
from dnsfw.server.provide import NotThere
from dnsfw.server.remote_start import provide_at_start
from tests.support.https import Ca, Https, answered, dripping
from tests.support.nanodns import NanoDns
from tests.support.remotes import in_there
from tests.support.running import Running, running
from tests.support.until import until


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(ca: Ca) -> Iterator[Https]:
    with Https(ca) as made:
        yield made


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has copies of its own."""
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state" / "remote"


def policy(site: Https, path: str = "/ads.txt", tests: object = None, **options: object) -> str:
    listing = {"list": site.url(path), "ca": str(site.ca.file), **options}
    more = {} if tests is None else {"tests": tests}
    return json.dumps(
        {"version": 1, "default": "allow", "rules": [{"deny": listing}], **more}
    )


def known(dns: NanoDns) -> NanoDns:
    """The publisher's host, and one that a list may deny."""
    dns.zone["localhost", "A"] = ["127.0.0.1"]
    for name in ("a.example", "b.example", "c.example"):
        dns.zone[name, "A"] = ["192.0.2.7"]
    return dns


async def denied(run: Running, *names: str) -> list[bool]:
    return [(await run.query(name)).header.rcode == 3 for name in names]


async def test_the_first_start_fetches_past_the_hosts_resolver(
    site: Https, tmp_path: Path, state: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], policy(site)) as run:
        assert await denied(run, "a.example", "b.example") == [True, False]
        assert ("localhost", "A", "udp") in dns.heard, "its own upstream was asked"
        _, status = await run.control("status")
        (row,) = status["remotes"]
        assert (row["state"], row["rules"], row["url"]) == ("good", 1, site.url("/ads.txt"))
        assert status["not_as_written"] == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in in_there(state))


async def test_a_boot_without_network_guards_with_the_copy(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns:
        async with running(tmp_path, [known(dns).endpoint], policy(site)):
            pass
        del dns.zone["localhost", "A"]  # neither name nor server
        site.pages.clear()

        async with running(tmp_path, [dns.endpoint], policy(site)) as run:
            assert await denied(run, "a.example", "b.example") == [True, False]


async def test_a_first_start_without_network_does_not_begin(site: Https, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"(?s)ads\.txt: no upstream knows.*`optional: true`"):
        async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy(site)):
            pass


async def test_a_first_start_may_do_without_what_is_optional(
    site: Https, tmp_path: Path
) -> None:
    text = policy(site, optional=True)
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], text) as run:
        assert await denied(run, "a.example") == [True]  # for the name is not there at all
        assert "not fetched" in run.log.text
        _, status = await run.control("status")
        assert status["remotes"][0]["state"] == "missing"
        assert "was never fetched" in status["not_as_written"][0]

        known(dns)
        site.put("/ads.txt", "a.example\n")
        _, done = await run.control("reload", fetch=True)
        assert done["ok"] and not done["warnings"], done
        assert await denied(run, "a.example", "b.example") == [True, False]


async def test_a_start_does_not_wait_for_ever(
    site: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.remote_start.LONGEST", 0.5)
    site.put("/ads.txt", dripping(every=8.0))
    path = tmp_path / "p.yaml"
    path.write_text(policy(site))
    async with NanoDns() as dns:
        options = Options(upstreams=(str(known(dns).endpoint),), dns_only=True)

        with pytest.raises(NotThere, match=r"nothing came for 0.5 s"):
            await provide_at_start(path, options, boot_now, lambda: 0.0)


async def test_a_start_waits_as_long_as_something_comes_and_says_so(
    site: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each download ends by its own limit of time all the same."""
    monkeypatch.setattr("dnsfw.server.remote_start.LONGEST", 1.0)
    monkeypatch.setattr("dnsfw.server.remote_start._TOLD", 0.1)
    site.put("/ads.txt", dripping())
    path = tmp_path / "p.yaml"
    path.write_text(policy(site, limits={"time": "3s"}))
    more: list[float] = []
    async with NanoDns() as dns:
        options = Options(upstreams=(str(known(dns).endpoint),), dns_only=True)

        with pytest.raises(NotThere, match="it took longer than 3 s"):
            await provide_at_start(path, options, boot_now, lambda: 0.0, more.append)

    assert len(more) > 3 and set(more) == {1.0}


async def test_where_nothing_is_missing_nobody_is_asked(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\ndefault: deny\n")

    assert await provide_at_start(path, Options(upstreams=("no",)), boot_now, lambda: 0.0) == []
    assert in_there(state) == []


async def test_a_newer_list_is_in_force_and_the_daemon_answers_meanwhile(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], policy(site)) as run:
        site.put("/ads.txt", "a.example\nb.example\n")
        asking = True
        answers = 0

        async def ask() -> None:
            nonlocal answers
            while asking:
                await run.query("c.example")
                answers += 1

        asker = asyncio.ensure_future(ask())
        _, done = await run.control("reload", fetch=True)
        asking = False
        await asker

        assert done["ok"] and answers > 5
        assert await denied(run, "a.example", "b.example", "c.example") == [True, True, False]


async def test_a_refresh_that_a_test_refuses_leaves_the_last_good_one(
    site: Https, tmp_path: Path, state: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    text = policy(site, tests=[{"allow": "b.example:443"}])
    async with NanoDns() as dns:
        async with running(tmp_path, [known(dns).endpoint], text) as run:
            site.put("/ads.txt", "a.example\nb.example\n")
            _, done = await run.control("reload", fetch=True)

            assert done["ok"] and "b.example" in done["warnings"][0]
            assert await denied(run, "a.example", "b.example") == [True, False]
            _, status = await run.control("status")
            assert status["policy_stale"] == "", "the file is in force as it is written"
            assert status["remotes"][0]["state"] == "stale"

        async with running(tmp_path, [dns.endpoint], text) as run:  # the copy is the old one
            assert await denied(run, "a.example", "b.example") == [True, False]


@pytest.mark.parametrize(
    "page",
    [answered(503), answered(body=b"<html>"), b"", answered(body=b"no name\n" * 10)],
    ids=["503", "page", "empty", "junk"],
)
async def test_row_128_a_bad_refresh_changes_nothing(
    site: Https, tmp_path: Path, page: bytes
) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], policy(site)) as run:
        site.put("/ads.txt", page)
        _, done = await run.control("reload", fetch=True)

        assert done["ok"] and site.url("/ads.txt") in done["warnings"][0]
        assert await denied(run, "a.example", "b.example") == [True, False]
        assert "the last good one stays in force" in run.log.text


async def test_what_is_optional_and_missing_is_told_once(site: Https, tmp_path: Path) -> None:
    text = policy(site, optional=True)
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], text) as run:
        site.put("/ads.txt", answered(503))
        _, done = await run.control("reload", fetch=True)

    assert [line for line in done["warnings"] if "503" in line] == done["failed"]
    assert len(done["failed"]) == 1


async def test_a_renewal_reads_no_file_that_somebody_is_editing(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], policy(site)) as run:
        run.policy.write_text("version: 1\ndefault: de")
        site.put("/ads.txt", "a.example\nb.example\n")

        assert await run.daemon.remotes.now() == (
            [f"{site.url('/ads.txt')}: a list of 2 rules"], []
        )  # fmt: skip
        assert await denied(run, "a.example", "b.example", "c.example") == [True, True, False]


async def test_a_reload_fetches_what_is_new_in_the_file(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", "a.example\n")
    plain = '{"version": 1, "default": "allow"}'
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], plain) as run:
        run.policy.write_text(policy(site))
        _, done = await run.control("reload")

        assert done["ok"], done
        assert await denied(run, "a.example", "b.example") == [True, False]
        _, status = await run.control("status")
        assert [row["rules"] for row in status["remotes"]] == [1]


async def test_a_reload_to_what_cannot_be_fetched_is_refused(
    site: Https, tmp_path: Path
) -> None:
    plain = '{"version": 1, "default": "allow"}'
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], plain) as run:
        run.policy.write_text(policy(site))
        _, done = await run.control("reload")

        assert done["exit"] == 2 and "404" in done["error"]
        _, status = await run.control("status")
        assert "404" in status["policy_stale"]


async def test_the_fetch_goes_by_marked_sockets_alone(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], policy(site)) as run:
        before = len(run.kernel.owned)

        await run.control("reload", fetch=True)

        assert len(run.kernel.owned) >= before + 3, "two questions and a connection"


async def test_a_kill_in_mid_download_leaves_the_copy(
    site: Https, tmp_path: Path, state: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    async with NanoDns() as dns:
        async with running(tmp_path, [known(dns).endpoint], policy(site)) as run:
            site.put("/ads.txt", dripping(every=0.005))
            asking = asyncio.ensure_future(run.control("reload", fetch=True))
            await until(lambda: site.asked("/ads.txt") > 1)
            parts = in_there(state, "*.part")
            left = [(path, path.read_bytes()) for path in parts]
            run.daemon.leave()
            await run.ended()
            asking.cancel()
        for path, data in left:
            path.write_bytes(data)  # as a kill would have left it

        async with running(tmp_path, [dns.endpoint], policy(site)) as run:
            assert await denied(run, "a.example", "b.example") == [True, False]


# whole policies


def pointer(site: Https, **options: object) -> str:
    remote = {"policy": site.url("/p.yaml"), "ca": str(site.ca.file), **options}
    return json.dumps({"version": 1, "remote": remote})


def whole(*denied: str, **more: object) -> str:
    return json.dumps(
        {"version": 1, "default": "allow", "rules": [{"deny": list(denied)}], **more}
    )


async def test_a_policy_elsewhere_is_in_force_and_renewed(site: Https, tmp_path: Path) -> None:
    site.put("/p.yaml", whole("a.example"))
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], pointer(site)) as run:
        assert await denied(run, "a.example", "b.example") == [True, False]

        site.put("/p.yaml", whole("b.example"))
        _, done = await run.control("reload", fetch=True)

        assert done["ok"] and not done["warnings"]
        assert await denied(run, "a.example", "b.example") == [False, True]


async def test_a_policy_elsewhere_may_name_a_list_that_is_new(
    site: Https, tmp_path: Path
) -> None:
    site.put("/p.yaml", whole("a.example"))
    site.put("/ads.txt", "b.example\n")
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], pointer(site)) as run:
        site.put("/p.yaml", policy(site))
        _, done = await run.control("reload", fetch=True)

        assert done["ok"] and not done["warnings"], done
        assert await denied(run, "a.example", "b.example") == [False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\ndefault: perhaps\n", "'default' is"),
        (whole("a.example", tests=[{"allow": "a.example:443"}]), "a.example"),
        (whole("b.example", revision=3), "revision 3"),
        ("<html>", "HTML"),
    ],
)
async def test_row_127_a_policy_that_is_wrong_or_older_changes_nothing(
    site: Https, tmp_path: Path, text: str, said: str
) -> None:
    site.put("/p.yaml", whole("a.example", revision=4))
    async with NanoDns() as dns, running(tmp_path, [known(dns).endpoint], pointer(site)) as run:
        site.put("/p.yaml", text)
        _, done = await run.control("reload", fetch=True)

        assert done["ok"] and said in done["warnings"][0], done
        assert await denied(run, "a.example", "b.example") == [True, False]
        found = Copies().get(Remote(site.url("/p.yaml"), POLICY))
        assert found is not None and "a.example" in Copies().text(found, 10_000)


async def test_row_127_an_older_policy_is_refused_after_a_restart_too(
    site: Https, tmp_path: Path
) -> None:
    site.put("/p.yaml", whole("a.example", revision=4))
    async with NanoDns() as dns:
        async with running(tmp_path, [known(dns).endpoint], pointer(site)):
            pass
        (tmp_path / "run" / "revision").unlink()  # a reboot
        async with running(tmp_path, [dns.endpoint], pointer(site)) as run:
            site.put("/p.yaml", whole("b.example", revision=3))
            _, done = await run.control("reload", fetch=True)

            assert "revision 3" in done["warnings"][0]
            assert await denied(run, "a.example", "b.example") == [True, False]


async def test_a_url_stands_where_a_policy_file_does(
    site: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.ca.file))
    url = site.put("/p.yaml", whole("a.example"))
    async with NanoDns() as dns:
        monkeypatch.setattr("tests.support.running.Options", lambda **given: Options(
            **{**given, "policy": url}
        ))  # fmt: skip
        async with running(tmp_path, [known(dns).endpoint]) as run:
            assert await denied(run, "a.example", "b.example") == [True, False]
            assert url in run.said[0]
            _, status = await run.control("status")
            assert status["policy"] == url

            site.put("/p.yaml", whole("b.example"))
            _, done = await run.control("reload", fetch=True)
            assert await denied(run, "a.example", "b.example") == [False, True], done


async def test_a_policy_that_names_nobody_elsewhere_has_no_rows(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, status = await run.control("status")

        assert status["remotes"] == []


def test_the_errors_are_the_operators() -> None:
    assert issubclass(NotThere, ConfigError)
    assert not issubclass(NotThere, PolicyError)
