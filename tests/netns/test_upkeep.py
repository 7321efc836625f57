"""What a host needs to live passes: neighbours, a lease, the path's MTU. v4 and v6."""

from __future__ import annotations

import sys

import pytest

from tests.support.internet import HOST4, HOST6, ROUTER4
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80"}])


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_expired_neighbours_are_found_again(world: World, family: str) -> None:
    world.guard(EXAMPLE)
    assert world.fetches("http://www.example.com/", family)

    world.host.ip(f"{family} neigh flush dev eth0")
    world.internet.netns.ip(f"{family} neigh flush dev eth0")

    assert world.fetches("http://www.example.com/", family)


@pytest.mark.parametrize(("family", "host"), [("-4", HOST4), ("-6", HOST6)])
def test_the_host_answers_who_asks_for_its_neighbour_entry(
    world: World, family: str, host: str
) -> None:
    world.guard(EXAMPLE)
    world.internet.netns.ip(f"{family} neigh flush dev eth0")

    world.internet.netns.run(["ping", family, "-c1", "-W1", host])
    seen = world.internet.netns.run(["ip", family, "neigh", "show", host, "dev", "eth0"]).stdout

    assert "lladdr" in seen


_LEASE_SERVER = """
import socket, sys
where, port, group = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if group else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind((where, port))
if group:
    member = socket.inet_pton(family, group) + socket.if_nametoindex("eth0").to_bytes(4, "little")
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
print("ready")
while True:
    data, peer = s.recvfrom(2000)
    s.sendto(b"ack " + data, peer)
"""
_LEASE_CLIENT = """
import errno, socket, sys
port, server, server_port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in server else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(3)
s.bind(("", port))
try:
    s.sendto(b"renew", socket.getaddrinfo(server, server_port, family, s.type)[0][4])
    print(s.recv(100).decode())
except OSError as error:
    print(errno.errorcode.get(error.errno, type(error).__name__))
"""


@pytest.mark.parametrize(
    ("client", "server", "server_port", "group"),
    # RFC 2131, 4.4.5: a renewal goes to the server itself; RFC 8415, 14: to the link's group.
    [(68, ROUTER4, 67, ""), (546, "ff02::1:2%eth0", 547, "ff02::1:2")],
    ids=["DHCPv4", "DHCPv6"],
)
def test_a_lease_is_renewed(
    world: World, client: int, server: str, server_port: int, group: str
) -> None:
    world.guard(EXAMPLE)
    where = "::" if group else server
    lease = world.internet.netns.start(
        [sys.executable, "-u", "-c", _LEASE_SERVER, where, str(server_port), group]
    )
    assert lease.stdout is not None
    lease.stdout.readline()

    renewed = world.python(_LEASE_CLIENT, str(client), server, str(server_port))
    other = world.python(_LEASE_CLIENT, "4000", server, str(server_port))

    assert renewed == "ack renew"
    assert other == "EPERM", "the same server from another port is not a lease"


_SINK = """
import socket
s = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready")
while True:
    c = s.accept()[0]
    total = 0
    while data := c.recv(65536):
        total += len(data)
    c.sendall(str(total).encode())
    c.close()
"""
_UPLOAD = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as s:
    s.settimeout(20)
    s.connect((sys.argv[1], 9000))
    s.sendall(bytes(300_000))
    s.shutdown(socket.SHUT_WR)
    print(s.recv(100).decode())
"""


@pytest.mark.parametrize("address", ["192.0.2.2", "fd99::2"])
def test_a_smaller_path_mtu_is_learned(world: World, address: str) -> None:
    far = world.lab.namespace("far")
    internet = world.internet.netns
    world.lab.link(internet, far, "eth1", "eth0")
    for netns, interface, last in ((internet, "eth1", 1), (far, "eth0", 2)):
        netns.ip(f"addr add 192.0.2.{last}/24 dev {interface}")
        netns.ip(f"addr add fd99::{last}/64 dev {interface}")
    internet.ip("link set eth1 mtu 1300")  # one side only: the far end promises 1500
    far.ip("route add default via 192.0.2.1")
    far.ip("-6 route add default via fd99::1")
    internet.sysctl("net.ipv4.ip_forward", 1)
    internet.sysctl("net.ipv6.conf.all.forwarding", 1)
    far.start([sys.executable, "-u", "-c", _SINK])
    world.guard(policy_of([{"allow": ["192.0.2.2:9000", "[fd99::2]:9000"]}]))

    sent = world.python(_UPLOAD, address)
    route = world.host.run(["ip", "route", "get", address]).stdout

    assert sent == "300000"
    assert "mtu 1300" in route
