"""Whose a socket is: decided when it is made, kept wherever it goes. Real sockets in real
cgroups; two roles side by side, in the kernel's tables and on the wire.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.events import Events
from dnsfw.datapath.own import OwnSockets
from dnsfw.model import HOST, Inbound, Loopback, Mode, Rank, Reason, RoleId, RolePlan, addr_from
from tests.support import uring
from tests.support.netlab import Capture, Lab, wait_until
from tests.support.packets import IP4, UDP
from tests.support.site import (
    HERE4,
    PEER4,
    PEER6,
    SHUT4,
    SHUT6,
    Site,
    act_in,
    built,
    record,
)
from tests.support.wall import ALLOW, DENY, MAIL, WEB, ports

pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cgroup]

PATIENCE = 5.0  # seconds for what arrives in microseconds
NEVER = 0.3  # seconds for what must not arrive
WEB_USER, MAIL_USER, GROUP = 40001, 40002, 40003
NEWUSER, NEWNET = 0x10000000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def bare(loaded: Loaded, lab: Lab) -> Iterator[Site]:
    with built(loaded, lab) as made:
        roles(made)
        yield made


@pytest.fixture
def site(bare: Site) -> Site:
    bare.attach()
    return bare


def roles(site: Site, **web: object) -> None:
    """`host` and the named ones: all refuse."""
    site.wall.policy(others=[RolePlan(WEB, DENY, **web), RolePlan(MAIL, DENY)])  # type: ignore[arg-type]


def say(site: Site, name: str, role: RoleId, rank: Rank = Rank.CGROUP) -> Any:
    """The cgroup `name` below the guarded one is of this role."""
    place = site.below(name)
    site.wall.cgroup_is(site.number(place), role, rank)
    return place


def noted(site: Site, where: Any = None, uid: int = 0, gid: int = 0, enter: int = 0) -> abi.Sock:
    """The record of a socket that a process there makes: it is sent here to be looked at."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def act() -> int:
        if enter and _libc.unshare(enter) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
        return os.getpid()

    with ours, theirs:
        pid = site.inside(act, where, uid, gid)
        assert pid > 1, os.strerror(pid)
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=fd) as sock:
            found = record(site.wall, sock)
    assert found is not None
    assert found.pid == pid
    return found


def send(
    address: str, port: int = 5000, *, sport: int = 0, data: bytes = b"x"
) -> Callable[[], int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def act() -> int:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            if sport:
                sock.bind(("", sport))
            return sock.sendto(data, (address, port))

    return act


# which subject decides


def test_the_deepest_cgroup_decides_and_all_below_it_follow(site: Site) -> None:
    web = say(site, "web", WEB)
    below = site.below("web/a/b/c/d/e")
    mail = say(site, "web/a/b/mail", MAIL)

    assert noted(site, web).role == WEB
    assert noted(site, below).role == WEB
    assert noted(site, mail).role == MAIL
    assert noted(site, site.below("web/a/b/mail/x/y")).role == MAIL
    assert noted(site, site.below("webb")).role == HOST
    assert noted(site).role == HOST


def test_mptcp_is_not_a_way_out_of_a_users_role(bare: Site) -> None:
    """The sockets below it are the kernel's, and made by nobody: only a cgroup is theirs too."""
    bare.attach()
    bare.wall.policy(ALLOW, others=[RolePlan(WEB, DENY)])
    bare.wall.uid_is(WEB_USER, WEB)
    mptcp = 262

    def connect() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, mptcp) as sock:
            sock.settimeout(PATIENCE)
            sock.connect((PEER4, 8080))
        return "connected"

    with bare.outside.entered():
        server = socket.create_server((PEER4, 8080))
    with server:
        with contextlib.closing(Events(bare.wall.table("dnsfw_events").fd)) as events:
            while list(events.read()):  # of the tests before
                pass
            assert bare.inside(connect, uid=WEB_USER) == errno.EPERM
            (event,) = events.read()
        told = (Reason.UNKNOWN_ASKER, abi.Hook.SOCK_CREATE, WEB)
        assert (event.reason, event.hook, event.role) == told
        assert bare.inside(connect, say(bare, "web", WEB)) == errno.EPERM
        assert bare.inside(connect, uid=MAIL_USER) == "connected"  # as `host`
    assert bare.count(Reason.UNKNOWN_ASKER).denied == 1


def test_a_socket_that_nobody_made_is_of_the_user_who_connects_it(bare: Site) -> None:
    """Older than the wall, or the kernel's below another one (SMC): no cgroup tells whose."""
    bare.wall.policy(ALLOW, others=[RolePlan(WEB, DENY)])
    bare.wall.uid_is(WEB_USER, WEB)
    ours, theirs = socket.socketpair()

    def make() -> int:
        for _ in range(2):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                socket.send_fds(theirs, [b"x"], [sock.fileno()])
        return 0

    def sends(sock: socket.socket, to: str) -> Callable[[], int]:
        def act() -> int:
            sock.connect((to, 5000))
            return sock.send(b"three bytes, at least")

        return act

    with ours, theirs, bare.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("", 5000))
        bare.inside(make)
        old, older = (socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0]) for _ in range(2))
    with old, older:
        bare.attach()
        bare.wall.open(PEER4, text="5000/udp", role=WEB)
        assert bare.inside(sends(old, SHUT4), uid=WEB_USER) == errno.EPERM
        assert bare.inside(sends(old, PEER4), uid=WEB_USER) > errno.EPERM
        assert bare.inside(sends(older, SHUT4), uid=MAIL_USER) > errno.EPERM
        labelled, unlabelled = record(bare.wall, old), record(bare.wall, older)
    assert labelled is not None
    assert labelled.role == WEB
    assert unlabelled is None or unlabelled.role == 0


def test_a_rank_goes_before_depth(site: Site) -> None:
    """Enrolled by hand, then what the policy names, then what an executable was moved to."""
    say(site, "unit", WEB)
    by_program = say(site, "unit/program", MAIL, Rank.EXECUTABLE)
    assert noted(site, by_program).role == WEB

    say(site, "byhand", MAIL, Rank.ENROLLED)
    deeper = say(site, "byhand/unit", WEB)
    assert noted(site, deeper).role == MAIL

    alone = say(site, "program", MAIL, Rank.EXECUTABLE)
    assert noted(site, alone).role == MAIL


def test_a_cgroup_goes_before_a_user_and_a_user_before_a_group(site: Site) -> None:
    mail = say(site, "mail", MAIL)
    site.wall.uid_is(WEB_USER, WEB)
    site.wall.uid_is(GROUP, MAIL, abi.IdKind.ID_GROUP)

    assert noted(site, uid=WEB_USER).role == WEB
    assert noted(site, uid=WEB_USER, gid=GROUP).role == WEB
    assert noted(site, uid=MAIL_USER, gid=GROUP).role == MAIL
    assert noted(site, uid=MAIL_USER).role == HOST
    assert noted(site, mail, uid=WEB_USER).role == MAIL


def test_a_user_that_is_root_of_its_own_namespace_stays_who_it_is(site: Site) -> None:
    """bpf_get_socket_uid would say 0 there."""
    site.wall.uid_is(WEB_USER, WEB)
    site.wall.uid_is(0, MAIL)

    assert noted(site, uid=WEB_USER, enter=NEWUSER | NEWNET).role == WEB
    assert noted(site, uid=WEB_USER, enter=NEWUSER).role == WEB
    assert noted(site).role == MAIL


def test_subjects_that_the_policy_does_not_have_are_not_looked_for(site: Site) -> None:
    web = say(site, "web", WEB)
    site.wall.settle()  # uses: nothing

    assert noted(site, web, uid=WEB_USER).role == HOST


# promise 5: grants belong to the asker


def test_a_look_up_by_one_role_opens_nothing_for_another(site: Site) -> None:
    web, mail = say(site, "web", WEB), say(site, "mail", MAIL)
    site.wall.open(PEER4, text="5000/udp 5000/tcp", role=WEB)

    with Capture(site.outside, "eth0") as wire:
        assert site.inside(send(PEER4, data=b"of-the-web"), web) == 10
        assert site.inside(send(PEER4, data=b"of-the-mail"), mail) == errno.EPERM
        assert site.inside(send(PEER4, data=b"of-the-host")) == errno.EPERM
        wait_until(lambda: wire.saw(b"of-the-web"), PATIENCE, "the datagram of the web")
        assert not wire.saw(b"of-the-mail")
        assert not wire.saw(b"of-the-host")
    assert {entry.role for entry in site.wall.sink.entries()} == {WEB}
    assert {flow.role for flow in site.wall.flows()} == {WEB}


def test_a_connection_is_opened_for_the_role_that_asked(site: Site) -> None:
    web, mail = say(site, "web", WEB), say(site, "mail", MAIL)
    with site.outside.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind((PEER4, 0))
        server.listen()
        port = server.getsockname()[1]
        site.wall.open(PEER4, text=f"{port}/tcp", role=WEB)

        def connect() -> bool:
            with socket.create_connection((PEER4, port), PATIENCE):
                return True

        assert site.inside(connect, web) is True
        assert site.inside(connect, mail) == errno.EPERM
        assert site.inside(connect) == errno.EPERM


def test_a_flow_is_not_passed_on_with_its_port(site: Site) -> None:
    both = [RolePlan(role, DENY, inbound=Inbound.ALL) for role in (WEB, MAIL)]  # may bind
    site.wall.policy(others=both)
    web, mail = say(site, "web", WEB), say(site, "mail", MAIL)
    site.wall.open(PEER4, text="5000/udp", role=WEB)
    assert site.inside(send(PEER4, sport=6000), web) == 1
    site.wall.grant(PEER4, role=WEB)

    assert site.inside(send(PEER4, sport=6000), mail) == errno.EPERM
    assert site.inside(send(PEER4, sport=6000), web) == 1  # the flow still lives


def test_row_41_a_passed_socket_stays_its_makers(site: Site) -> None:
    web, mail = say(site, "web", WEB), say(site, "mail", MAIL)
    site.wall.open(PEER4, text="5000/udp", role=WEB)
    ours, theirs = socket.socketpair()

    def give() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return socket.send_fds(theirs, [b"x"], [sock.fileno()])

    def take() -> list[int]:
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
        answers = []
        with socket.socket(fileno=fd) as sock:
            for address in (PEER4, SHUT4):
                try:
                    answers.append(sock.sendto(b"x", (address, 5000)))
                except OSError as error:
                    answers.append(-(error.errno or 0))
        return answers

    with ours, theirs:
        site.inside(give, web)
        assert site.inside(take, mail) == [1, -errno.EPERM]


def test_row_41_a_socket_from_outside_the_wall_meets_the_device(site: Site) -> None:
    """No cgroup hook sees it: the device judges it, as the role of the cgroup it was made in."""
    outer = site.lab.cgroup("outer")
    site.wall.cgroup_is(site.number(outer.path), MAIL)
    site.guard(site.guarded, "eth0", egress="dnsfw_tc_egress")
    site.wall.open(PEER4, text="5000/udp", role=MAIL)
    ours, theirs = socket.socketpair()

    def give() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
        return 0

    def take() -> int:
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=fd) as sock:
            for address, data in ((SHUT4, b"needle-shut"), (PEER4, b"needle-open")):
                with contextlib.suppress(PermissionError):
                    sock.sendto(data, (address, 5000))
        return 0

    with ours, theirs, Capture(site.outside, "eth0") as wire:
        act_in(outer.path, site.guarded, give)
        site.inside(take)
        wait_until(lambda: wire.saw(b"needle-open"), PATIENCE, "the datagram that is allowed")
        assert not wire.saw(b"needle-shut")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_row_40_an_older_socket_gets_the_role_of_its_cgroup(bare: Site, family: int) -> None:
    web = say(bare, "web", WEB)
    peer = PEER4 if family == socket.AF_INET else PEER6
    ours, theirs = socket.socketpair()

    def give() -> int:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
        return 0

    with ours, theirs:
        bare.inside(give, web)
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
    with socket.socket(fileno=fd) as older:
        assert record(bare.wall, older) is None
        bare.attach(("dnsfw_cg_egress",))  # the call is this process's, of no subject
        with pytest.raises(PermissionError):
            older.connect((peer, 5000))
            older.sendto(b"x", (peer, 5000))

        bare.wall.open(peer, text="5000/udp", role=WEB)

        assert older.send(b"x") == 1
        found = record(bare.wall, older)
        assert found is not None
        assert (found.role, found.pid) == (WEB, 0)


def test_a_role_may_only_watch_while_another_refuses(site: Site) -> None:
    web, mail = say(site, "web", WEB), say(site, "mail", MAIL)
    site.wall.policy(others=[RolePlan(WEB, DENY, Mode.AUDIT), RolePlan(MAIL, DENY)])

    assert site.inside(send(PEER4), web) == 1
    assert site.inside(send(PEER4), mail) == errno.EPERM
    counter = site.count(Reason.NEVER_RESOLVED)
    assert (counter.audited > 0, counter.denied) == (True, 1)


# namespaces


def test_row_37_a_role_is_judged_in_a_namespace_of_its_own(site: Site) -> None:
    """`unshare -n` leads a subject nowhere; what is unassigned there is its own guard's."""
    web = say(site, "web", WEB)
    site.wall.settle(only_netns=True)
    site.wall.cgroup_is(site.number(web), WEB)

    def away() -> int:
        if _libc.unshare(NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return send("203.0.113.9")()

    assert site.inside(away, web) == errno.EPERM
    assert site.inside(away) == errno.ENETUNREACH
    assert site.count(Reason.OTHER_NETNS).allowed >= 1


def test_neighbours_are_found_though_a_role_made_the_namespace(bare: Site) -> None:
    """The kernel's own ND socket is of the cgroup that made the namespace: it is labelled,
    and no workload's all the same.
    """
    web = say(bare, "web", WEB)
    made = bare.lab.namespace("made")
    made.close()
    enter = f"echo $$ > {web}/cgroup.procs && ip netns add {made.name}"
    subprocess.run(["sh", "-c", enter], check=True)
    bare.lab.link(made, bare.outside, "eth0", "eth9")
    made.ip("addr add 2001:db8:9::5/64 dev eth0 nodad")
    bare.outside.ip("addr add 2001:db8:9::6/64 dev eth9 nodad")
    bare.wall.open("2001:db8:9::6", text="5000/udp", role=WEB)
    bare.attach()

    with Capture(bare.outside, "eth9") as wire:
        sent = act_in(web, made, send("2001:db8:9::6", data=b"needle-nd"))
        wait_until(lambda: wire.saw(b"needle-nd"), PATIENCE, "a datagram behind ND")
        # asked for by a global address, it answers to one
        bare.outside.run(["ip", "neigh", "flush", "dev", "eth9"])
        ping = bare.outside.run(["ping", "-c1", "-W2", "-I", "2001:db8:9::6", "2001:db8:9::5"])
    assert sent == 9
    assert ping.returncode == 0


# bind


@pytest.fixture
def listening(site: Site) -> Any:
    web = say(site, "web", WEB)
    roles(site, inbound=Inbound.PORTS, inbound_ports=ports("8080/tcp 8053/udp"))
    return web


def bind(address: str, port: int, kind: int = socket.SOCK_STREAM) -> Callable[[], bool]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def act() -> bool:
        with socket.socket(family, kind) as sock:
            sock.bind((address, port))
            return int(sock.getsockname()[1]) > 0

    return act


@pytest.mark.parametrize("address", ["0.0.0.0", HERE4, "::"])
def test_a_role_listens_where_its_inbound_says(
    site: Site, listening: Any, address: str
) -> None:
    datagram = socket.SOCK_DGRAM

    assert site.inside(bind(address, 8080), listening) is True
    assert site.inside(bind(address, 8053, datagram), listening) is True
    assert site.inside(bind(address, 0), listening) is True  # a client's
    assert site.inside(bind(address, 0, datagram), listening) is True
    for port, kind in ((8081, socket.SOCK_STREAM), (8053, socket.SOCK_STREAM), (8080, datagram)):
        assert site.inside(bind(address, port, kind), listening) == errno.EPERM
        assert site.inside(bind(address, port, kind)) is True  # `host` receives all
    assert site.count(Reason.BIND).denied == 3


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_bound_by_anyone(site: Site, listening: Any, address: str) -> None:
    assert site.inside(bind(address, 9999), listening) is True


def test_a_refused_bind_says_who_it_was(site: Site, listening: Any) -> None:
    with contextlib.closing(Events(site.wall.table("dnsfw_events").fd)) as events:
        while list(events.read()):  # of the tests before
            pass
        assert site.inside(bind(HERE4, 9999), listening) == errno.EPERM
        (event,) = events.read()

    assert (event.reason, event.hook, event.role) == (Reason.BIND, abi.Hook.BIND, WEB)
    assert (event.addr, event.port, event.proto) == (addr_from(HERE4), 9999, 6)
    assert event.pid
    assert event.comm.rstrip(b"\0")


def test_a_role_that_only_watches_binds(site: Site, listening: Any) -> None:
    site.wall.policy(others=[RolePlan(WEB, DENY, Mode.AUDIT, inbound=Inbound.DENY)])

    assert site.inside(bind(HERE4, 9999), listening) is True
    assert site.count(Reason.BIND).audited == 1


# loopback


def serve_once(family: int, kind: int) -> tuple[socket.socket, int]:
    sock = socket.socket(family, kind)
    sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock, sock.getsockname()[1]


def listener_of(site: Site, where: Any, family: int, kind: int) -> socket.socket:
    """A socket that listens on loopback, made by a process there."""
    ours, theirs = socket.socketpair()

    def act() -> int:
        sock, _ = serve_once(family, kind)
        with sock:
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
        return 0

    with ours, theirs:
        site.inside(act, where)
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=fd)


FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
KINDS = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM],
                                ids=["tcp", "udp"])  # fmt: skip


@FAMILIES
@KINDS
def test_row_32_a_relay_of_another_role_is_out_of_reach(
    site: Site, family: int, kind: int
) -> None:
    web, mail = say(site, "web", WEB), say(site, "mail", MAIL)
    roles(site, loopback=Loopback.OWN)

    def reach(port: int) -> Callable[[], str]:
        def act() -> str:
            with socket.socket(family, kind) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
                sock.sendall(b"hello")
                return "reached"

        return act

    with (
        listener_of(site, web, family, kind) as own,
        listener_of(site, mail, family, kind) as mails,
        listener_of(site, None, family, kind) as hosts,
    ):
        ports_ = [sock.getsockname()[1] for sock in (own, mails, hosts)]
        said = [site.inside(reach(port), web) for port in ports_]
        assert said == ["reached", errno.EPERM, errno.EPERM]
        assert [site.inside(reach(port), mail) for port in ports_] == ["reached"] * 3  # all
    assert site.count(Reason.LOOPBACK_OTHER).denied >= 2
    assert site.inside(reach(1), web) == errno.EPERM  # nobody listens


@FAMILIES
def test_a_conversation_over_loopback_runs_to_its_end(site: Site, family: int) -> None:
    """Two processes of one role; replies and the last words of a peer that has gone pass."""
    web = say(site, "web", WEB)
    roles(site, loopback=Loopback.OWN, inbound=Inbound.DENY)
    address = "::1" if family == socket.AF_INET6 else "127.0.0.1"

    def talk() -> bytes:
        server, port = serve_once(family, socket.SOCK_STREAM)
        with server, socket.create_connection((address, port), PATIENCE) as client:
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                client.sendall(b"ping")
                assert accepted.recv(4) == b"ping"
                accepted.sendall(b"pong" * 1000)
            data = b""
            while piece := client.recv(4096):
                data += piece
            return data

    assert site.inside(talk, web) == b"pong" * 1000
    assert site.count(Reason.LOOPBACK_OTHER).denied == 0


def test_a_server_answers_over_loopback_whom_it_accepted(site: Site) -> None:
    web = say(site, "web", WEB)
    roles(site, loopback=Loopback.OWN)
    with listener_of(site, web, socket.AF_INET, socket.SOCK_STREAM) as server:
        port = server.getsockname()[1]
        server.settimeout(PATIENCE)

        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(b"ping")
                return sock.recv(4)

        with server.dup() as again:
            reader = _answering(again)
            assert site.inside(ask) == b"pong"  # a client of `host`
            reader.join(PATIENCE)


def _answering(server: socket.socket) -> Any:
    def serve() -> None:
        conn, _ = server.accept()
        with conn:
            conn.recv(4)
            conn.sendall(b"pong")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_dnsfw_itself_is_everybodys_own(site: Site) -> None:
    web = say(site, "web", WEB)
    roles(site, loopback=Loopback.OWN)
    with listener_of(site, None, socket.AF_INET, socket.SOCK_DGRAM) as door:
        address = door.getsockname()
        assert site.inside(send(*address), web) == errno.EPERM
        OwnSockets(site.wall.loaded.maps).mark(door)
        assert site.inside(send(*address), web) == 1


# what a workload may try


@pytest.mark.skipif(not uring.exists(), reason="no io_uring")
@pytest.mark.parametrize(("peer", "shut"), [(PEER4, SHUT4), (PEER6, SHUT6)], ids=["v4", "v6"])
def test_row_10_io_uring_asks_like_any_call(site: Site, peer: str, shut: str) -> None:
    web = say(site, "web", WEB)
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with site.outside.socket(family, socket.SOCK_STREAM) as server:
        server.bind((peer, 0))
        server.listen()
        port = server.getsockname()[1]
        site.wall.open(peer, text=f"{port}/tcp {port}/udp", role=WEB)

        def act() -> list[int]:
            with socket.socket(family) as one, socket.socket(family) as other:
                said = [uring.connect(one, shut, port), uring.connect(other, peer, port)]
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                said += [uring.sendmsg(sock, b"four", to, port) for to in (shut, peer)]
            return said

        assert site.inside(act, web) == [-errno.EPERM, 0, -errno.EPERM, 4]
        assert site.inside(act) == [-errno.EPERM] * 4  # `host`: the tables are WEB's


def test_row_84_nobody_answers_in_dnsfws_name(site: Site) -> None:
    site.wall.policy()
    site.wall.listen("127.0.0.1")
    site.wall.keep_locals("127.0.0.1", HERE4)

    def forge(source: str, sport: int) -> Callable[[], int]:
        def act() -> int:
            packet = IP4("127.0.0.1", UDP(4444, b"lies", sport=sport), src=source).wire
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
                return sock.sendto(packet, ("127.0.0.1", 0))

        return act

    assert site.inside(forge("127.0.0.1", 53)) == errno.EPERM
    assert site.inside(forge("127.0.53.53", 53)) == errno.EPERM  # no address of ours at all
    assert site.inside(forge("127.0.0.1", 54)) == 32
    assert site.count(Reason.SPOOFED).denied == 2


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="no tun devices")
def test_row_38_a_tunnel_of_ones_own_leads_nowhere(site: Site) -> None:
    """The inner packet is judged as it is sent, the outer one like any other datagram."""
    web = say(site, "web", WEB)
    site.wall.open(PEER4, text="5000/udp", role=WEB)

    def dig() -> list[Any]:
        site.guarded.ip("tuntap add tun9 mode tun")
        site.guarded.ip("link set tun9 up")
        site.guarded.ip("route add 203.0.113.0/24 dev tun9")
        answers: list[Any] = []
        for act in (send("203.0.113.9"), send(SHUT4), send(PEER4)):
            try:
                answers.append(act())
            except OSError as error:
                answers.append(error.errno)
        return answers

    assert site.inside(dig, web) == [errno.EPERM, errno.EPERM, 1]
