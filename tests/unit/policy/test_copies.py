"""The copies on disk: the old one or the new one, at every moment (rows 127, 128)."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.copies import Copies, Copy, state_dir
from dnsfw.policy.remote import Remote

SOURCE = Remote("https://x.example/ads.txt")
OLD, NEW = b"a.example\n", b"a.example\nb.example\n"


def put(copies: Copies, data: bytes, *, accept: bool = True, source: Remote = SOURCE) -> Copy:
    scratch = copies.scratch()
    scratch.write_bytes(data)
    digest = sha256(data).hexdigest()
    copies.place(scratch, digest)
    copy = Copy(source.url, digest, len(data), names=data.count(b"\n"), revision=3)
    copies.propose(source, copy)
    if accept:
        copies.accept(source)
    return copy


def test_what_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        made = put(copies, OLD)

    again = Copies(tmp_path)
    assert again.get(SOURCE) == made
    assert again.path(made).read_bytes() == OLD
    assert again.text(made, 100) == OLD.decode()


def test_nobody_else_can_read_or_write_it(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "remote"
    with (copies := Copies(directory)).alone():
        put(copies, OLD)

    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o177 == 0 for path in directory.iterdir())


def test_a_proposal_counts_for_who_tries_it_alone(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        old = put(copies, OLD)
        new = put(copies, NEW, accept=False)

        assert copies.get(SOURCE) == old
        assert Copies(tmp_path, frozenset({SOURCE.digest})).get(SOURCE) == new

        copies.drop(SOURCE)
        assert copies.get(SOURCE) == old
        assert not copies.path(new).exists()
        assert copies.path(old).exists()


def test_what_was_replaced_is_removed(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        old = put(copies, OLD)
        put(copies, NEW)

        assert not copies.path(old).exists()


def test_two_sources_may_have_the_same_bytes(tmp_path: Path) -> None:
    other = Remote("https://y.example/ads.txt")
    with (copies := Copies(tmp_path)).alone():
        put(copies, OLD)
        put(copies, OLD, source=other)
        put(copies, NEW)

        assert copies.get(SOURCE) is not None
        assert copies.get(other) is not None


def test_what_a_kill_left_is_swept_and_believed_by_nobody(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        old = put(copies, OLD)
        put(copies, NEW, accept=False)  # killed between the download and its trial
        copies.scratch().write_bytes(b"half a li")  # killed in mid-download

    with copies.alone():
        assert copies.get(SOURCE) == old
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {"lock", copies.path(old).name, f"{SOURCE.digest}.json"}


def test_only_one_process_fetches(tmp_path: Path) -> None:
    with (
        Copies(tmp_path).alone(),
        pytest.raises(ConfigError, match="another dnsfw"),
        Copies(tmp_path).alone(),
    ):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"other": "version"}'])
def test_a_copy_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{SOURCE.digest}.json").write_text(text)

    assert Copies(tmp_path).get(SOURCE) is None


def test_a_copy_of_another_length_is_none(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        copies.path(put(copies, OLD)).write_bytes(OLD[:-1])

    assert copies.get(SOURCE) is None


def test_a_policy_whose_bytes_have_changed_is_damaged(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        copies.path(made := put(copies, OLD)).write_bytes(OLD.replace(b"a", b"c"))

    with pytest.raises(ConfigError, match="damaged"):
        copies.text(made, 100)


def test_a_policy_that_is_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        long, binary = put(copies, OLD), put(copies, b"a\n\xff", source=Remote("https://y/"))

        with pytest.raises(PolicyError, match="larger"):
            copies.text(long, 5)
        with pytest.raises(PolicyError, match=r"https://y/:2: not UTF-8"):
            copies.text(binary, 100)


def test_a_copy_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        put(copies, OLD)
    (tmp_path / f"{SOURCE.digest}.json").chmod(0o666)

    with pytest.raises(ConfigError, match="others may write"):
        copies.get(SOURCE)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_copy_of_another_user_is_not_trusted_by_root(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        put(copies, OLD)
    os.chown(tmp_path / f"{SOURCE.digest}.json", 65534, 65534)

    with pytest.raises(ConfigError, match="others may write"):
        copies.get(SOURCE)


def test_more_is_known_of_the_same_bytes(tmp_path: Path) -> None:
    with (copies := Copies(tmp_path)).alone():
        made = put(copies, OLD)
        copies.renew(SOURCE, replace(made, checked=99))

    found = Copies(tmp_path).get(SOURCE)
    assert found is not None and found.checked == 99
    assert json.loads((tmp_path / f"{SOURCE.digest}.json").read_text())["checked"] == 99


def test_the_directory_is_the_systems_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DNSFW_STATE_DIR", raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/other:/x")
    assert state_dir() == Path("/var/lib/other")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_dir() == Path("/var/lib/dnsfw")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/.state")
    assert state_dir() == Path("/home/me/.state/dnsfw")
