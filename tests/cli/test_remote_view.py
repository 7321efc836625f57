"""`check --fetch`, `reload --fetch` and `status`: what comes over https, for people. Rows 127
and 128."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dnsfw.cli.main import cli
from dnsfw.cli.remote_view import remote_line, status_words
from tests.support.commands import dnsfw_beside
from tests.support.https import Ca, Https
from tests.support.nanodns import NanoDns
from tests.support.running import running

DAY = 86400
GOOD = {
    "url": "https://x.example/a", "what": "list", "state": "good", "told": "", "rules": 1000,
    "age": 2 * DAY, "checked": 60, "revision": None, "expires": None, "error": "",
    "failing": None, "next": 3600, "there": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(ca: Ca) -> Iterator[Https]:
    with Https(ca) as made:
        yield made


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))


def check(*args: str) -> Result:
    return CliRunner().invoke(cli, ["check", *args], catch_exceptions=False)


def policy(tmp_path: Path, site: Https, **options: Any) -> Path:
    listing = {"list": site.url("/ads.txt"), "ca": str(site.ca.file), **options}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps({"version": 1, "default": "allow", "rules": [{"deny": listing}]}))
    return path


def test_without_a_copy_check_says_how_to_get_one(site: Https, tmp_path: Path) -> None:
    result = check(str(policy(tmp_path, site)))

    assert result.exit_code == 1
    assert "there is no copy" in result.stderr and "`dnsfw check --fetch`" in result.stderr
    assert site.heard == [], "nobody asked for a download"


def test_check_fetches_when_told_to_and_reads_the_copy_later(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\nb.example\ncom\n")
    path = policy(tmp_path, site)

    first = check("--fetch", str(path))
    again = check(str(path))

    assert first.exit_code == again.exit_code == 0
    line = rf"  {site.url('/ads.txt')}: 2 rules, from \d+s ago, checked \d+s ago\n"
    assert re.search(line, again.stdout)
    assert site.asked("/ads.txt") == 1
    (row,) = json.loads(check("--json", str(path)).stdout)
    (remote,) = row["remotes"]
    assert (remote["rules"], remote["there"], len(remote["sha256"])) == (2, True, 64)


def test_row_129_a_list_that_would_take_a_country_off_the_net_is_told_of(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "||ads.example^\n||com^\n||co.uk^\n||localhost^\n")

    result = check("--fetch", str(policy(tmp_path, site, format="adblock")))

    assert result.exit_code == 0
    assert "2 a top-level name" in result.stderr
    assert "1 a public suffix and all below it" in result.stderr
    assert f"{site.url('/ads.txt')}: 1 rule," in result.stdout


def test_a_fetch_that_fails_is_an_error_with_its_reason(site: Https, tmp_path: Path) -> None:
    result = check("--fetch", str(policy(tmp_path, site)))

    assert result.exit_code == 2
    assert f"{site.url('/ads.txt')}: the server says 404" in result.stderr
    assert "`optional: true`" in result.stderr


def test_a_fetch_that_fails_beside_a_copy_is_a_warning_and_the_exit_is_1(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    path = policy(tmp_path, site)
    check("--fetch", str(path))
    del site.pages["/ads.txt"]

    result = check("--fetch", str(path))

    assert result.exit_code == 1
    assert ": warning: not fetched: the server says 404" in result.stderr
    assert f"{path}: ok" in result.stdout, "the policy itself is good"


def test_a_policy_by_url_is_checked_from_its_copy(
    site: Https, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.ca.file))
    url = site.put("/p.yaml", "version: 1\ndefault: deny\nrules: [{alow: x.example}]\n")

    result = check("--fetch", url)

    assert result.exit_code == 1
    assert f"{url}:3:10: unknown key 'alow'" in result.stderr


def test_a_url_that_cannot_be_is_a_mistake() -> None:
    result = CliRunner().invoke(cli, ["check", "http://x.example/p.yaml"])

    assert result.exit_code != 0 and "only https" in str(result.exception)


async def test_reload_fetches_when_told_to_and_status_shows_it(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    text = policy(tmp_path, site).read_text()
    async with NanoDns() as dns:
        dns.zone["localhost", "A"] = ["127.0.0.1"]
        async with running(tmp_path, [dns.endpoint], text) as run:
            where = ("--run-dir", str(run.run_dir))
            site.put("/ads.txt", "a.example\nb.example\n")
            plain = await dnsfw_beside("reload", *where)
            asked = site.asked("/ads.txt")
            fetched = await dnsfw_beside("reload", "--fetch", *where)
            status = await dnsfw_beside("status", *where)
            site.pages.clear()
            failed = await dnsfw_beside("reload", "--fetch", *where)
            stale = await dnsfw_beside("status", *where)

    assert (plain.code, asked) == (0, 1), "a reload is no reason to ask"
    assert f"{site.url('/ads.txt')}: a list of 2 rules" in fetched.out
    assert f"remote     {site.url('/ads.txt')}," in status.out
    assert "2 rules" in status.out
    assert failed.code == 1 and "404" in failed.err
    assert "STALE" in stale.out and "404" in stale.out


async def test_row_127_what_is_missing_is_not_in_force_as_written(
    site: Https, tmp_path: Path
) -> None:
    text = policy(tmp_path, site, optional=True).read_text()
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], text) as run:
        where = ("--run-dir", str(run.run_dir))
        status = await dnsfw_beside("status", "--require-enforcing", *where)

    assert status.code == 3
    assert "MISSING" in status.out
    assert "was never fetched" in status.err


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "1,000 rules, from 2d00h ago, checked 1m00s ago, next in 1h00m"),
        ({"revision": 7, "expires": 5 * DAY}, "revision 7"),
        ({"revision": 7, "expires": 5 * DAY}, "expires in 5d00h"),
        ({"expires": -DAY, "state": "expired"}, "EXPIRED 1d00h ago"),
        ({"expires": -DAY, "state": "expired"}, "what it said last stays in force"),
        ({"error": "no answer\x1b[2J", "failing": 120, "state": "stale"}, "FAILS since 2m00s"),
        ({"age": None, "checked": None, "state": "missing"}, "never fetched"),
        ({"what": "policy", "rules": 0}, "policy, from 2d00h ago"),
    ],
)
def test_status_says_of_each_source_how_it_is(row: dict[str, Any], words: str) -> None:
    told = status_words({**GOOD, **row})

    assert words in told.replace("1000 rules", "1,000 rules")
    assert told.startswith("https://x.example/a, ")
    assert told.isprintable()


def test_check_says_what_is_there_in_a_line() -> None:
    assert remote_line({**GOOD, "there": False}) == "https://x.example/a: no copy yet"
    assert remote_line(GOOD).startswith("https://x.example/a: 1000 rules, from 2d00h ago")
