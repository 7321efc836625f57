"""Rows of what was refused: joined to names, counted, bounded, safe to print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Hook, Reason, Verdict
from dnsfw.engine import notes
from dnsfw.engine.effects import Note
from dnsfw.model import DEFAULT_RULE, HOST, Addr, Name, RoleId, addr_from
from dnsfw.server.observed import Asker, Observed
from dnsfw.wire.name import from_text

WWW = from_text("www.example.com")
TCP, UDP = 6, 17


class Desk:
    """A table over a clock that the test moves, and one name."""

    def __init__(self, **names: str) -> None:
        self.now = 1000.0
        self.known = {addr_from(a): from_text(n) for n, a in names.items()}
        self.observed = Observed(self._names, lambda rule: "", lambda: self.now)

    def _names(self, role: RoleId, addr: Addr) -> Iterable[Name]:
        return [self.known[addr]] if addr in self.known else []

    def event(self, address: str, port: int = 443, **more: Any) -> None:
        hook = more.pop("hook", Hook.CONNECT)
        fields: dict[str, Any] = {
            "role": HOST, "pid": 7, "comm": b"curl".ljust(16, b"\0"), "proto": TCP,
            "verdict": Verdict.DENY, "reason": Reason.NEVER_RESOLVED, **more,
        }  # fmt: skip
        self.observed.event(
            abi.Event(
                at=0, netns=0, rule=0, ifindex=0, addr=addr_from(address), port=port,
                local_port=0, hook=hook, **fields,
            )
        )  # fmt: skip

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.observed.rows()


def test_equal_refusals_are_one_row_with_a_count_and_two_times() -> None:
    desk = Desk()

    desk.event("203.0.113.9")
    desk.now = 1060.0
    desk.event("203.0.113.9", pid=8)

    (row,) = desk.rows
    assert row == {
        "role": "host", "verdict": "deny", "name": "", "addresses": ["203.0.113.9"], "port": 443,
        "protocol": "tcp", "reason": "never-resolved", "rule": "", "count": 2, "first": 1000,
        "last": 1060, "pid": 8, "command": "curl", "sent": True,
    }  # fmt: skip


def test_a_name_that_was_refused_several_times_at_once_is_counted_so() -> None:
    desk = Desk()
    refused = notes.refused(HOST, WWW, Reason.NAME_DEFAULT, None)
    desk.observed.note(refused, Asker(7, "curl"))
    desk.observed.note(refused, times=5)

    (row,) = desk.rows
    assert (row["count"], row["command"]) == (6, "curl")


def test_addresses_of_one_name_are_one_row() -> None:
    desk = Desk()
    for last in range(1, 10):
        desk.known[addr_from(f"203.0.113.{last}")] = WWW
        desk.event(f"203.0.113.{last}", reason=Reason.WRONG_PORT)

    (row,) = desk.rows
    assert (row["name"], row["count"]) == ("www.example.com", 9)
    assert len(row["addresses"]) == 4


def test_ports_protocols_and_commands_are_rows_of_their_own() -> None:
    desk = Desk()

    desk.event("203.0.113.9")
    desk.event("203.0.113.9", port=80)
    desk.event("203.0.113.9", proto=UDP)
    desk.event("203.0.113.9", comm=b"wget".ljust(16, b"\0"))

    assert len(desk.rows) == 4


def test_the_packets_of_an_audited_connection_are_not_further_attempts() -> None:
    desk = Desk()

    desk.event("203.0.113.9", verdict=Verdict.ALLOW)
    for _ in range(5):
        desk.event("203.0.113.9", verdict=Verdict.ALLOW, hook=Hook.CGROUP_EGRESS)

    (row,) = desk.rows
    assert (row["count"], row["verdict"]) == (1, "allow")


def test_what_only_a_packet_hook_sees_counts() -> None:
    desk = Desk()

    desk.event("203.0.113.9", proto=1, port=0, hook=Hook.CGROUP_EGRESS)
    desk.event("203.0.113.9", proto=1, port=0, hook=Hook.CGROUP_EGRESS)

    assert desk.rows[0]["count"] == 2


def test_a_refused_name_has_no_port_but_who_asked() -> None:
    desk = Desk()

    desk.observed.note(notes.refused(HOST, WWW, Reason.NAME_DEFAULT, None), Asker(9, "pip"))

    (row,) = desk.rows
    assert (row["name"], row["port"], row["protocol"]) == ("www.example.com", 0, "")
    assert (row["reason"], row["pid"], row["command"]) == ("name-default", 9, "pip")


def test_an_audited_name_tells_why_it_would_have_been_refused() -> None:
    desk = Desk()

    desk.observed.note(notes.audited(HOST, WWW, Reason.NAME_DEFAULT, None))

    (row,) = desk.rows
    assert (row["verdict"], row["reason"]) == ("allow", "name-default")


def test_an_address_taken_out_of_an_answer_is_told_with_its_name() -> None:
    desk = Desk()
    note = notes.filtered(HOST, WWW, None, addr_from("10.0.0.5"), Reason.FILTERED)

    desk.observed.note(note)

    assert desk.rows[0]["addresses"] == ["10.0.0.5"]


def test_trouble_with_upstreams_is_nobodys_wish() -> None:
    desk = Desk()

    desk.observed.note(Note("shared", Verdict.ALLOW, Reason.BY_NAME, HOST, WWW, DEFAULT_RULE))
    desk.event("127.0.0.1", role=abi.RoleId.PROBE)

    assert desk.rows == []


def test_row_134_names_and_commands_cannot_steer_a_terminal() -> None:
    desk = Desk()
    evil = from_text(r"a\027[2jb.example")

    desk.observed.note(notes.refused(HOST, evil, Reason.NAME_DEFAULT, None), Asker(1, "x\x1b[2J"))
    desk.event("203.0.113.9", comm=b"\x1b]0;\n".ljust(16, b"\0"))

    assert all(str(value).isprintable() for row in desk.rows for value in row.values())
    assert desk.rows[0]["command"] == r"x\027[2J"


def test_a_flood_of_one_program_leaves_the_rows_of_others() -> None:
    observed = Observed(lambda role, addr: (), lambda rule: "", lambda: 0.0, max_rows=10)
    for number in range(3):
        name = from_text(f"pypi{number}.example")
        note = notes.refused(HOST, name, Reason.NAME_DEFAULT, None)
        observed.note(note, Asker(1, "pip"))
    for number in range(100):
        name = from_text(f"n{number}.example")
        observed.note(notes.refused(HOST, name, Reason.NAME_DEFAULT, None), Asker(2, "evil"))

    commands = [row["command"] for row in observed.rows()]
    assert (commands.count("pip"), commands.count("evil")) == (3, 7)
    assert observed.left_out == 93


def test_a_udp_socket_that_is_only_connected_has_sent_nothing() -> None:
    desk = Desk()
    desk.event("203.0.113.9", proto=17, verdict=Verdict.ALLOW)
    desk.event("203.0.113.8", proto=6)
    desk.event("203.0.113.7", proto=17, hook=Hook.SENDMSG)

    assert [row["sent"] for row in desk.rows] == [False, True, True]
    desk.event("203.0.113.9", proto=17, verdict=Verdict.ALLOW, hook=Hook.CGROUP_EGRESS)
    assert desk.rows[0]["sent"]
