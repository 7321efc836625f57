"""Files of older tools, put in force directly: what they promised is what packets meet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import _CONNECT, World

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

BECOME = """
import errno, os, socket, sys
number = int(sys.argv.pop(1))
os.setgroups([])
os.setgid(number)
os.setuid(number)
"""
BIND = """
import errno, socket, sys
with socket.socket() as s:
    try:
        s.bind(("10.77.0.2", int(sys.argv[1])))
        print("OK")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
STATIC = """
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
int main(int n, char **v)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
	int s = socket(AF_INET, SOCK_STREAM, 0);
	inet_pton(AF_INET, v[1], &to.sin_addr);
	printf("%d", connect(s, (struct sockaddr *)&to, sizeof(to)) ? errno : 0);
	return 0;
}
"""
WWW_DATA, DEPLOY, ROOT = 33, 1001, 0
METADATA = "169.254.169.254"


def block_list(**keys: Any) -> str:
    """As these files are written: with a comma after the last entry."""
    text = json.dumps({"lockdown_mode": False, "blocked_domains": [], "blocked_ips": [], **keys})
    return text.replace('"]', '",]').replace("}", ",}")


def connect_as(world: World, user: int, host: str, port: int = 80) -> str:
    return world.python(BECOME + _CONNECT, str(user), host, str(port), "SOCK_STREAM", "1")


def test_a_block_list_refuses_names_and_addresses_at_once_and_nothing_else(world: World) -> None:
    world.guard(block_list(
        blocked_domains=["only4.example.com", "*.tracker.example"],
        blocked_ips=["203.0.113.200", "2001:db8::200"],
    ))  # fmt: skip

    for address in ("203.0.113.200", "2001:db8::200"):
        for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
            assert world.connect(address, kind=kind) == "EPERM"
    assert "NXDOMAIN" in world.dig("only4.example.com")
    assert "NXDOMAIN" in world.dig("hit.tracker.example")
    assert "NXDOMAIN" in world.dig("@8.8.8.8", "only4.example.com"), "whichever server is asked"
    assert world.connect("203.0.113.201") == "OK"
    assert world.fetches("http://www.example.com/")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_blocked_address_refuses_a_static_program_too(world: World, tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text(STATIC)
    program = world.lab.scratch / "static"
    world.host.run(["cc", "-static", "-o", str(program), str(tmp_path / "p.c")])
    world.guard(block_list(blocked_ips=["203.0.113.200"]))

    refused = world.run(str(program), "203.0.113.200").stdout
    passed = world.run(str(program), "203.0.113.201").stdout

    assert (refused, passed) == ("1", "0")  # EPERM


def test_lockdown_mode_shuts_everything_and_a_later_revision_opens_it(world: World) -> None:
    daemon = world.guard(block_list(revision=7, lockdown_mode=True))
    shut = world.connect("203.0.113.201"), world.fetches("http://www.example.com/")

    back = daemon.reload(block_list(revision=6))
    still = world.connect("203.0.113.201")
    later = daemon.reload(block_list(revision=8))

    assert shut == ("EPERM", False)
    assert (back.returncode, still) == (2, "EPERM")
    assert "does not go back" in back.stderr
    assert later.returncode == 0, later.stderr
    assert world.connect("203.0.113.201") == "OK"


def test_a_file_of_which_something_would_be_lost_does_not_start(world: World) -> None:
    done = world.prepare(block_list(blocked_countries=["xx"])).attempt()

    assert done.returncode == 2
    assert "blocked_countries" in done.stderr + done.stdout


def test_roles_of_the_old_tool_hold_for_their_cgroup_by_port(world: World) -> None:
    roles = {
        "web": {
            "id": 3,
            "flags": {"allow_network": False, "allow_exec": False},
            "network_rules": [{"protocol": "tcp", "port": 80, "allow": True}],
        }
    }
    enrolled = [{"cgroup_path": str(world.cgroup.path), "pod_id": 7, "role": "web"}]
    world.guard(json.dumps({"roles": roles, "cgroup_enrollments": enrolled}))

    assert world.fetches("http://www.example.com/")
    assert world.connect("203.0.113.200") == "OK"
    assert world.connect("203.0.113.200", 8080) == "EPERM"
    assert world.connect("203.0.113.200", 80, "SOCK_DGRAM") == "EPERM"
    assert world.python(BIND, "80") == "OK"
    assert world.python(BIND, "8080") == "EPERM"


def test_a_role_without_network_has_none_and_who_has_no_role_is_free(world: World) -> None:
    roles = {"isolated": {"id": 5, "flags": {"allow_network": False}, "network_rules": []}}
    inside = world.cgroup.path / "jail"
    inside.mkdir()
    enrolled = [{"cgroup_path": str(inside), "pod_id": 7, "role": "isolated"}]
    world.guard(json.dumps({"roles": roles, "cgroup_enrollments": enrolled}))
    enter = f"open({str(inside / 'cgroup.procs')!r}, 'w').write('0')\n"

    jailed = world.python(enter + _CONNECT, "203.0.113.200", "80", "SOCK_STREAM", "2")

    assert jailed == "EPERM"
    assert world.connect("203.0.113.200") == "OK"


ENDPOINTS = """\
endpoints:
  - metadata:
      iface: [eth0]
      range: [169.254.169.254/32, "fd12:3456::/64"]
      allow: [www-data]
  - backend:
      iface: [eth0]
      range: [203.0.113.0/28]
      allow: ["1001"]
"""


def test_row_30_only_its_user_reaches_the_metadata_service(world: World) -> None:
    world.guard(ENDPOINTS)

    reached = [connect_as(world, user, METADATA) for user in (WWW_DATA, DEPLOY, ROOT)]

    assert reached == ["OK", "TIMEOUT", "TIMEOUT"]


def test_a_listed_interface_is_closed_but_for_the_pairs_that_are_listed(world: World) -> None:
    world.guard(ENDPOINTS)

    assert connect_as(world, DEPLOY, "203.0.113.11") == "OK"
    assert connect_as(world, DEPLOY, "203.0.113.200") == "TIMEOUT"
    assert connect_as(world, WWW_DATA, "203.0.113.11") == "TIMEOUT"
    assert connect_as(world, ROOT, "203.0.113.11") == "TIMEOUT"
    assert connect_as(world, ROOT, "2001:db8::11") == "TIMEOUT"


def test_endpoints_do_not_start_where_their_interface_is_not_guarded(world: World) -> None:
    done = world.prepare(ENDPOINTS, interfaces=()).attempt()

    assert done.returncode == 2
    assert "--interface eth0" in done.stderr + done.stdout
