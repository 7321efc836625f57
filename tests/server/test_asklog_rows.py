"""What a line of the log says, and that it says the same as explain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.engine import notes
from dnsfw.engine.effects import Note
from dnsfw.engine.filter import Blocked
from dnsfw.engine.refusals import failure, refusal
from dnsfw.model import HOST, Reason, RoleId, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.server.asklog_rows import Heard, name_row, who_row
from dnsfw.server.clock import boot_now
from dnsfw.server.veil import CLEAR, Veil
from dnsfw.server.who_asks import CgroupPaths, Who
from dnsfw.wire.message import Ede, Record, read_query
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query, write_reply
from tests.support.play import rr

POLICY = compile_text(
    "version: 1\ndefault: deny\nrules: [allow: '*.x.com:443', deny: bad.x.com]\n"
    "roles: {web: {default: deny, mode: audit}}"
)
WEB = POLICY.role_id("web")
VEIL = Veil(bytes(32))


def heard(
    name: str, records: list[Record], told: tuple[Note, ...] = (), role: RoleId = HOST,
    rcode: int = 0,
) -> Heard:  # fmt: skip
    query = read_query(write_query(7, from_text(name), 1))
    wire = write_reply(query, rcode, records, (), limit=65_535)
    return Heard(1.5, role, wire, told, Who("10.0.0.2", "udp", 1000), POLICY)


def test_an_allowed_name_has_its_chain_its_addresses_and_its_rule() -> None:
    answer = [
        rr("www.x.com", "CNAME", "edge.cdn.example"),
        rr("edge.cdn.example", "CNAME", "e7.cdn.example"),
        rr("e7.cdn.example", "A", "192.0.2.7"),
    ]
    row = name_row(heard("www.x.com", answer), CLEAR)

    assert row == {
        "at": 1.5, "kind": "name", "role": "host", "name": "www.x.com", "qtype": "A",
        "verdict": "allow", "reason": "by-name", "rule": "allow *.x.com:443",
        "rule_id": f"{POLICY.host.rules[0].id:08x}", "rcode": "NOERROR",
        "chain": ["edge.cdn.example", "e7.cdn.example"], "addresses": ["192.0.2.7"], "count": 1,
    }  # fmt: skip


@pytest.mark.parametrize("edns", [True, False])
def test_a_refusal_says_why_whether_or_not_the_client_could_hear_it(edns: bool) -> None:
    name = from_text("bad.x.com")
    rule = POLICY.host.rules[1]
    query = read_query(write_query(7, name, 1, size=1232 if edns else 0))
    wire = refusal(name, 1, "nxdomain", Reason.BY_NAME, rule).render(query)
    told = (notes.refused(HOST, name, Reason.BY_NAME, rule),)
    row = name_row(Heard(0, HOST, wire, told, Who(), POLICY), CLEAR)

    assert row is not None
    assert (row["verdict"], row["reason"], row["rule"]) == ("deny", "by-name", "deny bad.x.com")


def test_an_answer_that_its_chain_refused_is_a_refusal() -> None:
    blocked = Blocked(from_text("bad.x.com"), Reason.CHAIN_DENIED, POLICY.host.rules[1])
    told = (notes.chain_refused(HOST, from_text("www.x.com"), blocked),)
    row = name_row(heard("www.x.com", [], told, rcode=3), CLEAR)

    assert row is not None
    assert (row["verdict"], row["reason"]) == ("deny", "chain-denied")
    assert row["rule"] == "deny bad.x.com"


def test_what_an_audit_lets_pass_is_told_as_such() -> None:
    told = (notes.audited(WEB, from_text("y.com"), Reason.NAME_DEFAULT, None),)
    row = name_row(heard("y.com", [rr("y.com", "A", "192.0.2.1")], told, WEB), CLEAR)

    assert row is not None
    assert (row["role"], row["verdict"], row["reason"]) == ("web", "allow", "audited")


def test_nobody_is_in_a_role_that_is_gone() -> None:
    row = name_row(heard("y.com", [], role=RoleId(99)), CLEAR)

    assert row is not None
    assert (row["verdict"], row["reason"]) == ("deny", "unknown-asker")
    unknown = name_row(heard("y.com", [], role=RoleId(0)), CLEAR)
    assert unknown is not None and unknown["role"] == "none"  # as `watch` says it


def test_row_137_under_a_veil_no_name_no_address_and_no_rule_is_told() -> None:
    answer = [rr("www.x.com", "CNAME", "a.cdn.example"), rr("a.cdn.example", "A", "192.0.2.7")]
    one = heard("www.x.com", answer)
    told = json.dumps([name_row(one, VEIL), who_row(one.who, CgroupPaths(boot_now), VEIL)])

    for secret in ("x.com", "cdn", "192.0.2.7", "10.0.0.2"):
        assert secret not in told
    assert VEIL.name("www.x.com") in told and VEIL.address("192.0.2.7") in told


def test_row_137_under_a_veil_the_words_of_a_guard_name_no_domain() -> None:
    """They say below which domain too many names were asked for."""
    query = read_query(write_query(7, from_text("a.secret.com"), 1, size=1232))
    wire = failure(query.name, (Ede.BLOCKED, "guard: more than 9 new names below secret.com"))

    clear, veiled = (
        name_row(Heard(0, HOST, wire.render(query), (), Who(), POLICY), veil)
        for veil in (CLEAR, VEIL)
    )

    assert clear is not None and "secret.com" in clear["why"]
    assert "secret" not in json.dumps(veiled)


def test_row_134_nothing_that_a_client_chose_steers_a_terminal() -> None:
    query = read_query(write_query(7, b'\x04a\x1b\n"\x00', 1))  # type: ignore[arg-type]
    wire = write_reply(query, 3, [], (), limit=512)
    row = name_row(Heard(0, HOST, wire, (), Who(), POLICY), CLEAR)

    assert row is not None and row["name"] == "a\\027\\010\\034"


def test_what_is_no_reply_is_no_line() -> None:
    assert name_row(Heard(0, HOST, b"\0" * 12, (), Who(), POLICY), CLEAR) is None


def test_who_asked_is_in_the_line_as_far_as_it_is_known(tmp_path: Path) -> None:
    below = tmp_path / "job"
    below.mkdir()
    (below / "cgroup.procs").write_text("41\n")
    proc = tmp_path / "proc" / "41"
    proc.mkdir(parents=True)
    (proc / "comm").write_bytes(b"di\x1bg\n")
    paths = CgroupPaths(boot_now, tmp_path, tmp_path / "proc")
    who = Who("127.0.0.1", "udp", 1000, below.stat().st_ino, 5)

    assert who_row(who, paths, CLEAR) == {
        "client": "127.0.0.1", "transport": "udp", "uid": 1000, "cgroup": "/job", "pid": 41,
        "command": "di\\027g",
    }  # fmt: skip
    assert who_row(Who(), paths, CLEAR) == {}


def test_addresses_are_kept_up_to_a_limit() -> None:
    many = [rr("www.x.com", "A", f"192.0.2.{n}") for n in range(1, 60)]
    row = name_row(heard("www.x.com", many), CLEAR)

    assert row is not None and len(row["addresses"]) == 16
    assert addr_from(row["addresses"][0])
