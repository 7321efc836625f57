"""Promise 5 with real programs: a look-up by one opens nothing for another, side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from tests.support.daemon import Daemon
from tests.support.internet import OTHER_RESOLVER
from tests.support.netlab import Capture, wait_until
from tests.support.roles import (
    USERS,
    WWW,
    WWW4,
    Workload,
    as_user,
    forwarding,
    in_cgroup,
    opened,
    plug_guest,
    role,
    role_row,
    roles_policy,
    subject_path,
)
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]  # fmt: skip


def side_by_side(daemon: Daemon, a: Workload, b: Workload, names: tuple[str, str]) -> None:
    """Each opens for itself alone, whichever asks first; shown by the table and by packets."""
    assert not a.reaches() and not b.reaches()
    assert a.looks_up() == [WWW4]
    assert opened(daemon) == {names[0]}
    assert a.reaches() and not b.reaches()

    assert b.looks_up() == [WWW4]
    assert opened(daemon) == set(names)
    assert a.reaches() and b.reaches()
    assert role_row(daemon, names[0])["queries"] == role_row(daemon, names[1])["queries"] == 1


def test_two_cgroups_each_open_for_themselves_alone(world: World) -> None:
    a, b = in_cgroup(world, "a"), in_cgroup(world, "b")
    daemon = world.guard(
        roles_policy(
            web=role([{"cgroup": subject_path(a.guest.cgroup)}]),
            db=role([{"cgroup": subject_path(b.guest.cgroup)}]),
        )
    )

    side_by_side(daemon, a, b, ("web", "db"))


def test_a_cgroup_below_is_its_parents_role_until_it_has_one_of_its_own(world: World) -> None:
    a = in_cgroup(world, "a")
    child = in_cgroup(world, "a/below")
    where = subject_path(a.guest.cgroup)
    daemon = world.guard(roles_policy(web=role([{"cgroup": where}])))
    assert child.looks_up() == [WWW4] and child.reaches()
    assert opened(daemon) == {"web"}

    own = roles_policy(web=role([{"cgroup": where}]), db=role([{"cgroup": f"{where}/below"}]))
    assert daemon.reload(own).returncode == 0

    assert not child.reaches() and a.reaches()
    assert child.looks_up() == [WWW4]
    assert opened(daemon) == {"web", "db"}


def test_two_users_each_open_for_themselves_alone(world: World) -> None:
    a, b = as_user(world, USERS[0]), as_user(world, USERS[1])
    daemon = world.guard(
        roles_policy(web=role([{"uid": USERS[0]}]), db=role([{"uid": str(USERS[1])}]))
    )

    side_by_side(daemon, a, b, ("web", "db"))


def test_two_containers_each_open_for_themselves_alone(world: World) -> None:
    """Namespaces behind veth: judged on the host's end, forwarded without NAT."""
    forwarding(world)
    a, b = plug_guest(world, 1), plug_guest(world, 2)
    daemon = world.guard(
        roles_policy(web=role([{"interface": a.device}]), db=role([{"interface": b.device}])),
        listen=("127.0.53.53:53", f"{a.gateway}:53", f"{b.gateway}:53"),
    )

    assert role_row(daemon, "web")["hooks"] == [a.device]
    side_by_side(daemon, a.workload, b.workload, ("web", "db"))


def test_two_source_prefixes_behind_a_gateway_each_open_for_themselves_alone(
    world: World,
) -> None:
    """One LAN device, two networks on it: who asks is told by his address."""
    forwarding(world)
    lan, other = plug_guest(world, 1), plug_guest(world, 2)
    daemon = world.guard(
        roles_policy(web=role([{"source": "10.66.1.0/24"}]), db=role([{"source": "10.66.2.0/24"}])),
        interfaces=("eth0", lan.device, other.device),
        listen=("127.0.53.53:53", f"{lan.gateway}:53", f"{other.gateway}:53"),
    )

    assert not lan.workload.reaches() and not other.workload.reaches()
    side_by_side(daemon, lan.workload, other.workload, ("web", "db"))


def test_who_has_no_role_is_refused_and_never_taken_for_the_host(world: World) -> None:
    """The test's own process is in no guarded cgroup: no hook marks its query."""
    daemon = world.guard(policy_of([{"allow": f"{WWW}:80"}]))

    seen = world.host.run(["dig", "+time=2", "+tries=1", "@127.0.53.53", WWW]).stdout

    assert "status: REFUSED" in seen
    assert "EDE: 18" in seen
    assert opened(daemon) == set()


def test_query_asks_for_a_role_over_the_control_socket_and_says_so(world: World) -> None:
    a = in_cgroup(world, "a")
    daemon = world.guard(roles_policy(web=role([{"cgroup": subject_path(a.guest.cgroup)}])))

    refused = daemon.command("query", WWW)
    done = daemon.command("query", WWW, "--role", "web")

    assert refused.returncode == 1 and "as role host" in refused.stdout
    assert done.returncode == 0, done.stderr
    assert "as role web, for which alone it opens addresses" in done.stdout
    assert opened(daemon) == {"web"}
    assert a.reaches()


# a reload


def test_a_subject_that_changes_hands_leaves_its_grants_behind(world: World) -> None:
    a = in_cgroup(world, "a")
    where = {"cgroup": subject_path(a.guest.cgroup)}
    nobody = {"cgroup": "/dnsfw-nobody"}
    daemon = world.guard(roles_policy(web=role([where]), db=role([nobody])))
    assert a.looks_up() == [WWW4] and a.reaches()

    done = daemon.reload(roles_policy(web=role([nobody]), db=role([where])))

    assert done.returncode == 0, done.stderr
    assert not a.reaches()
    assert opened(daemon) == {"web"}  # its grant lives, though nobody has the role now
    assert a.looks_up() == [WWW4] and a.reaches()
    assert opened(daemon) == {"web", "db"}


DRIP = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 8080), 5) as s:
    s.sendall(b"POST / HTTP/1.1\\r\\nHost: x\\r\\nX-Slow: ")
    print("connected", flush=True)
    try:
        while True:
            s.send(b"x")
            time.sleep(0.02)
    except OSError as error:
        print("cut", flush=True)
"""


@pytest.mark.usefixtures("answers")
def test_row_114_a_role_removed_under_a_live_connection_is_cut_within_a_second(
    world: World,
) -> None:
    a = in_cgroup(world, "a")
    where = {"cgroup": subject_path(a.guest.cgroup)}
    rules = [{"allow": f"{WWW}:80,8080"}]
    daemon = world.guard(roles_policy(web=role([where], rules)))
    assert world.again(lambda: a.looks_up(WWW, "+nocookie")) == [WWW4]
    live = a.start(sys.executable, "-u", "-c", DRIP, WWW4)
    assert live.stdout.readline() == "connected\n"
    assert [row["role"] for row in daemon.show("flows") if row["address"] == WWW4] == ["web"]
    capture = Capture(world.internet.netns, "eth0")

    done = daemon.reload(roles_policy(other=role([{"cgroup": "/dnsfw-nobody"}])))
    began = time.monotonic()
    assert done.returncode == 0, done.stderr
    assert live.stdout.readline() == "cut\n"  # the program is told, it does not hang

    assert time.monotonic() - began < 10.0  # ten times what is promised
    heard = len(capture.to(WWW4))
    time.sleep(0.3)
    assert len(capture.to(WWW4)) == heard
    capture.close()
    assert [row for row in daemon.show("flows") if row["role"] == "web"] == []
    assert opened(daemon) == set()
    assert not a.reaches(port=8080)


# a restart


def test_row_48_a_restart_keeps_the_numbers_the_names_and_the_grants(world: World) -> None:
    a, b = in_cgroup(world, "a"), in_cgroup(world, "b")
    policy = roles_policy(
        web=role([{"cgroup": subject_path(a.guest.cgroup)}]),
        db=role([{"cgroup": subject_path(b.guest.cgroup)}]),
    )
    daemon = world.guard(policy)
    assert a.looks_up() == [WWW4] and a.reaches()
    before = {row["name"]: row["id"] for row in daemon.show("status")["roles"]}

    daemon.kill()
    assert a.reaches() and not b.reaches()  # the wall judges alone
    daemon.start()

    assert {row["name"]: row["id"] for row in daemon.show("status")["roles"]} == before
    assert opened(daemon) == {"web"}
    (row,) = [row for row in daemon.show("grants", "--role", "web")]
    assert row["names"] == [WWW]
    assert a.reaches() and not b.reaches()
    assert b.looks_up() == [WWW4] and b.reaches()


def test_row_140_audit_is_one_roles_and_status_exits_3(world: World) -> None:
    a, b = in_cgroup(world, "a"), in_cgroup(world, "b")
    daemon = world.guard(
        roles_policy(
            web=role([{"cgroup": subject_path(a.guest.cgroup)}], mode="audit"),
            db=role([{"cgroup": subject_path(b.guest.cgroup)}]),
        )
    )

    assert a.reaches() and not b.reaches()
    assert a.looks_up("end.example.net") and not b.looks_up("end.example.net")
    state = daemon.command("status", "--require-enforcing")
    assert state.returncode == 3
    assert "AUDIT: nothing is refused to role web" in state.stderr
    assert state.stdout.splitlines()[0].endswith(
        "NOT ENFORCING: AUDIT: nothing is refused to role web"
    )
    assert "AUDIT: nothing is refused to role web" in "".join(daemon.said)


# enrolling, taking over, showing


def test_a_process_that_is_enrolled_has_the_role_and_so_have_its_children(world: World) -> None:
    daemon = world.guard(roles_policy(web=role([{"cgroup": "/dnsfw-nobody"}])))
    shell = world.guest.start(["sh"], stdin=subprocess.PIPE)
    assert shell.stdin is not None and shell.stdout is not None

    def says(command: str) -> str:
        shell.stdin.write(f"{command}; echo .\n")
        shell.stdin.flush()
        return "".join(iter(shell.stdout.readline, ".\n"))

    dig = f"dig +time=2 +tries=1 +short {WWW} A"
    assert WWW4 not in says(dig)
    done = daemon.command("enroll", "--role", "web", "--pid", str(shell.pid))

    assert done.returncode == 0, done.stderr
    assert says(dig) == f"{WWW4}\n"
    assert "hello from" in says(f"curl -sS --max-time 2 http://{WWW4}/")
    assert opened(daemon) == {"web"}
    assert daemon.command("enroll", "--role", "nobody", "--pid", str(shell.pid)).returncode == 2
    assert daemon.command("enroll", "--role", "host", "--pid", str(shell.pid)).returncode == 0
    assert WWW4 not in says(dig)


def test_a_program_has_its_role_from_its_first_instruction(world: World) -> None:
    """Whoever runs it; the same program elsewhere on the disk is not it."""
    curl = shutil.which("curl")
    assert curl is not None
    mine = shutil.copy(curl, world.lab.scratch / "updater")
    daemon = world.guard(roles_policy(web=role([{"executable": str(mine)}])))

    fetched = world.run(str(mine), "-sS", "--max-time", "5", f"http://{WWW}/").stdout
    refused = world.curl(f"http://{WWW}/")

    assert "hello from" in fetched
    assert "Could not resolve host" in refused.stderr
    assert opened(daemon) == {"web"}
    assert not Workload(world.guest).reaches()


@pytest.mark.usefixtures("answers")
def test_row_56_port_53_to_any_server_is_answered_here_as_the_role_that_asks(
    world: World,
) -> None:
    a = in_cgroup(world, "a")
    elsewhere = Workload(world.lab.guest(world.host, a.guest.cgroup, OTHER_RESOLVER))
    policy = json.loads(roles_policy(web=role([{"cgroup": subject_path(a.guest.cgroup)}])))
    daemon = world.guard(json.dumps(policy))
    assert WWW4 not in elsewhere.looks_up()

    assert daemon.reload(json.dumps(policy | {"dns": {"takeover": True}})).returncode == 0

    # Strict: dig wants the reply from whom it asked.
    assert world.again(lambda: elsewhere.looks_up(WWW, "+nocookie")) == [WWW4]
    assert elsewhere.run("dig", "+tcp", "+short", "+tries=1", WWW, "A").split() == [WWW4]
    assert opened(daemon) == {"web"}
    assert elsewhere.reaches()
    assert daemon.show("status")["takeover"]["namespaces"] == 1


def test_row_46_a_deleted_pin_is_put_back_counted_and_told(world: World) -> None:
    daemon = world.guard(policy_of([{"allow": f"{WWW}:80"}]))
    pins = [p for p in (world.lab.bpffs() / "dnsfw").rglob("*") if "grants" in p.name]
    assert pins and daemon.show("status")["tamper"]["count"] == 0

    pins[0].unlink()

    wait_until(lambda: pins[0].exists(), what="the pin")
    wait_until(lambda: daemon.show("status")["tamper"]["count"] == 1, what="the count")
    assert "TAMPER     1 time, last " in daemon.command("status").stdout
    assert "tamper: " in "".join(daemon.said)


def test_status_shows_roles_on_a_screen_of_80_columns(world: World) -> None:
    a = in_cgroup(world, "a")
    daemon = world.guard(
        roles_policy(
            web=role([{"cgroup": subject_path(a.guest.cgroup)}, {"uid": "dnsfw-nobody"}]),
            db=role([{"uid": USERS[0]}], mode="audit", default="allow"),
        )
    )
    a.looks_up()
    a.looks_up("evil.example")

    shown = daemon.command("status").stdout

    at = shown.index("roles ")
    assert (
        shown[at : shown.index("hooks ")]
        == f"""\
roles      role  mode     default  queries  refused  grants  flows  dropped
           host  enforce  deny     0        0        0       0      0
           web   enforce  deny     2        1        1       0      0
             cgroup {subject_path(a.guest.cgroup)}, uid dnsfw-nobody
           db    AUDIT    allow    0        0        0       0      0
             uid {USERS[0]}
             waiting: user dnsfw-nobody does not exist yet
"""
    )
    assert "NOT ENFORCING: AUDIT: nothing is refused to role db" in shown.splitlines()[0]
    assert max(map(len, shown.splitlines())) <= 80
