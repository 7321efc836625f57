"""What happened, in words: row 134 and the last names of an address."""

from __future__ import annotations

from typing import Any

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Hook, Reason, Verdict
from dnsfw.engine import notes
from dnsfw.engine.effects import Note
from dnsfw.model import DEFAULT_RULE, HOST, Addr, Name, Nanos, RoleId, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.server.happenings import Digest, Watchers
from dnsfw.server.reporter import Reporter, reason_text, role_text
from dnsfw.wire.name import from_text

POLICY = compile_text("version: 1\ndefault: deny\nrules: [{allow: '*.example.com:443'}]\n")


class Engine:
    """It remembers one name."""

    def last_names(self, role: RoleId, addr: Addr) -> tuple[Name, ...]:
        return (from_text(r"www.ex\027ample.com"),)


class Ring:
    def __init__(self, *events: abi.Event) -> None:
        self._events = events

    def fileno(self) -> int:
        return -1

    def read(self) -> Any:
        return iter(self._events)


class Desk:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.watchers = Watchers()
        self.watcher = self.watchers.add(lambda: None)
        digest = Digest(lambda: Nanos(0), self.lines.append)
        self.reporter = Reporter(
            Engine(),  # type: ignore[arg-type]
            lambda: POLICY,
            digest,
            self.watchers,
            ("192.0.2.1:53", "9.9.9.9:53"),
        )

    @property
    def row(self) -> dict[str, Any]:
        assert self.watcher is not None
        (row,) = self.watcher.take()
        return dict(row)


def event(**changes: Any) -> abi.Event:
    base = abi.Event(
        0, 1, HOST, abi.RuleId.NONE, 4242, 2, addr_from("203.0.113.9"), 443, 40000, 6,
        Verdict.DENY, Reason.WRONG_PORT, Hook.CONNECT, b"curl".ljust(16, b"\0"),
    )  # fmt: skip
    return base._replace(**changes)


def test_a_denial_is_told_with_its_last_names() -> None:
    desk = Desk()
    desk.reporter.drain(Ring(event()))

    assert desk.lines == [
        r"denied 203.0.113.9:443/tcp (www.ex\027ample.com): wrong-port, by curl[4242]"
    ]
    row = desk.row
    assert row.pop("at") > 0
    assert row == {
        "id": 1, "kind": "denied", "verdict": "deny", "reason": "wrong-port", "role": "host",
        "names": [r"www.ex\027ample.com"], "address": "203.0.113.9", "port": 443,
        "protocol": "tcp", "rule": "", "rule_id": "", "place": "", "pid": 4242,
        "command": "curl", "hook": "connect",
    }  # fmt: skip


def test_what_a_rule_denied_is_told_with_the_rules_id_and_line() -> None:
    desk, rule = Desk(), POLICY.host.rules[0]
    desk.reporter.drain(Ring(event(rule=rule.id)))

    row = desk.row

    assert row["rule"] == rule.text
    assert (row["rule_id"], row["place"]) == (f"{rule.id:08x}", str(rule.where))


def test_row_134_a_command_cannot_write_into_the_log() -> None:
    desk = Desk()
    desk.reporter.drain(Ring(event(comm=b"x\n\x1b[2J\0\0\0\0\0\0\0\0\0\0")))

    assert desk.lines[0].endswith(r"by x\010\027[2J[4242]")


def test_ipv6_and_portless_protocols_are_readable() -> None:
    desk = Desk()
    v6 = addr_from("2001:db8::9")
    desk.reporter.drain(Ring(event(addr=v6), event(addr=v6, proto=1, pid=0, comm=bytes(16))))

    assert "denied [2001:db8::9]:443/tcp " in desk.lines[0]
    assert "denied [2001:db8::9]/icmp " in desk.lines[1]
    assert desk.lines[1].endswith("by ?")


def test_an_audited_event_is_not_called_a_denial() -> None:
    desk = Desk()
    desk.reporter.drain(Ring(event(verdict=Verdict.ALLOW)))

    assert desk.lines[0].startswith("would refuse 203.0.113.9:443/tcp ")
    assert desk.row["kind"] == "audited"


def test_a_role_is_told_by_its_name_where_it_is_not_the_host() -> None:
    desk = Desk()
    desk.reporter.role_name = {16: "web"}.__getitem__
    desk.reporter.drain(Ring(event(role=16)))
    desk.reporter.note(notes.refused(RoleId(16), from_text("a.net"), Reason.NAME_DEFAULT, None))

    assert desk.lines[0].endswith("by curl[4242], role web")
    assert desk.lines[1] == "refused a.net: name-default, role web"


def test_two_roles_that_are_refused_alike_are_two_lines() -> None:
    desk = Desk()
    for role in (HOST, RoleId(16), RoleId(16)):
        desk.reporter.note(notes.refused(role, from_text("a.net"), Reason.NAME_DEFAULT, None))

    assert len(desk.lines) == 2
    assert desk.reporter.counts[HOST, "refused"] == 1
    assert desk.reporter.counts[RoleId(16), "refused"] == 2


def test_listeners_hear_everything_as_it_is() -> None:
    desk, heard = Desk(), Ear()
    desk.reporter.listeners.append(heard)
    wish = event(hook=Hook.SOCK_CREATE, reason=Reason.NO_DOOR)
    desk.reporter.drain(Ring(wish))
    note = notes.refused(HOST, from_text("a.net"), Reason.NAME_DEFAULT, None)
    desk.reporter.note(note)

    assert heard.said == [wish, note]
    assert len(desk.lines) == 1  # that somebody may want a door is no news to people


class Ear:
    def __init__(self) -> None:
        self.said: list[object] = []

    def note(self, note: Note) -> None:
        self.said.append(note)

    def event(self, event: abi.Event) -> None:
        self.said.append(event)


def test_an_upstream_that_fails_is_told_by_its_address() -> None:
    desk = Desk()
    desk.reporter.note(notes.upstream_failed(HOST, from_text("a.example"), 1, "no answer in time"))

    assert desk.lines == ["upstream-failed a.example: upstream 9.9.9.9:53: no answer in time"]


def test_our_own_probes_are_no_news() -> None:
    desk = Desk()
    desk.reporter.drain(Ring(event(role=abi.RoleId.PROBE)))

    assert desk.lines == []


def test_a_socket_that_is_refused_is_news_and_one_that_asks_for_doors_is_none() -> None:
    desk = Desk()
    made = event(addr=Addr(bytes(16)), port=0, hook=Hook.SOCK_CREATE)
    doors = made._replace(verdict=Verdict.ALLOW, reason=Reason.NO_DOOR)
    desk.reporter.drain(Ring(doors, made._replace(reason=Reason.UNKNOWN_ASKER)))

    assert desk.lines == ["denied an MPTCP socket: unknown-asker, by curl[4242]"]
    assert desk.row["reason"] == "unknown-asker"


def test_numbers_of_a_newer_kernel_part_are_shown_as_numbers() -> None:
    desk = Desk()
    desk.reporter.drain(Ring(event(reason=200, hook=99, proto=250, role=77)))

    assert "reason-200" in desk.lines[0]
    assert desk.row["hook"] == "99"
    assert (reason_text(200), role_text(77)) == ("reason-200", "77")


def test_a_refused_query_is_told_with_its_rule() -> None:
    desk = Desk()
    rule = POLICY.host.rules[0]
    name = from_text("a.example.com")
    desk.reporter.note(
        Note("refused", Verdict.DENY, Reason.BY_NAME, HOST, name, rule.id, "because")
    )

    assert desk.lines == [f"refused a.example.com: because, rule {rule.text}"]


def test_a_note_about_an_address_names_it() -> None:
    desk = Desk()
    desk.reporter.note(
        Note(
            "filtered",
            Verdict.DENY,
            Reason.FILTERED,
            HOST,
            from_text("a.example"),
            DEFAULT_RULE,
            "",
            addr_from("10.0.0.1"),
        )
    )

    assert desk.lines == ["filtered a.example 10.0.0.1: filtered"]


def test_what_the_daemon_does_is_told_too() -> None:
    desk = Desk()
    desk.reporter.said("repaired", "connect4\nis back")

    assert desk.lines == [r"repaired: connect4\010is back"]
