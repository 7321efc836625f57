"""A download looked at by another process: rows 127, 128, 129."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dnsfw.policy.inspect import Answer, answer, command, question
from dnsfw.policy.remote import POLICY, Remote

URL = "https://x.example/lists/ads.txt"


def look(path: Path, source: Remote, signature: bytes = b"") -> Answer:
    argv, environment = command()
    done = subprocess.run(
        argv, env=environment, input=question(source, path, signature), capture_output=True,
        check=True,
    )  # fmt: skip
    return answer(done.stdout)


def test_a_list_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("# mine\na.example\nb.example\n!\n")

    found = look(path, Remote(URL, format="plain"))

    assert found.told is not None
    assert (found.told.names, found.told.refusals) == (2, {"not a name": 1})
    assert found.told.first.startswith("line 4")


def test_row_128_a_page_is_no_list_and_is_called_by_its_url(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("<html>\n<p>404</p>\n</html>\n")

    found = look(path, Remote(URL, format="plain"))

    assert found.error.startswith(URL) and str(path) not in found.error


def test_row_129_a_poisoned_lists_lines_are_refused_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("0.0.0.0 ads.example\n0.0.0.0 com\n0.0.0.0 localhost\n")

    found = look(path, Remote(URL, format="hosts"))

    assert found.told is not None
    assert (found.told.names, found.told.refusals) == (1, {"a top-level name": 1})


def test_row_127_a_signature_is_checked_and_told(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from tests.support.signer import Signer

    signer, path = Signer(), tmp_path / "data"
    path.write_bytes(b"version: 1\n")
    source = Remote("https://x.example/p.yaml", POLICY, key=signer.key)

    good = look(path, source, signer.sign(b"version: 1\n", "revision:4 expires:2030-01-01"))
    bad = look(path, source, signer.sign(b"version: 2\n", "revision:4"))

    assert good.told is not None
    assert (good.told.revision, good.told.expires) == (4, 1893456000)
    assert "does not fit" in bad.error


def test_a_child_that_says_nothing_is_no_success() -> None:
    assert answer(b"").error
    assert answer(b"{}").error
    assert answer(b'{"names": 1, "more": 2}').error
