"""A guarded server answers, and a packet from outside opens nothing by itself."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.support.internet import HOST4, HOST6
from tests.support.netlab import Capture, wait_until
from tests.support.programs import ECHO
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

NOTHING = policy_of([{"allow": "www.example.com:80"}])
BOTH = pytest.mark.parametrize(
    ("host", "source"), [(HOST4, "203.0.113.77"), (HOST6, "2001:db8::77")]
)


def family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def outside(world: World, kind: int, source: str, port: int = 0) -> socket.socket:
    """A socket on the internet, at an address that the host never asked for."""
    made = world.internet.netns.socket(family(source), kind)
    made.settimeout(5)
    made.bind((source, port))
    return made


def guarded_echo(world: World, port: int = 9000) -> subprocess.Popen[str]:
    server = world.start_python(ECHO, str(port))
    assert server.stdout is not None
    server.stdout.readline()
    return server


@BOTH
def test_a_guarded_tcp_server_answers(world: World, host: str, source: str) -> None:
    world.guard(NOTHING)
    guarded_echo(world)

    with outside(world, socket.SOCK_STREAM, source) as client:
        client.connect((host, 9000))
        client.sendall(b"x" * 100_000)
        got = b""
        while len(got) < 100_000:
            got += client.recv(65536)

    assert world.connect(source) == "EPERM", "the peer is answered, not reachable"


_UDP_SERVER = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 9001))
print("ready")
while True:
    data, peer = s.recvfrom(2000)
    s.sendto(data, peer)
"""


@BOTH
def test_a_guarded_udp_server_answers(world: World, host: str, source: str) -> None:
    world.guard(NOTHING)
    server = world.start_python(_UDP_SERVER)
    assert server.stdout is not None
    server.stdout.readline()

    with outside(world, socket.SOCK_DGRAM, source) as client:
        client.sendto(b"ping", (host, 9001))

        assert client.recv(100) == b"ping"


@BOTH
def test_a_forged_datagram_opens_no_egress(world: World, host: str, source: str) -> None:
    world.guard(NOTHING)

    with outside(world, socket.SOCK_DGRAM, source, 5353) as client:
        client.sendto(b"open up", (host, 4444))
    said = world.python("""
import errno, socket, sys
host = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 4444))
try:
    s.sendto(b"out", (host, 5353))
    print("OK")
except OSError as error:
    print(errno.errorcode[error.errno])
""", source)

    assert said == "EPERM"


@BOTH
def test_a_closed_port_says_so_with_a_reset(world: World, host: str, source: str) -> None:
    world.guard(NOTHING)

    with (
        outside(world, socket.SOCK_STREAM, source) as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect((host, 4445))


@BOTH
def test_a_closed_udp_port_says_so_with_port_unreachable(
    world: World, host: str, source: str
) -> None:
    world.guard(NOTHING)

    with outside(world, socket.SOCK_DGRAM, source) as client:
        client.connect((host, 4446))
        client.send(b"anyone?")

        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


def lingering(world: World) -> str:
    """Connections of either side that wait for a packet that never came."""
    waiting = "( state fin-wait-1 or state last-ack or state closing or state syn-recv )"
    states = waiting.strip("() ").replace("state ", "").split(" or ")
    query = [word for state in states for word in ("state", state)]
    return "".join(
        netns.run(["ss", "-tnHO", *query]).stdout for netns in (world.host, world.internet.netns)
    )


@pytest.mark.parametrize("first", ["client", "server"])
@BOTH
def test_inbound_connections_close_from_either_side(
    world: World, host: str, source: str, first: str
) -> None:
    world.guard(NOTHING)
    server = guarded_echo(world)

    with outside(world, socket.SOCK_STREAM, source) as client:
        client.connect((host, 9000))
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        if first == "client":
            client.shutdown(socket.SHUT_WR)
        else:
            server.terminate()
        assert client.recv(1) == b""

    wait_until(lambda: not lingering(world), what="the end of every handshake")


_BYE = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as s:
    s.settimeout(5)
    s.connect((sys.argv[1], 9000))
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    if sys.argv[2] == "server":
        assert s.recv(1) == b""
print("bye")
"""
_BYE_SERVER = """
import socket, sys
s = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready")
c = s.accept()[0]
c.sendall(c.recv(1))
if sys.argv[1] == "client":
    assert c.recv(1) == b""
c.close()
print("closed")
"""


@pytest.mark.parametrize("first", ["client", "server"])
@pytest.mark.parametrize("address", ["203.0.113.200", "2001:db8::200"])
def test_outgoing_connections_close_from_either_side(
    world: World, address: str, first: str
) -> None:
    world.guard(policy_of([{"allow": ["203.0.113.200:9000", "[2001:db8::200]:9000"]}]))
    server = world.internet.netns.start([sys.executable, "-u", "-c", _BYE_SERVER, first])
    assert server.stdout is not None
    server.stdout.readline()

    assert world.python(_BYE, address, first) == "bye"
    assert server.stdout.readline() == "closed\n"
    wait_until(lambda: not lingering(world), what="the end of every handshake")


def test_guarded_flows_do_not_open_new_ones_after_they_closed(world: World) -> None:
    daemon = world.guard(policy_of([{"allow": "203.0.113.200:80"}]))
    assert world.connect("203.0.113.200") == "OK"

    daemon.reload(NOTHING)

    with Capture(world.internet.netns, "eth0") as capture:
        assert world.connect("203.0.113.200") == "EPERM"
        assert capture.to("203.0.113.200") == []
