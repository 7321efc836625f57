"""Signatures of minisign: what is signed is believed, and nothing else (row 127)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.minisign import Signed, verify

pytest.importorskip("cryptography")
from tests.support.signer import Signer

DATA = b"a.example\nb.example\n"


def check(signature: bytes, signer: Signer, data: bytes = DATA, file: str = "ads.txt") -> Signed:
    return verify([data[:5], data[5:]], signature, signer.key, file)


@pytest.mark.parametrize("hashed", [True, False])
def test_row_127_a_signature_says_revision_and_end(hashed: bool) -> None:
    signer = Signer()
    comment = "file:ads.txt revision:7 expires:2027-01-31T12:00:00Z"

    signed = check(signer.sign(DATA, comment, hashed=hashed), signer)

    assert signed == Signed(7, 1801396800)


def test_without_a_revision_the_time_of_signing_is_one() -> None:
    signer = Signer()

    signed = check(signer.sign(DATA, "timestamp:1763800000\tfile:ads.txt\thashed"), signer)

    assert signed == Signed(1763800000, None)


def test_a_day_alone_ends_at_its_first_second() -> None:
    signer = Signer()

    assert check(signer.sign(DATA, "revision:1 expires:1970-01-02"), signer).expires == 86400


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("", "no revision"),
        ("revision:-1", "no revision"),
        ("revision:" + "9" * 19, "no revision"),
        ("revision:1 expires:soon", "no date"),
        ("revision:1 expires:\x1b[2Jsoon", r"expires:\\x1b\[2Jsoon; that is no date"),
        ("revision:1 expires:2027-02-30", "no date"),
        ("revision:1 expires:2027-13-01", "no date"),
        ("revision:1 expires:2027-01-01T24:00Z", "no date"),
        ("revision:1 file:other.txt", "is for the file 'other.txt'"),
    ],
)
def test_row_127_what_is_signed_for_something_else_is_refused(comment: str, said: str) -> None:
    signer = Signer()

    with pytest.raises(ConfigError, match=said):
        check(signer.sign(DATA, comment), signer)


def test_row_127_changed_bytes_are_refused() -> None:
    signer = Signer()
    signature = signer.sign(DATA, "revision:1")

    with pytest.raises(ConfigError, match="does not fit"):
        check(signature, signer, DATA + b"c.example\n")


def test_row_127_a_changed_comment_is_refused() -> None:
    signer = Signer()
    signature = signer.sign(DATA, "revision:1").replace(b"revision:1", b"revision:2")

    with pytest.raises(ConfigError, match="does not fit"):
        check(signature, signer)


def test_row_127_another_key_is_named_and_refused() -> None:
    signer, other = Signer(), Signer()

    with pytest.raises(ConfigError, match="signed by the key"):
        check(other.sign(DATA, "revision:1"), signer)


def test_row_127_a_stolen_key_number_does_not_help() -> None:
    signer = Signer()
    other = Signer(number=signer.number)

    with pytest.raises(ConfigError, match="does not fit"):
        check(other.sign(DATA, "revision:1"), signer)


@pytest.mark.parametrize(
    "junk", [b"", b"\xff", b"\n\n\n\n", b"<html>\n</html>\n", b"a\nb\nc\nd\ne\n", b"x" * 4096]
)
def test_junk_is_no_signature(junk: bytes) -> None:
    with pytest.raises(ConfigError, match="not in the format"):
        check(junk, Signer())


def test_more_lines_are_no_signature() -> None:
    signer = Signer()

    with pytest.raises(ConfigError, match="not in the format"):
        check(signer.sign(DATA, "revision:1") + b"trusted comment: revision:2\n", signer)


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer()
    signature = signer.sign(DATA, "revision:1")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ConfigError, match="-m pip install cryptography"):
        check(signature, signer)


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("comment", ["", "file:ads.txt revision:9 expires:2030-06-01"])
def test_what_minisign_itself_signs_is_taken(tmp_path: Path, legacy: bool, comment: str) -> None:
    public, secret, file = tmp_path / "k.pub", tmp_path / "k.key", tmp_path / "ads.txt"
    file.write_bytes(DATA)
    subprocess.run(
        ["minisign", "-G", "-W", "-p", public, "-s", secret], check=True, capture_output=True
    )
    more = (["-t", comment] if comment else []) + (["-l"] if legacy else [])
    subprocess.run(
        ["minisign", "-S", *more, "-s", secret, "-m", file], check=True, capture_output=True
    )
    key = public.read_text().splitlines()[1]

    signed = verify([DATA], (tmp_path / "ads.txt.minisig").read_bytes(), key, "ads.txt")

    assert signed.revision == 9 if comment else signed.revision > 1_700_000_000
