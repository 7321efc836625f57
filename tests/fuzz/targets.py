"""What is fuzzed: each reader of somebody else's bytes, and the exceptions it may raise.

A target takes bytes and returns, or raises anything at all, which is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dnsfw.errors import PolicyError, WireError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.lists.columns import TREE
from dnsfw.policy.lists.formats import Format, read_list
from dnsfw.policy.lists.table import Table, build
from dnsfw.policy.problems import Problems
from dnsfw.wire.message import read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.query import Refuse, peek, read_query
from dnsfw.wire.reply import write_error

__all__ = ["FINDINGS", "TARGETS", "Target", "findings"]

FINDINGS = Path(__file__).resolve().parents[1] / "data" / "fuzz"


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, what it may be given to begin with, and words that get it further."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    longest: int = 4096
    grows: bool = True  # whether a longer input is more work: a message ends at 64 KiB


def findings(target: str) -> list[Path]:
    """Inputs that were too much once."""
    return sorted(path for path in (FINDINGS / target).glob("*") if path.is_file())


def _list(kind: Format, data: bytes) -> None:
    """Read and compiled; each name that it says it read is found again."""
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    parsed = read_list(text, kind, suffix=bool(len(data) % 2))
    assert len(parsed.names) == len(parsed.means) == len(parsed.lines)
    if not parsed.names:
        return
    table = Table(memoryview(build(parsed, {"exceptions_first": kind is not Format.RPZ})))
    for name, means in zip(parsed.names[:50], parsed.means[:50], strict=True):
        assert int(table.means(name)) & means == means
        found = table.find(from_text(name))
        assert found is None or found.means & TREE


def _json(data: bytes) -> None:
    problems = Problems()
    found = read_json(data.decode("utf-8", "replace"), "f", problems)
    assert found is not None or problems.errors


def _policy(data: bytes) -> None:
    with suppress(PolicyError):
        compile_text(data.decode("utf-8", "replace"))


def _import(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for form in FORMATS.values():
        problems = Problems()
        with suppress(PolicyError):
            assert form.read(text, "f", problems) is not None or problems.errors


def _wire(data: bytes) -> None:
    """Both ways through: as a query that is answered or refused, and as a response."""
    peek(data)
    try:
        read_query(data)
    except Refuse as refusal:
        write_error(refusal)
    except WireError:
        pass
    with suppress(WireError):
        read_response(data)


_NAMES = (b"example.com", b"*.x.org", b"\xc3\xa9.example", b"a" * 63, b"xn--", b"..", b"co.uk")
_LIST_SEEDS: Mapping[Format, bytes] = {
    Format.PLAIN: b"ads.example\n# x\ncom\nx.example. # y\n1.2.3.4\n",
    Format.HOSTS: b"127.0.0.1 localhost\n0.0.0.0 ads.example t.example #c\n::1 x.example\n",
    Format.WILDCARD: b"*.ads.example\nx.example\n*.com\n",
    Format.ADBLOCK: (
        b"! t\n||ads.example^\n@@||ok.ads.example^$important\n||x.y^$badfilter\nx##.y\n"
    ),
    Format.RPZ: (
        b"$ORIGIN rpz.\n$TTL 1h\n@ SOA a b ( 1 2 3 4 5 )\n NS x.\nads.example CNAME .\n"
        b"*.ads.example 60 IN CNAME *.\nok.example CNAME rpz-passthru.\n"
        b"24.0.2.0.192.rpz-ip CNAME .\n48.zz.2.2001.rpz-ip CNAME rpz-drop.\n"
    ),
    Format.DNSMASQ: b"address=/ads.example/x.y/\nlocal=/a.b/ # c\nserver=/q.r/1.1.1.1\n",
    Format.CIDR: b"192.0.2.0/24 ; SBL1\n2001:db8::/32\n10.0.0.1\n",
}
_LIST_WORDS = (
    *_NAMES, b"0.0.0.0 ", b"||", b"^", b"@@", b"$important", b"$badfilter", b"##", b"CNAME .",
    b"rpz-passthru.", b".rpz-ip", b"zz.", b"(", b")", b"$ORIGIN ", b"@ SOA ", b"address=/",
    b"nftset=/", b"/#", b"/32", b"::", b"\n", b" ", b"#", b";",
)  # fmt: skip
_YAML = (
    b"version: 1\ndefault: deny\nrules:\n  - allow: '*.example.com:443'\n"
    b"  - deny: [x.y, 10.0.0.0/8]\n    note: q\n"
    b"roles:\n  web:\n    subjects: [{uid: 33}]\ndns:\n  takeover: true\n"
)
_YAML_WORDS = (
    b"version: 1\n", b"default: ", b"rules:\n", b"  - allow: ", b"  - deny: ", b"&a ", b"*a",
    b"!!python/object ", b"<<: ", b"? ", b"{", b"}", b"[", b"]", b"'", b'"', b"|\n", b"\n",
    b"roles:\n", b"tests:\n", b"ttl: {min: 5s}", b"broad: true", b"first-match", *_NAMES,
)  # fmt: skip
_JSON_SEED = (
    b'{"revision": 1, "lockdown_mode": true, "blocked_domains": ["*.x.com", "y.z",], // c\n'
    b'"sandbox": {"network": {"allowedDomains": ["a.b"], "deniedDomains": []}}, /* d */'
    b' "n": -1.5e3}'
)
_JSON_WORDS = (
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"//", b"/*", b"*/", b"null", b"true", b"\\u0000",
    b"\\ud800", b"1e9", b'"allowedDomains"', b'"blocked_domains"', b'"kind"', *_NAMES,
)  # fmt: skip
_QUERY = bytes.fromhex("1234010000010000000000010377777707") + b"example\3com\0\0\1\0\1" + bytes(
    (0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
)
_REPLY = (
    bytes.fromhex("123481800001000200000000") + b"\3www\7example\3com\0\0\1\0\1"
    b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x10\xc0\x10\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
)

TARGETS: Mapping[str, Target] = {
    **{
        f"list-{kind.value}": Target(partial(_list, kind), (seed,), _LIST_WORDS)
        for kind, seed in _LIST_SEEDS.items()
    },
    "json": Target(_json, (_JSON_SEED,), _JSON_WORDS),
    "policy": Target(_policy, (_YAML,), _YAML_WORDS),
    "import": Target(_import, (_JSON_SEED, _YAML), _JSON_WORDS + _YAML_WORDS, grows=False),
    "wire": Target(
        _wire, (_QUERY, _REPLY), (b"\xc0\x0c", b"\0\x29", b"\3www", b"\0\5", b"\xff"), 1024, False
    ),
}
