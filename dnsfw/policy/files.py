"""Finding a policy file and reading it without trusting it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.remote import looks_remote, place_of, url_of

ENVIRONMENT = "DNSFW_POLICY"
MAIN = "policy.yaml"  # a file of this name is read with the directory of parts beside it
PARTS = "policy.d"
TESTS_ENDING = ".test.yaml"
SYSTEM_POLICY = Path("/etc/dnsfw/policy.yaml")
STARTER = "starter.yaml"
MAX_BYTES = 4 << 20  # a hundred thousand rules; longer lists are not rules
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def find_policy(explicit: str | Path | None = None) -> Path:
    """The policy file to use: the one named, $DNSFW_POLICY, /etc, the shipped starter. A URL
    is a place, too (`remote.url_of`). ConfigError where it cannot be one.
    """
    if named := str(explicit or "") or os.environ.get(ENVIRONMENT):
        return place_of(named) if looks_remote(named) else Path(named)
    if SYSTEM_POLICY.exists():
        return SYSTEM_POLICY
    return shipped() / STARTER


def shown_place(path: Path) -> str:
    """A policy's place as people are told it, in whatever directory they are: a URL or a path."""
    return url_of(path) or str(path.absolute())


def place_again(shown: str) -> Path:
    """What `shown_place` was told of."""
    return place_of(shown) if looks_remote(shown) else Path(shown)


def shipped() -> Path:
    """Where the policies that come with dnsfw are: in the wheel, or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "policies", package.parent / "policies"):
        if (place / STARTER).is_file():
            return place
    raise ConfigError("the shipped policies are missing; name a file with --policy")


def policy_files(path: Path) -> list[Path]:
    """A policy's file and, beside one called `policy.yaml`, `policy.d/*.yaml`, in the order in
    which they are read: by name, as bytes. Names with a dot in front and tests are left out.
    """
    return [path, *(part for part in _yaml_in(path) if not part.name.endswith(TESTS_ENDING))]


def case_files(path: Path) -> list[Path]:
    """`NAME.test.yaml` beside `NAME.yaml`, and those in `policy.d`."""
    beside = path.parent / (path.stem + TESTS_ENDING)  # not with_name: `.` and `/` have no name
    parts = [part for part in _yaml_in(path) if part.name.endswith(TESTS_ENDING)]
    return [beside, *parts] if url_of(path) is None and beside.is_file() else parts


def _yaml_in(path: Path) -> list[Path]:
    directory = path.parent / PARTS
    if path.name != MAIN or url_of(path) is not None or not directory.is_dir():
        return []
    try:
        if os.geteuid() == 0:
            _check_owner(directory, directory.stat(), "directory")
        names = sorted(os.fsencode(part.name) for part in directory.iterdir())
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror or error}") from None
    found = [name for name in names if name.endswith(b".yaml") and not name.startswith(b".")]
    return [directory / os.fsdecode(name) for name in found]


def read_policy(path: Path, *, whoever: bool = False) -> str:
    """The text of a policy file.

    ConfigError when it cannot be read; PolicyError when it is too big, not text, or, for
    root, when somebody else could have written it (`whoever`: it is read to be shown, and
    not put in force).
    """
    try:
        data = _read(path, whoever)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise PolicyError(f"{path}: larger than {MAX_BYTES >> 20} MiB; use wildcards")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path}:{line}: not UTF-8; save it as UTF-8") from None


def _read(path: Path, whoever: bool) -> bytes:
    # O_NONBLOCK: a FIFO in the place of the file must not hang the daemon.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: not a regular file")
        if not whoever and not _is_shipped(path):
            check_owned(path, status)
        return file.read(MAX_BYTES + 1)


def check_owned(path: Path, status: os.stat_result) -> None:
    """PolicyError where root would enforce what somebody else can write."""
    if os.geteuid() == 0:
        _check_owner(path, status)
        _check_links(path)


def _check_links(path: Path) -> None:
    """Every link on the last part must be root's own (a Kubernetes `..data` link is)."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) and status.st_uid != 0:
        raise PolicyError(
            f"{path}: the link belongs to uid {status.st_uid}; root reads its own links only"
        )


def _check_owner(path: Path, status: os.stat_result, kind: str = "file") -> None:
    """What root enforces must be written by root alone."""
    if status.st_uid != 0:
        raise PolicyError(
            f"{path}: the {kind} belongs to uid {status.st_uid}, not to root; chown root {path}"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise PolicyError(f"{path}: others than root may write the {kind}; chmod go-w {path}")


def _is_shipped(path: Path) -> bool:
    """The shipped policies are trusted as much as the code beside them."""
    try:
        return path.resolve().parent == shipped()
    except ConfigError:
        return False
