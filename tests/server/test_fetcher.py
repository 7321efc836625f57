"""What is newer is proposed, whatever is wrong leaves the copy: rows 127 and 128."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.copies import Copies
from dnsfw.policy.remote import POLICY, Demands, Remote
from dnsfw.server.fetch import FetchError
from dnsfw.server.fetcher import Fetcher
from tests.support.https import Ca, Https, answered, broken_off, dripping
from tests.support.remotes import BEGAN, Wall, fetcher_in, in_there, source_at, update


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def site(ca: Ca) -> Iterator[Https]:
    with Https(ca) as made:
        yield made


def names(count: int, word: str = "n") -> bytes:
    return b"".join(b"%s%d.example\n" % (word.encode(), at) for at in range(count))


async def test_the_first_list_is_taken_with_all_that_is_known(
    site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", names(3))
    fetcher, source = fetcher_in(tmp_path), source_at(site)

    assert await update(fetcher, source)

    copy = Copies(tmp_path).get(source)
    assert copy is not None
    assert (copy.names, copy.fetched, copy.checked) == (3, BEGAN, BEGAN)
    assert copy.etag and copy.sha256 == sha256(names(3)).hexdigest()
    assert fetcher.copies.path(copy).read_bytes() == names(3)


async def test_what_has_not_changed_is_only_checked(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", names(3))
    wall = Wall()
    fetcher, source = fetcher_in(tmp_path, wall), source_at(site)
    await update(fetcher, source)
    wall.time += 3600

    assert not await update(fetcher, source)

    copy = fetcher.copies.get(source)
    assert copy is not None
    assert (copy.fetched, copy.checked) == (BEGAN, BEGAN + 3600)
    assert site.heard[-1][1]["if-none-match"] == copy.etag


async def test_the_same_bytes_without_marks_are_no_news(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", answered(body=names(3)))
    fetcher, source = fetcher_in(tmp_path), source_at(site)
    await update(fetcher, source)

    assert not await update(fetcher, source)


WRONG = [
    (b"", "empty"),
    (b"# nothing\n", "no line of it is a rule"),
    (b"<html>", "HTML"),
    (names(99), "shrank from 400 rules to 99"),
    (names(4001), "grew from 400 rules to 4001"),
    (names(200) + b"no name\n" * 201, "201 of 401 lines are no rules"),
    (answered(503), "503"),
    (broken_off(names(300), 100_000), "bro"),
    (dripping(), "longer than 1 s"),
]


@pytest.mark.parametrize(("page", "said"), WRONG, ids=[said for _, said in WRONG])
async def test_row_128_whatever_is_wrong_leaves_the_copy(
    site: Https, tmp_path: Path, page: bytes, said: str
) -> None:
    site.put("/ads.txt", names(400))
    fetcher = fetcher_in(tmp_path)
    source = source_at(site, demands=Demands(time=1))
    await update(fetcher, source)
    before = fetcher.copies.get(source)

    site.put("/ads.txt", page)
    with pytest.raises(FetchError, match=said) as caught:
        await update(fetcher, source)

    assert str(tmp_path) not in str(caught.value)
    assert fetcher.copies.get(source) == before
    async with fetcher.alone():  # what was left of it is swept
        assert len(in_there(tmp_path, "*.data")) == 1
        assert not in_there(tmp_path, "*.part", "*.next")


async def test_a_pinned_list_is_never_another(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", names(3))
    fetcher = fetcher_in(tmp_path)
    good = source_at(site, sha256=sha256(names(3)).hexdigest())
    bad = source_at(site, sha256="0" * 64)

    assert await update(fetcher, good)
    with pytest.raises(FetchError, match="the policy wants 0000"):
        await update(fetcher, bad)
    asked = site.asked("/ads.txt")
    site.put("/ads.txt", names(4))

    assert not await update(fetcher, good)
    assert site.asked("/ads.txt") == asked, "nothing else would be taken"


# signatures


@pytest.fixture
def signed(site: Https) -> tuple[Https, object]:
    pytest.importorskip("cryptography")
    from tests.support.signer import Signer

    return site, Signer()


def publish(site: Https, signer: object, body: bytes, comment: str) -> None:
    site.put("/ads.txt", body)
    site.put("/ads.txt.minisig", answered(body=signer.sign(body, comment)))  # type: ignore[attr-defined]


def signed_source(site: Https, signer: object) -> Remote:
    return source_at(site, key=signer.key)  # type: ignore[attr-defined]


async def test_row_127_a_signed_list_has_a_revision_and_an_end(
    signed: tuple[Https, object], tmp_path: Path
) -> None:
    site, signer = signed
    publish(site, signer, names(3), "revision:7 expires:2027-01-31")
    fetcher, source = fetcher_in(tmp_path), signed_source(site, signer)

    assert await update(fetcher, source)

    copy = fetcher.copies.get(source)
    assert copy is not None
    assert (copy.revision, copy.expires) == (7, 1801353600)


@pytest.mark.parametrize(
    ("body", "comment", "said"),
    [
        (names(4), "revision:6", "older than 7"),
        (names(4), "revision:7", "other content"),
        (names(4), "", "no revision"),
        (names(4), "revision:8 file:other.txt", "other.txt"),
    ],
)
async def test_row_127_a_signed_list_does_not_go_back(
    signed: tuple[Https, object], tmp_path: Path, body: bytes, comment: str, said: str
) -> None:
    site, signer = signed
    publish(site, signer, names(3), "revision:7")
    source = signed_source(site, signer)
    await update(fetcher_in(tmp_path), source)
    before = Copies(tmp_path).get(source)

    publish(site, signer, body, comment)
    again = fetcher_in(tmp_path)  # also after a restart
    with pytest.raises(FetchError, match=said):
        await update(again, source)

    assert again.copies.get(source) == before


async def test_row_127_an_old_signature_over_the_same_bytes_is_refused(
    signed: tuple[Https, object], tmp_path: Path
) -> None:
    site, signer = signed
    publish(site, signer, names(3), "revision:7")
    fetcher, source = fetcher_in(tmp_path), signed_source(site, signer)
    await update(fetcher, source)

    publish(site, signer, names(3), "revision:6 expires:2099-01-01")
    with pytest.raises(FetchError, match="older than 7"):
        await update(fetcher, source)


async def test_row_127_a_new_signature_gives_the_same_bytes_more_time(
    signed: tuple[Https, object], tmp_path: Path
) -> None:
    site, signer = signed
    publish(site, signer, names(3), "revision:7 expires:2027-01-31")
    fetcher, source = fetcher_in(tmp_path), signed_source(site, signer)
    await update(fetcher, source)

    publish(site, signer, names(3), "revision:8 expires:2030-01-01")
    assert not await update(fetcher, source)

    copy = fetcher.copies.get(source)
    assert copy is not None
    assert (copy.revision, copy.expires) == (8, 1893456000)


async def test_row_127_a_server_that_swaps_the_bytes_is_found_out(
    signed: tuple[Https, object], tmp_path: Path
) -> None:
    site, signer = signed
    publish(site, signer, names(3), "revision:7")
    site.put("/ads.txt", names(4))

    with pytest.raises(FetchError, match="does not fit"):
        await update(fetcher_in(tmp_path), signed_source(site, signer))


async def test_row_127_a_missing_signature_is_no_permission(
    signed: tuple[Https, object], tmp_path: Path
) -> None:
    site, signer = signed
    site.put("/ads.txt", names(3))

    with pytest.raises(FetchError, match=r"its signature .*/ads.txt.minisig: the server says 404"):
        await update(fetcher_in(tmp_path), signed_source(site, signer))


async def test_row_127_a_new_key_starts_anew(
    signed: tuple[Https, object], tmp_path: Path
) -> None:
    from tests.support.signer import Signer

    site, old = signed
    publish(site, old, names(3), "revision:999")
    fetcher = fetcher_in(tmp_path)
    await update(fetcher, signed_source(site, old))

    new = Signer()
    assert fetcher.copies.get(signed_source(site, new)) is None, "the old key's word is worth none"
    publish(site, new, names(3), "revision:1")
    assert await update(fetcher, signed_source(site, new))


# policies


async def test_a_policy_is_proposed_as_it_came(site: Https, tmp_path: Path) -> None:
    site.put("/p.yaml", b"version: 1\ndefault: deny\n")
    source = Remote(site.url("/p.yaml"), POLICY, ca=str(site.ca.file))
    fetcher = fetcher_in(tmp_path)

    assert await update(fetcher, source)
    copy = fetcher.copies.get(source)
    assert copy is not None and "default: deny" in fetcher.copies.text(copy, 1000)


async def test_a_policy_is_not_larger_than_one_can_be(site: Https, tmp_path: Path) -> None:
    site.put("/p.yaml", b"# " + b"x" * (4 << 20))
    source = Remote(site.url("/p.yaml"), POLICY, ca=str(site.ca.file))

    with pytest.raises(FetchError, match="larger than 4 MiB"):
        await update(fetcher_in(tmp_path), source)


async def test_a_download_that_was_cut_does_not_cut_the_next(
    site: Https, tmp_path: Path
) -> None:
    fetcher, source = fetcher_in(tmp_path), source_at(site, demands=Demands(time=1))
    site.put("/ads.txt", dripping())
    with pytest.raises(FetchError, match="longer than"):
        await update(fetcher, source)
    site.put("/ads.txt", names(3))

    assert await update(fetcher, source)


# one at a time


async def test_two_fetchers_do_not_meet(tmp_path: Path) -> None:
    async with fetcher_in(tmp_path).alone():
        with pytest.raises(ConfigError, match="another dnsfw"):
            async with fetcher_in(tmp_path).alone():
                pass


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="DNSFW_STATE_DIR"):
        async with fetcher_in(tmp_path / "file" / "remote").alone():
            pass


async def test_the_end_of_the_process_ends_a_download(site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", dripping())
    fetcher: Fetcher = fetcher_in(tmp_path)
    asyncio.get_running_loop().call_later(0.3, fetcher.stop)

    with pytest.raises(FetchError, match="dnsfw ends"):
        await update(fetcher, source_at(site))
