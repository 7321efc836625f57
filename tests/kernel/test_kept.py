"""What is judged once and kept for a moment in the socket: it passes sooner, and never longer.

Real sockets behind the cgroup's hooks, behind a device's, and behind both. A socket that was
made inside stays there: this process holds it and sends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from dnsfw.datapath import abi, own
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.bpf import Map
from dnsfw.model import Inbound, Lockdown, Reason, RolePlan
from tests.support.netlab import Capture, Lab, wait_until
from tests.support.site import HERE4, PEER4, PEER6, SHUT4, Site, built
from tests.support.wall import ALLOW, DENY, LATER, OTHER_RULE, RULE, WEB, boottime

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cgroup]

PATIENCE = 5.0
DATA = b"twelve bytes, or more"  # shorter datagrams are judged one by one
TRIES = 100  # a verdict is kept for 25 ms at least: this process may be away for longer
RECORD = abi.Sock.SIZE
VERSION_AT, WRITING = RECORD - 8, 1 << 63  # of what struct dnsfw_sock keeps
RULE_ENDS = RULE


@dataclass
class Stage:
    """A site, and where its hooks are."""

    site: Site
    where: str

    def table(self, name: str) -> Map:
        return self.site.wall.table(name)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """Made by a process of the guarded cgroup and namespace."""
        ours, theirs = socket.socketpair()
        with ours, theirs:

            def act() -> int:
                with socket.socket(family, kind) as made:
                    socket.send_fds(theirs, [b"."], [made.fileno()])
                return 0

            assert self.site.inside(act) == 0
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        made = socket.socket(fileno=fds[0])
        made.settimeout(PATIENCE)
        return made

    def judged(self, act: Callable[[], object]) -> dict[Reason, tuple[int, int]]:
        """What the hooks said of the packets that `act` sends: allowed and denied, by reason."""
        before = self.site.wall.sink.counters()
        with contextlib.suppress(PermissionError):
            act()
        after = self.site.wall.sink.counters()
        return {
            reason: (now.allowed - before[reason].allowed, now.denied - before[reason].denied)
            for reason, now in after.items()
            if now[:2] != before[reason][:2] and reason is not Reason.UPKEEP
        }

    def passes(self, sock: socket.socket, to: tuple[str, int] | None = None) -> bool:
        """Whether the next datagram is let through by all hooks."""
        said = self.judged(lambda: sock.sendto(DATA, to) if to else sock.send(DATA))
        assert said
        return not any(denied for _, denied in said.values())

    def prime(self, sock: socket.socket, to: tuple[str, int] | None = None) -> None:
        """The conversation is judged whole, just now."""
        for _ in range(3):
            assert self.passes(sock, to)

    def forget_rows(self) -> None:
        """Behind the daemon's back: what is kept stays, and nobody else knows."""
        for name in ("dnsfw_flows", "dnsfw_flows_in"):
            table = self.site.wall.table(name)
            for key in list(table.keys()):
                table.delete(key)

    def is_kept(self, sock: socket.socket, to: tuple[str, int] | None = None) -> bool:
        """Whether one is: it passes without a row. No grant may let it begin again."""
        for _ in range(TRIES):
            self.open(to)
            self.prime(sock, to)
            self.shut()
            self.forget_rows()
            if self.passes(sock, to):
                return True
        return False

    def open(self, to: tuple[str, int] | None = None) -> None:
        self.site.wall.open(PEER4, PEER6, text=f"{to[1] if to else 5000}/udp 5000/udp 5000/tcp")

    def shut(self) -> None:
        self.site.wall.grant(PEER4)
        self.site.wall.grant(PEER6)


@pytest.fixture(params=["cgroup", "device", "both"])
def stage(request: pytest.FixtureRequest, loaded: Loaded, lab: Lab) -> Iterator[Stage]:
    with built(loaded, lab) as site:
        if request.param != "device":
            site.attach()
        if request.param != "cgroup":
            site.guard(site.guarded, "eth0", ingress="dnsfw_tc_ingress", egress="dnsfw_tc_egress")
        yield Stage(site, request.param)


@pytest.fixture
def peer(stage: Stage) -> Iterator[socket.socket]:
    """Takes what is sent to it, of both families: an error would come back to the sender."""
    with stage.site.outside.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
        made.bind(("::", 5000))
        made.settimeout(PATIENCE)
        yield made


@pytest.fixture
def sock(stage: Stage, peer: socket.socket) -> Iterator[socket.socket]:
    """Connected, to an open address."""
    with stage.socket() as made:
        stage.open()
        made.connect((PEER4, 5000))
        yield made


AT_SOCKETS = pytest.mark.parametrize("stage", ["cgroup", "both"], indirect=True)
AT_DEVICE = pytest.mark.parametrize("stage", ["device"], indirect=True)


# it is there


def test_a_conversation_that_was_just_judged_needs_no_row(
    stage: Stage, sock: socket.socket
) -> None:
    assert stage.is_kept(sock)


def test_so_does_one_of_ipv6(stage: Stage, peer: socket.socket) -> None:
    with stage.socket(socket.AF_INET6) as sock:
        stage.open()
        sock.connect((PEER6, 5000))
        assert stage.is_kept(sock)


def test_what_was_judged_whole_is_counted_as_if_each_packet_were(
    stage: Stage, sock: socket.socket
) -> None:
    stage.prime(sock)
    hooks = 2 if stage.where == "both" else 1

    said = stage.judged(lambda: [sock.send(DATA) for _ in range(50)])

    assert said == {Reason.FLOW: (50 * hooks, 0)}
    shares = stage.site.wall.sink.role_counters()
    assert sum(role.allowed for role in shares.values()) >= 50 * hooks


# it does not outlive what lets it pass


def revoked_by(stage: Stage, sock: socket.socket, revoke: Callable[[], None]) -> None:
    """A packet right after `revoke` is refused, although one right before passed."""
    for _ in range(5):
        stage.site.wall.policy()
        stage.open()
        stage.prime(sock)
        revoke()
        assert not stage.passes(sock)


def test_row_114_a_reload_without_the_rule_counts_at_once(
    stage: Stage, sock: socket.socket
) -> None:
    revoked_by(stage, sock, lambda: stage.site.wall.kill(RULE))


@pytest.mark.parametrize("state", [Lockdown.ON, Lockdown.HARD])
def test_lockdown_counts_at_once(stage: Stage, sock: socket.socket, state: Lockdown) -> None:
    revoked_by(stage, sock, lambda: stage.site.wall.sink.lockdown(state))


def test_a_conversation_that_the_daemon_cuts_is_judged_anew_at_once(
    stage: Stage, sock: socket.socket
) -> None:
    def cut() -> None:
        stage.shut()
        stage.site.wall.sink.cut(stage.site.wall.flows())

    revoked_by(stage, sock, cut)


def as_role(stage: Stage, sock: socket.socket, role: int) -> None:
    """What the daemon writes when a process gets another role."""
    with stage.site.guarded.entered():
        netns = own.netns_cookie()
    made = abi.Sock(role, os.getpid(), b"test".ljust(abi.Limit.COMM, b"\0"), netns)
    stage.site.wall.table("dnsfw_socks").update(fd_of(sock), made.pack())


def fd_of(sock: socket.socket) -> bytes:
    return sock.fileno().to_bytes(4, "little")


def test_a_socket_that_gets_another_role_is_judged_as_that_one_at_once(
    stage: Stage, sock: socket.socket
) -> None:
    stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
    for _ in range(5):
        as_role(stage, sock, abi.RoleId.HOST)
        stage.prime(sock)
        as_role(stage, sock, WEB)
        assert not stage.passes(sock)


def test_a_record_that_is_rewritten_in_place_counts_at_once(
    stage: Stage, sock: socket.socket
) -> None:
    """What is kept names the role that it was judged by."""
    stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
    for _ in range(5):
        stage.prime(sock)
        raw = kept_by(stage, sock)
        stage.site.wall.table("dnsfw_socks").update(
            fd_of(sock), int(WEB).to_bytes(4, "little") + raw[4:]
        )
        assert not stage.passes(sock)
        as_role(stage, sock, abi.RoleId.HOST)


TWO = ((PEER4, 5000), (PEER4, 5001))


@pytest.mark.parametrize("how", ["reload", "lockdown", "cut", "role", "rewritten"])
def test_what_a_socket_sends_to_many_is_refused_at_once_too(stage: Stage, how: str) -> None:
    """No record holds all of them: each passes by the row of its conversation, calls as well;
    and the first hook that is asked refuses.
    """
    with stage.socket() as sock:
        for _ in range(5):
            stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
            as_role(stage, sock, abi.RoleId.HOST)
            stage.site.wall.open(PEER4, text="5000-5001/udp")
            for to in TWO * 3:
                assert stage.passes(sock, to)
            revoke(stage, sock, how)
            for to in TWO:
                said = stage.judged(lambda to=to: sock.sendto(DATA, to))
                assert [denied for _, denied in said.values()] == [1], (to, said)
                assert not any(allowed for allowed, _ in said.values())  # the first hook says no


def revoke(stage: Stage, sock: socket.socket, how: str) -> None:
    match how:
        case "reload":
            stage.site.wall.kill(RULE)
        case "lockdown":
            stage.site.wall.sink.lockdown(Lockdown.ON)
        case "cut":
            stage.shut()
            stage.site.wall.sink.cut(stage.site.wall.flows())
        case "role":
            as_role(stage, sock, WEB)
        case "rewritten":
            raw = kept_by(stage, sock)
            stage.table("dnsfw_socks").update(
                fd_of(sock), int(WEB).to_bytes(4, "little") + raw[4:]
            )


def test_a_pause_that_ends_leaves_no_verdict_behind(stage: Stage, sock: socket.socket) -> None:
    """What only passes because its role watches is not kept."""
    stage.shut()
    stage.site.wall.policy(audit=True)
    stage.forget_rows()
    for _ in range(5):
        sock.send(DATA)
    stage.site.wall.policy()

    assert not stage.passes(sock)


def test_a_conversation_by_a_temporary_rule_is_judged_each_time(
    stage: Stage, sock: socket.socket
) -> None:
    """Its end is the kernel's clock's: nobody raises a generation then."""
    ends = boottime() // 10**9 + 3600
    stage.site.wall.policy(ends={RULE_ENDS: ends})
    stage.open()
    for _ in range(10):
        assert stage.passes(sock)
        stage.table("dnsfw_rules").update(
            int(RULE).to_bytes(4, "little"), abi.Rule(boottime() // 10**9 - 1).pack()
        )
        assert not stage.passes(sock)
        stage.table("dnsfw_rules").update(int(RULE).to_bytes(4, "little"), abi.Rule(ends).pack())


def test_nothing_is_kept_before_the_daemon_has_said_a_generation(
    stage: Stage, sock: socket.socket
) -> None:
    stage.table("dnsfw_generation").update(bytes(4), bytes(4))
    for _ in range(5):
        stage.prime(sock)
        stage.shut()
        stage.forget_rows()
        assert not stage.passes(sock)
        stage.open()


def test_what_is_refused_is_not_kept(stage: Stage, sock: socket.socket) -> None:
    """Neither by a rule of addresses, nor by a name that closes what another one opens."""
    slots = [("5000/udp", ALLOW, RULE, LATER), ("5000/udp", DENY, OTHER_RULE, LATER)]
    stage.site.wall.grant(PEER4, *slots)
    for _ in range(5):
        assert not stage.passes(sock)
    stage.open()
    stage.site.wall.policy(fixed={f"{PEER4}/32": [("udp", DENY, RULE)]})
    for _ in range(5):
        assert not stage.passes(sock)


def test_a_handshake_that_begins_anew_is_judged_anew(stage: Stage) -> None:
    """The port was closed; the same socket tries again at once, with another SYN."""
    stage.site.wall.policy(inbound=Inbound.ALL)
    for attempt in range(5):
        with stage.socket(kind=socket.SOCK_STREAM) as sock:
            sock.bind((HERE4, 40000 + attempt))  # or each connect takes another port
            stage.open()
            for _ in range(2):  # the second error of a refused socket tells of the first
                with contextlib.suppress(OSError):
                    sock.connect((PEER4, 5000))
            stage.shut()
            sock.setblocking(False)

            def again(sock: socket.socket = sock) -> None:
                with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                    sock.connect((PEER4, 5000))

            said = stage.judged(lambda: [again(), again()])
            assert any(denied for _, denied in said.values()), said


# it is of one conversation


def test_row_07_another_destination_of_the_same_socket_is_judged(stage: Stage) -> None:
    stage.open()
    with stage.socket() as sock:
        for _ in range(5):
            stage.prime(sock, (PEER4, 5000))
            assert not stage.passes(sock, (SHUT4, 5000))
            assert not stage.passes(sock, (PEER4, 5001))


def test_row_08_a_socket_that_connects_elsewhere_takes_nothing_along(
    stage: Stage, sock: socket.socket
) -> None:
    for to in ((SHUT4, 5000), (PEER4, 5001)):
        sock.connect((PEER4, 5000))
        stage.prime(sock)
        with contextlib.suppress(PermissionError):
            sock.connect(to)
            assert not stage.passes(sock)


# several may write one record at once, and read it


def test_what_is_being_written_is_not_believed(stage: Stage, sock: socket.socket) -> None:
    for _ in range(5):
        stage.open()
        stage.prime(sock)
        be_writing(stage, sock)
        stage.shut()
        stage.forget_rows()

        assert not stage.passes(sock)
        as_role(stage, sock, abi.RoleId.HOST)  # a new record


def test_half_of_one_with_half_of_another_never_stands_there(
    stage: Stage, sock: socket.socket
) -> None:
    """While one hook writes another one does not; and who reads in between sees it."""
    stage.prime(sock)
    written = be_writing(stage, sock)
    stage.table("dnsfw_generation").update(bytes(4), (1 << 30).to_bytes(4, "little"))

    stage.prime(sock)  # each one judged whole, and to be kept

    assert kept_by(stage, sock) == written


def test_what_is_kept_anew_is_of_another_version(stage: Stage) -> None:
    """Or who read half of it before would take the rest for the same."""
    stage.site.wall.open(PEER4, text="5000-5001/udp")
    with stage.socket() as sock:
        versions = []
        for turn in range(6):
            stage.prime(sock, (PEER4, 5000 + turn % 2))
            generation = (1 << 30) + turn  # or a row of a moment ago says enough
            stage.table("dnsfw_generation").update(bytes(4), generation.to_bytes(4, "little"))
            stage.prime(sock, (PEER4, 5000 + turn % 2))
            versions.append(int.from_bytes(kept_by(stage, sock)[VERSION_AT:], "little"))

    assert versions == sorted(set(versions))
    assert max(versions) < WRITING


def be_writing(stage: Stage, sock: socket.socket) -> bytes:
    """As if another CPU were at it, for ever: the record, as it is then."""
    raw = kept_by(stage, sock)
    version = int.from_bytes(raw[VERSION_AT:], "little") | WRITING
    raw = raw[:VERSION_AT] + version.to_bytes(8, "little")
    stage.table("dnsfw_socks").update(fd_of(sock), raw)
    return raw


def kept_by(stage: Stage, sock: socket.socket) -> bytes:
    raw = stage.table("dnsfw_socks").lookup(fd_of(sock))
    assert raw is not None and len(raw) == RECORD
    return bytes(raw)


def test_that_a_row_lives_is_said_of_its_rule(stage: Stage, sock: socket.socket) -> None:
    """A row may become another conversation's while a hook writes to it that the one lives."""
    for _ in range(5):
        stage.open()
        stage.prime(sock)
        for key, row in list(stage.table("dnsfw_flows").items()):
            other = row[:20] + (999).to_bytes(4, "little") + row[24:]
            assert abi.Flow.unpack(other) == abi.Flow.unpack(row)._replace(rule=999)
            stage.table("dnsfw_flows").update(key, other)
        as_role(stage, sock, abi.RoleId.HOST)  # nothing is kept there now
        stage.shut()

        assert not stage.passes(sock)


# a device alone knows no named role of a socket
@pytest.mark.parametrize("stage", ["cgroup", "both"], indirect=True)
def test_a_descriptor_that_is_passed_on_is_judged_as_the_socket_that_it_is(
    stage: Stage, sock: socket.socket
) -> None:
    """Of a role that refuses: what its owner was kept from, nobody else may do for him."""
    stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
    place = stage.site.below("web")
    stage.site.wall.cgroup_is(stage.site.number(place), WEB)
    stage.prime(sock)

    def use(fd: int) -> Callable[[], bool]:
        return lambda: stage.passes(socket.socket(fileno=os.dup(fd)))

    assert stage.site.inside(use(sock.fileno()), place) is True  # `host`'s socket, by `web`
    as_role(stage, sock, WEB)
    assert stage.site.inside(use(sock.fileno())) is False  # `web`'s, by `host`


# a conversation goes on as before


def test_a_datagram_in_pieces_arrives_whole(
    stage: Stage, sock: socket.socket, peer: socket.socket
) -> None:
    stage.prime(sock)
    for _ in range(3):
        peer.recv(100)
    sock.send(b"p" * 4000)
    assert peer.recv(5000) == b"p" * 4000


def test_the_end_of_a_connection_is_noted(stage: Stage) -> None:
    with stage.site.outside.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind((PEER4, 5000))
        server.listen()
        server.settimeout(PATIENCE)
        stage.open()
        with stage.socket(kind=socket.SOCK_STREAM) as sock:
            sock.connect((PEER4, 5000))
            accepted, _ = server.accept()
            with accepted:
                for _ in range(10):
                    sock.send(DATA)
                assert states(stage) == [abi.FlowState.OPEN]
                sock.shutdown(socket.SHUT_WR)
                wait_until(lambda: states(stage) == [abi.FlowState.CLOSING], PATIENCE)
                accepted.send(b"after")  # what follows is let through
                assert sock.recv(5) == b"after"


def states(stage: Stage) -> list[int]:
    return [flow.state for flow in stage.site.wall.flows()]


def test_the_answer_of_each_peer_is_noted(stage: Stage) -> None:
    """What is heard of one says nothing of another on the same socket."""
    servers = []
    with contextlib.ExitStack() as stack:
        for port in (5000, 5001):
            server = stage.site.outside.socket(socket.AF_INET, socket.SOCK_DGRAM)
            servers.append(stack.enter_context(server))
            server.bind((PEER4, port))
            server.settimeout(PATIENCE)
        sock = stack.enter_context(stage.socket())
        stage.site.wall.open(PEER4, text="5000-5001/udp")
        for server, rounds in zip(servers, (3, 1), strict=True):
            port = server.getsockname()[1]
            for _ in range(rounds):
                sock.sendto(DATA, (PEER4, port))
                _, whence = server.recvfrom(100)
                server.sendto(DATA, whence)
                sock.recv(100)

    assert states(stage) == [abi.FlowState.OPEN] * 2


def test_a_conversation_in_use_is_seen(stage: Stage, sock: socket.socket) -> None:
    """Kept or not, it does not idle: its row says when it was used."""
    stage.prime(sock)
    began = stage.site.wall.flows()[0].seen
    until = time.monotonic() + PATIENCE
    while stage.site.wall.flows()[0].seen == began and time.monotonic() < until:
        sock.send(DATA)
        time.sleep(0.02)

    assert stage.site.wall.flows()[0].seen > began


def test_a_server_goes_on_answering_and_stops_when_it_is_cut(stage: Stage) -> None:
    stage.site.wall.policy(inbound=Inbound.ALL)
    with (
        stage.socket() as server,
        stage.site.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        server.bind((HERE4, 6000))
        peer.bind((PEER4, 6001))
        for _ in range(3):
            peer.sendto(DATA, (HERE4, 6000))
            server.recv(100)
        for _ in range(5):
            assert stage.passes(server, (PEER4, 6001))
        stage.site.wall.policy(inbound=Inbound.DENY)
        stage.site.wall.sink.cut(stage.site.wall.flows(inbound=True))

        assert not stage.passes(server, (PEER4, 6001))


@AT_DEVICE
def test_what_a_device_keeps_in_an_older_socket_says_nothing_of_its_role(
    stage: Stage, sock: socket.socket
) -> None:
    """Its cgroup becomes a subject later: the first one to look finds out, as if new."""
    stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
    stage.prime(sock)
    assert abi.Sock.unpack(kept_by(stage, sock)).role == abi.RoleId.NONE

    stage.site.wall.cgroup_is(stage.site.number(stage.site.cgroup.path), WEB)

    assert not stage.passes(sock)
    assert abi.Sock.unpack(kept_by(stage, sock)).role == WEB


@pytest.mark.parametrize("stage", ["both"], indirect=True)
def test_what_the_socket_may_the_device_still_judges_as_another_role(
    stage: Stage, sock: socket.socket
) -> None:
    """A `via`: the cgroup's verdict is not the device's."""
    stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
    stage.prime(sock)

    stage.site.wall.via_is(stage.site.wall.device, abi.RoleId.HOST, WEB)

    with Capture(stage.site.outside, "eth0") as wire:
        assert not stage.passes(sock)
        assert not wire.saw(DATA)
