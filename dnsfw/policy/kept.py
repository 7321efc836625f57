"""The compiled policy of the last start on disk, so that a restart need not read YAML again.

It counts only where a compilation would say the same: the same texts (read again, with every
check of their owners), the same lists and copies, the same code. The file is the owner's
alone, sealed, and holds values only (`frozen`); whatever is odd about it is as if it were not
there. Whoever can write the directory can write policy, as with compiled lists.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dnsfw.errors import DnsfwError
from dnsfw.policy.copies import Copies
from dnsfw.policy.files import case_files, policy_files, read_policy
from dnsfw.policy.frozen import NotWhole, freeze, shape, thaw
from dnsfw.policy.lists.store import Store, cache_dir
from dnsfw.policy.policy import Policy
from dnsfw.policy.remote import url_of
from dnsfw.policy.role_ids import assign_ids

__all__ = ["forget", "keep", "recall", "texts_now"]

_MAGIC = b"dnsfwpo1"
_SEAL = 32
_LENGTH = 8
_MOST = 256 << 20  # bytes; larger than any policy of four megabytes of text becomes
_FILES = 8  # policies whose compiled form is kept; the oldest goes
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Libraries that have a say in what a text means; of ours, all that was loaded.
_LIBRARIES = ("idna", "marisa_trie", "publicsuffixlist", "pydantic", "pydantic_core", "yaml")

Known = Mapping[str, int]
_Texts = tuple[tuple[str, bytes], ...]


def texts_now(path: Path) -> _Texts:
    """Every file that a policy is read from, with the hash of what it says now. DnsfwError:
    one of them cannot be read, or not be trusted.
    """
    if url_of(path) is not None:
        return ()  # its copy is found among the sources
    files = (*policy_files(path), *case_files(path))
    return tuple((str(file), _hash(read_policy(file).encode())) for file in files)


def keep(path: Path, policy: Policy, before: _Texts, directory: Path | None = None) -> bytes | None:
    """Put it on disk, if its texts still are what they were before it was compiled; its bytes
    for `thaw`. None: it holds something that lies in no file.
    """
    try:
        data = freeze(policy)
        head = freeze({
            "code": [*_code()], "place": _place(path), "texts": before,
            "copies": _copies(policy), "lists": _lists(policy), "shape": shape(),
        })  # fmt: skip
    except NotWhole:
        return None
    with contextlib.suppress(OSError, DnsfwError):
        if before == texts_now(path):
            file = _file(path, directory)
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            rest = len(head).to_bytes(_LENGTH, "little") + head + data
            _write(file, (_MAGIC, _seal(rest), rest))
            _sweep(file.parent)
    return data


def recall(path: Path, known: Known, directory: Path | None = None) -> Policy | None:
    """What was kept, if it is what a compilation would give now."""
    try:
        data = _read(_file(path, directory))
        size = int.from_bytes(data[:_LENGTH], "little")
        head = thaw(bytes(data[_LENGTH : _LENGTH + size]))
        if not _is_now(head, path):
            return None
        policy = thaw(bytes(data[_LENGTH + size :]))
    except (OSError, NotWhole, DnsfwError, KeyError, TypeError, ValueError):
        return None
    ids = policy.role_ids if isinstance(policy, Policy) else None
    return policy if ids is not None and ids == assign_ids(ids, known) else None


def forget(path: Path, directory: Path | None = None) -> None:
    """The next start compiles."""
    with contextlib.suppress(OSError):
        _file(path, directory).unlink()


def _is_now(head: Any, path: Path) -> bool:
    return bool(
        head["shape"] == shape()
        and head["place"] == _place(path)
        and head["texts"] == texts_now(path)
        and all(_same_file(*file) for file in head["code"])
        and all(_copy_of(source) == sha256 for source, sha256 in head["copies"])
        and all(Store().unchanged(Path(file), identity) for file, identity in head["lists"])
    )


def _place(path: Path) -> tuple[str, ...]:
    """What else decides what a policy means: who we are, where its parts are looked for."""
    return (
        str(path), str(path.absolute()), str(os.geteuid()), str(Copies().directory),
        str(cache_dir()), sys.version,
    )  # fmt: skip


def _code() -> Iterator[tuple[str, int, int]]:
    """The modules that compiled it, and the list of public suffixes."""
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name.startswith("dnsfw.") or name in _LIBRARIES):
            yield _stat_of(file)
    if (suffixes := sys.modules.get("publicsuffixlist")) is not None:
        yield _stat_of(str(suffixes.PSLFILE))


def _stat_of(file: str) -> tuple[str, int, int]:
    found = Path(file).stat()
    return file, found.st_mtime_ns, found.st_size


def _same_file(file: str, mtime: int, size: int) -> bool:
    return _stat_of(file) == (file, mtime, size)


def _copies(policy: Policy) -> list[tuple[Any, str]]:
    return [(source, _copy_of(source)) for source in policy.remotes]


def _copy_of(source: Any) -> str:
    copy = Copies().get(source)
    return copy.sha256 if copy is not None else ""


def _lists(policy: Policy) -> list[tuple[str, list[int]]]:
    tables = [names.table for role in policy.roles.values() for names in role.lists]
    if any(table.source is None for table in tables):
        raise NotWhole("nobody knows what a list was made of")
    return [table.source for table in tables if table.source is not None]


def _read(file: Path) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as opened:
        status, home = os.fstat(fd), file.parent.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & _OTHERS:
            raise NotWhole(f"{file}: others may have it")
        if {status.st_uid, home.st_uid} != {os.geteuid()} or home.st_mode & _OTHERS_WRITE:
            raise NotWhole(f"{file}: others may have written it")
        data = opened.read(_MOST)
    if data[: len(_MAGIC)] != _MAGIC:
        raise NotWhole(f"{file}: not a compiled policy of this version")
    rest = data[len(_MAGIC) + _SEAL :]
    if data[len(_MAGIC) : len(_MAGIC) + _SEAL] != _seal(rest):
        raise NotWhole(f"{file}: changed")
    return rest


def _write(file: Path, parts: tuple[bytes, ...]) -> None:
    """All of it or nothing; what a power cut leaves has the wrong seal."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as opened:
            opened.writelines(parts)
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _file(path: Path, directory: Path | None) -> Path:
    name = _hash(os.fsencode(f"{os.geteuid()}\n{path.absolute()}"))[:16].hex()
    return (directory or cache_dir()) / f"{name}.policy"


def _sweep(directory: Path) -> None:
    found = sorted(directory.glob("*.policy"), key=lambda file: file.stat().st_mtime_ns)
    for file in found[:-_FILES]:
        file.unlink(missing_ok=True)


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SEAL).digest()


def _seal(rest: bytes) -> bytes:
    return _hash(rest)
