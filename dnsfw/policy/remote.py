"""What comes from elsewhere: a list or a whole policy at an https URL, and what is demanded of it.

Everything here is a value or a judgement: fetching is the server's, keeping is `copies`. A
list that suddenly is another one (empty, a page, a hundred times as long) is refused, and the
one before it stays (row 128): numbers that are somebody's habit have a key to change them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from dnsfw.errors import ConfigError
from dnsfw.policy.problems import Position, Wrong, shown
from dnsfw.policy.psl import to_ascii
from dnsfw.values import dataclass

__all__ = [
    "LIST", "POLICY", "Demands", "Remote", "Texts", "Told", "check_url", "judge", "looks_remote",
    "place_of", "remote", "url_of",
]  # fmt: skip

LIST, POLICY = "list", "policy"

REFRESH = 24 * 3600  # seconds between two questions whether there is something newer
LEAST_REFRESH = 5 * 60  # whoever publishes lists asks not to be asked more often
MOST_REFRESH = 30 * 86400
SIZE = 64 << 20  # bytes: three million names
MOST_SIZE = 512 << 20  # what a list on disk may have, too
LINES = 5_000_000
TIME = 120  # seconds for all of it
MOST_TIME = 3600
REFUSED = 50  # of a hundred lines that say something; a page of HTML is nearly a hundred
REFUSED_ADBLOCK = 95  # filters for browsers are mostly about what no DNS rule can say
SHRINK = 4  # not less than a fourth of what it was
GROW = 10  # not more than ten times
FEW = 100  # names: what a short list does is no sign of anything
_LONGEST_URL = 2000
_NO_FAULT = frozenset({"a cosmetic filter"})  # refused lines that say nothing about the list


@dataclass(frozen=True, slots=True)
class Demands:
    """What a download must not be. Sizes in bytes, times in seconds, shares in percent."""

    size: int = SIZE
    lines: int = LINES
    time: int = TIME
    refused: int = REFUSED
    shrink: int = SHRINK
    grow: int = GROW


@dataclass(frozen=True, slots=True)
class Remote:
    """A list or a policy, where it comes from and how it is held to its word."""

    url: str
    what: str = LIST
    refresh: int = REFRESH
    sha256: str = ""  # the only bytes it may have
    key: str = ""  # whose signature it must have: a minisign public key
    ca: str = ""  # a file of certificates, instead of the system's
    optional: bool = False  # start without it
    demands: Demands = field(default_factory=Demands)
    format: str = ""  # of a list, and the two ways to read it
    suffix: bool = False
    broad: bool = False

    @property
    def digest(self) -> str:
        """The name of its copy. Another key or pin is another source: what was accepted under
        the one before says nothing, and its revision counts no longer.
        """
        text = "\n".join((self.what, self.url, self.sha256, self.key))
        return blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class Texts:
    """What a policy was read from: with it a list can be renewed without looking at files that
    somebody is just editing. Each text by what positions call its file, in the order that counts.
    """

    files: Mapping[str, str]
    cases: Mapping[str, str] = field(default_factory=dict)  # of tests, beside it
    remote: Remote | None = None  # whose text is one of the files
    where: Position = field(default_factory=lambda: Position(""))  # it is named


def looks_remote(text: str) -> bool:
    """Whether somebody means an address of the web, right or wrong, and not a file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def check_url(text: str) -> str:
    """The URL as it is asked for, its host in ASCII. Raises Wrong."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Wrong(f"{shown(text)} is no URL ({error})") from None
    if parts.scheme.lower() != "https":
        raise Wrong(f"{shown(text)}: only https", "write https://…: what comes in the clear "
                    "can be anybody's")  # fmt: skip
    if parts.username is not None or parts.password is not None:
        raise Wrong("a URL of a policy holds no user and no password", "logs would show them")
    if not host or port == 0:
        raise Wrong(f"{shown(text)} names no host")
    if parts.fragment or text.endswith("#"):
        raise Wrong(f"{shown(text)}: what stands after # is never asked for", "take it out")
    found = parts._replace(scheme="https", netloc=_netloc(host, port), path=parts.path or "/")
    url = found.geturl()
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Wrong(f"{shown(text)} has characters that a URL has not", "write them as %XX")
    if len(url) > _LONGEST_URL:
        raise Wrong(f"the URL is longer than {_LONGEST_URL} characters")
    return url


def _netloc(host: str, port: int | None) -> str:
    if ":" in host:
        try:
            name = f"[{ip_address(host)}]"
        except ValueError:
            raise Wrong(f"{shown(host)} is no address") from None
    else:
        name = ".".join(to_ascii(label) for label in host.rstrip(".").split("."))
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name) or len(name) > 253:
            raise Wrong(f"{shown(host)} is no host name")
    return name if port in (None, 443) else f"{name}:{port}"


def remote(url: str, **options: object) -> Remote:
    """A Remote of the options that somebody has written; None is as if it were not there."""
    given = {key: value for key, value in options.items() if value is not None}
    return Remote(check_url(url), **given)  # type: ignore[arg-type]


# A policy's place is a Path in every signature; the URL of one is a Path that no file has.
_PLACE = "https:/"


def place_of(text: str) -> Path:
    """The place that a URL is known by. ConfigError for one that cannot be."""
    try:
        url = check_url(text)
    except Wrong as wrong:
        raise ConfigError(f"{wrong.message}; {wrong.remedy}".rstrip("; ")) from None
    place = Path(url)
    if url_of(place) not in (url, url.removesuffix("/")):
        raise ConfigError(f"{shown(text)}: write the path without // and /./")
    return place


def url_of(place: Path) -> str | None:
    """The URL that this place is; None for a file."""
    text = str(place)
    if not text.startswith(_PLACE) or text.startswith(_PLACE + "/"):
        return None
    url = "https://" + text.removeprefix(_PLACE)
    return url if urlsplit(url).path else url + "/"


@dataclass(frozen=True, slots=True)
class Told:
    """What a reader made of a download."""

    names: int  # rules: names and prefixes
    refusals: Mapping[str, int] = field(default_factory=dict)
    first: str = ""  # of the lines that were refused
    revision: int | None = None
    expires: int | None = None  # seconds since 1970


def judge(source: Remote, told: Told, sha256: str, before: tuple[int, int | None, str]) -> str:
    """Why this download must not take the place of what was there; empty where it may.

    `before`: names, revision and sha256 of the copy; names 0 where there is none.
    """
    names, revision, old = before
    return (
        _rollback(told.revision, revision, sha256 == old)
        or (_share(source, told) if source.what == LIST else "")
        or (_change(source.demands, told.names, names) if source.what == LIST and names else "")
    )


def _rollback(new: int | None, old: int | None, same: bool) -> str:
    if old is None or new is None or new > old or (new == old and same):
        return ""
    if new == old:
        return f"revision {new} was other content before: one of the two is forged"
    return f"revision {new} is older than {old}, which was here: it does not go back"


def _share(source: Remote, told: Told) -> str:
    if not told.names:
        return f"nothing in it is a rule of the format {source.format}{_example(told)}"
    refused = sum(n for why, n in told.refusals.items() if why not in _NO_FAULT)
    share = 100 * refused / (refused + told.names)
    most = source.demands.refused
    if source.format == "adblock" and most == REFUSED:
        most = REFUSED_ADBLOCK
    if share <= most:
        return ""
    return (
        f"{refused} of {refused + told.names} lines are no rules of the format {source.format}"
        f"{_example(told)}; name another format, or allow it: `limits: {{refused: 100}}`"
    )


def _example(told: Told) -> str:
    return f" ({told.first})" if told.first else ""


def _change(demands: Demands, new: int, old: int) -> str:
    if old >= FEW and new * demands.shrink < old:
        return (
            f"it shrank from {old} rules to {new}, to less than 1/{demands.shrink}; if that is "
            f"meant, allow it: `limits: {{shrink: {-(-old // new)}}}`"
        )
    if new > max(old, FEW) * demands.grow:
        return (
            f"it grew from {old} rules to {new}, more than {demands.grow} times; if that is "
            f"meant, allow it: `limits: {{grow: {-(-new // max(old, FEW))}}}`"
        )
    return ""
