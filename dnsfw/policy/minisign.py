"""Signatures as minisign makes them: Ed25519 over a file, with a comment that is signed too.

    minisign -S -m ads.txt -t 'file:ads.txt revision:7 expires:2027-01-31'

puts `ads.txt.minisig` beside it. The trusted comment says which file and which revision it is
and how long it holds, so an older file, or another file of the same publisher, cannot be passed
off as the newest (row 127). Without `-t` minisign writes `timestamp:` and `file:`, which do too.

This is the one door to `cryptography`, and it is opened in a process of its own.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import re
import sys
from collections.abc import Iterable
from hashlib import blake2b

from dnsfw.errors import ConfigError
from dnsfw.policy.problems import printable
from dnsfw.values import dataclass

__all__ = ["ENDING", "MOST_BYTES", "Signed", "verify"]

ENDING = ".minisig"  # of the signature's URL, put after the path
MOST_BYTES = 4096  # of a signature file: four lines
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_PURE, _HASHED = b"Ed", b"ED"
_LONGEST_PURE = 64 << 20  # bytes; minisign itself hashes what is larger than 1 GiB
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d))?Z)?"
)  # UTC; a day alone is its first second
_NUMBER = re.compile(r"[0-9]{1,18}")
_YEARS = range(1970, 10_000)


@dataclass(frozen=True, slots=True)
class Signed:
    """What the trusted comment says."""

    revision: int
    expires: int | None = None  # seconds since 1970


class BadSignature(ConfigError):
    """Not signed by whom it should be, or for something else."""


def verify(chunks: Iterable[bytes], signature: bytes, key: str, file: str) -> Signed:
    """The signed facts about these bytes, published under this file name.

    ConfigError where the signature is not the key's, is for another file, or says no revision;
    also where Ed25519 is not installed.
    """
    number, public = _key(key)
    algorithm, signer, proof, comment, whole = _signature(signature)
    if signer != number:
        raise BadSignature(
            f"signed by the key {_name(signer)}, not by {_name(number)}, which the policy names"
        )
    _check(public, proof, _message(algorithm, chunks))
    _check(public, whole, proof + comment.encode())
    return _read(comment, file)


def _key(text: str) -> tuple[bytes, bytes]:
    raw = base64.b64decode(text)
    return raw[2:10], raw[10:]


def _name(number: bytes) -> str:
    return number[::-1].hex().upper()  # as minisign prints it


def _signature(data: bytes) -> tuple[bytes, bytes, bytes, str, bytes]:
    try:
        first, line, comment, last, *rest = data.decode().replace("\r\n", "\n").split("\n")
        raw, whole = base64.b64decode(line, validate=True), base64.b64decode(last, validate=True)
    except (ValueError, binascii.Error):
        raise BadSignature("the signature is not in the format of minisign") from None
    fits = first.startswith(_UNTRUSTED) and comment.startswith(_TRUSTED) and not any(rest)
    if not fits or len(raw) != 74 or len(whole) != 64 or raw[:2] not in (_PURE, _HASHED):
        raise BadSignature("the signature is not in the format of minisign")
    return raw[:2], raw[2:10], raw[10:], comment.removeprefix(_TRUSTED), whole


def _message(algorithm: bytes, chunks: Iterable[bytes]) -> bytes:
    if algorithm == _HASHED:
        digest = blake2b()
        for chunk in chunks:
            digest.update(chunk)
        return digest.digest()
    whole = b"".join(chunks)
    if len(whole) > _LONGEST_PURE:
        raise BadSignature("too large for a signature without hash; sign with `minisign -H`")
    return whole


def _check(public: bytes, proof: bytes, message: bytes) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise ConfigError(
            "signatures need the package cryptography; install it: "
            f"`{sys.executable} -m pip install cryptography`"
        ) from None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(proof, message)
    except (InvalidSignature, ValueError):
        raise BadSignature("the signature does not fit: it was changed on the way") from None


def _read(comment: str, file: str) -> Signed:
    words = dict(word.partition(":")[::2] for word in reversed(comment.split()))
    if words.get("file", file) != file:
        raise BadSignature(f"the signature is for the file {words['file']!r}, not for {file!r}")
    number = words.get("revision", words.get("timestamp", ""))
    if not _NUMBER.fullmatch(number):
        raise BadSignature(
            "the signature says no revision: sign with -t 'revision:N', or without -t"
        )
    return Signed(int(number), _seconds(words["expires"]) if "expires" in words else None)


def _seconds(text: str) -> int:
    found = _DATE.fullmatch(text)
    if found is not None:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        longest = calendar.monthrange(year, month)[1] if year in _YEARS and month in range(
            1, 13
        ) else 0
        if 1 <= day <= longest and hour < 24 and minute < 60 and second < 60:
            return calendar.timegm((year, month, day, hour, minute, second))
    said = printable(text[:40])
    raise BadSignature(
        f"the signature says expires:{said}; that is no date as in expires:2027-01-31"
    )
