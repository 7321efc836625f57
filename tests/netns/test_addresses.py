"""Programs that do not ask: bare addresses, other resolvers, other protocols.

"Drop" is what a capture on the internet's side of the link does not show.
"""

from __future__ import annotations

import pytest

from tests.support.internet import HOST4, OTHER_RESOLVER, ROUTER4, UNBOUND, UNBOUND6
from tests.support.netlab import Capture
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80,443"}])
NEVER4, NEVER6 = "203.0.113.9", "2001:db8::9"


def test_row_01_a_hard_coded_ipv4_address_is_eperm_at_connect(world: World) -> None:
    world.guard(EXAMPLE)

    with Capture(world.internet.netns, "eth0") as capture:
        allowed = world.fetches("http://www.example.com/", "-4")
        refused = world.connect(NEVER4)
        curl = world.curl(f"http://{NEVER4}/")

    assert allowed
    assert capture.to("203.0.113.11")
    assert refused == "EPERM"
    assert curl.returncode != 0
    assert capture.to(NEVER4) == []


def test_row_02_a_hard_coded_ipv6_address_is_eperm_at_connect(world: World) -> None:
    world.guard(EXAMPLE)

    with Capture(world.internet.netns, "eth0") as capture:
        allowed = world.fetches("http://www.example.com/", "-6")
        refused = world.connect(NEVER6)

    assert allowed
    assert capture.to("2001:db8::11")
    assert refused == "EPERM"
    assert capture.to(NEVER6) == []


def test_row_03_a_mapped_address_is_judged_as_the_ipv4_address_it_is(world: World) -> None:
    world.guard(EXAMPLE)
    world.addresses("www.example.com")

    with Capture(world.internet.netns, "eth0") as capture:
        allowed = world.connect("::ffff:203.0.113.11")
        refused = world.connect(f"::ffff:{NEVER4}")

    assert (allowed, refused) == ("OK", "EPERM")
    assert capture.to(NEVER4) == []


_DATAGRAMS = """
import errno, socket, sys
allowed, refused = sys.argv[1:]
family = socket.AF_INET6 if ":" in allowed else socket.AF_INET
said = []
def attempt(call, *args):
    try:
        call(*args)
        said.append("OK")
    except OSError as error:
        said.append(errno.errorcode[error.errno])
with socket.socket(family, socket.SOCK_DGRAM) as s:
    attempt(s.sendto, b"one", (allowed, 80))
    attempt(s.sendto, b"two", (refused, 80))
    attempt(s.sendmsg, [b"three"], [], 0, (refused, 80))
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.connect((allowed, 80))
    attempt(s.send, b"four")
    attempt(s.sendto, b"five", (refused, 80))
print(*said)
"""


@pytest.mark.parametrize(
    ("allowed", "refused"), [("203.0.113.11", NEVER4), ("2001:db8::11", NEVER6)]
)
def test_row_07_and_08_each_datagram_is_judged_alone(
    world: World, allowed: str, refused: str
) -> None:
    world.guard(EXAMPLE)
    world.addresses("www.example.com", "A")
    world.addresses("www.example.com", "AAAA")

    with Capture(world.internet.netns, "eth0") as capture:
        said = world.python(_DATAGRAMS, allowed, refused)

    assert said == "OK EPERM EPERM OK EPERM"
    assert capture.saw(b"one")
    assert capture.saw(b"four")
    assert capture.to(refused) == []


_FASTOPEN = """
import socket, sys
MSG_FASTOPEN = 0x20000000
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    try:
        s.sendto(b"in the SYN", MSG_FASTOPEN, (sys.argv[1], 80))
        print("OK")
    except OSError as error:
        print(type(error).__name__)
"""


def test_row_09_fast_open_puts_no_data_into_a_syn(world: World) -> None:
    world.guard(EXAMPLE)
    world.addresses("www.example.com")
    world.host.sysctl("net.ipv4.tcp_fastopen", 5)  # client, and data without a cookie

    with Capture(world.internet.netns, "eth0") as capture:
        allowed = world.python(_FASTOPEN, "203.0.113.11")
        refused = world.python(_FASTOPEN, NEVER4)

    assert (allowed, refused) == ("OK", "PermissionError")
    assert capture.saw(b"in the SYN")
    assert capture.to(NEVER4) == []


_PROTOCOL = """
import socket, sys
kind, proto = getattr(socket, sys.argv[1]), int(sys.argv[2])
said = []
for host in sys.argv[3:]:
    with socket.socket(socket.AF_INET, kind, proto) as s:
        try:
            s.sendto(b"\\x08\\0\\xf7\\xfd\\0\\1\\0\\1" + bytes(32), (host, 80))
            said.append("OK")
        except OSError as error:
            said.append(type(error).__name__)
print(*said)
"""


@pytest.mark.parametrize(
    ("sentence", "rule", "kind", "proto"),
    [
        ("row 12: UDP-Lite", "www.example.com/udplite", "SOCK_DGRAM", 136),
        ("row 13: IPIP", "www.example.com/ipip", "SOCK_RAW", 4),
        ("row 13: GRE", "www.example.com/gre", "SOCK_RAW", 47),
        ("row 13: ESP", "www.example.com/esp", "SOCK_RAW", 50),
        ("row 14: ICMP", "www.example.com/icmp", "SOCK_RAW", 1),
    ],
)
def test_row_12_13_14_other_protocols_pass_only_by_a_rule_that_lists_them(
    world: World, sentence: str, rule: str, kind: str, proto: int
) -> None:
    world.guard(policy_of([{"allow": rule}, {"allow": "only4.example.com/tcp"}]))
    world.addresses("www.example.com")
    world.addresses("only4.example.com")

    with Capture(world.internet.netns, "eth0") as capture:
        world.python(_PROTOCOL, kind, str(proto), "203.0.113.11", "203.0.113.13", NEVER4)

    assert [f[23] for f in capture.to("203.0.113.11")] == [proto], sentence
    assert capture.to("203.0.113.13") == [], "a rule without this protocol"
    assert capture.to(NEVER4) == [], "a name never asked"


def test_row_14_ping_is_judged_like_everything_else(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com/any"}]))

    allowed = world.run("ping", "-c1", "-W2", "www.example.com")
    with Capture(world.internet.netns, "eth0") as capture:
        refused = world.run("ping", "-c1", "-W1", NEVER4)

    assert allowed.returncode == 0
    assert refused.returncode != 0
    assert capture.to(NEVER4) == []


def test_row_16_a_packet_socket_is_seen_by_tc(world: World) -> None:
    world.guard(EXAMPLE)
    world.addresses("www.example.com")
    send = """
import socket, struct, sys
def frame(address, data):
    udp = struct.pack("!HHHH", 4000, 80, 8 + len(data), 0) + data
    ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
        socket.inet_aton(sys.argv[1]), socket.inet_aton(address)))
    total = sum(struct.unpack("!10H", ip))
    ip[10:12] = struct.pack("!H", ~(total + (total >> 16)) & 0xffff)
    return bytes(6 * [255]) + s.getsockname()[4] + b"\\x08\\0" + bytes(ip) + udp
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for address, data in (("203.0.113.11", b"honest"), ("203.0.113.9", b"around")):
    try:
        s.send(frame(address, data))
    except OSError:
        pass  # ENOBUFS is how a packet socket hears of a drop
"""

    with Capture(world.internet.netns, "eth0") as capture:
        world.python(send, HOST4)

    assert capture.saw(b"honest")
    assert not capture.saw(b"around")


def test_row_15_a_forged_source_does_not_leave(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com/any"}]))
    world.addresses("www.example.com")
    forge = """
import socket, struct, sys
def packet(source, data):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 1, 0, 64, 17, 0,
        socket.inet_aton(source), socket.inet_aton("203.0.113.11"))
    return head + struct.pack("!HHHH", 4000, 80, 8 + len(data), 0) + data
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for source, data in ((sys.argv[1], b"honest"), ("198.51.100.77", b"forged")):
    try:
        s.sendto(packet(source, data), ("203.0.113.11", 0))
    except PermissionError:
        pass
"""

    with Capture(world.internet.netns, "eth0") as capture:
        world.python(forge, HOST4)

    assert capture.saw(b"honest")
    assert not capture.saw(b"forged")


def test_row_24_a_routing_header_does_not_leave(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com:80"}]))
    world.addresses("www.example.com", "AAAA")
    steer = """
import socket, struct
IPV6_RTHDR = 57
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
hop = socket.inet_pton(socket.AF_INET6, "2001:db8::11")
header = struct.pack("!BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + bytes(16) + hop
s.setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, header)
for address in ("2001:db8::9", "2001:db8::11"):
    try:
        s.sendto(b"steered", (address, 80))
    except OSError:
        pass
p = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
p.sendto(b"straight", ("2001:db8::11", 80))
"""

    with Capture(world.internet.netns, "eth0") as capture:
        world.python(steer)

    assert capture.saw(b"straight")
    assert not capture.saw(b"steered")


def test_row_23_a_source_route_does_not_leave(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com:80"}]))
    world.addresses("www.example.com")
    world.host.sysctl("net.ipv4.conf.all.accept_source_route", 1)
    steer = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"straight", ("203.0.113.11", 80))
hop = socket.inet_aton("203.0.113.11")
s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([131, 7, 4]) + hop + b"\\0")
for address in ("203.0.113.9", "203.0.113.11"):
    try:
        s.sendto(b"steered", (address, 80))
    except OSError:
        pass
"""

    with Capture(world.internet.netns, "eth0") as capture:
        world.python(steer)

    assert capture.saw(b"straight")
    assert not capture.saw(b"steered")


def test_row_29_private_neighbours_are_not_implied(world: World) -> None:
    world.guard(EXAMPLE)

    assert world.connect(ROUTER4) == "EPERM"
    assert world.connect("10.1.2.3") == "EPERM"


def test_row_29_a_listed_neighbour_is_reached(world: World) -> None:
    world.guard(policy_of([{"allow": "10.77.0.0/24:80/tcp"}]))

    assert world.connect(ROUTER4) == "OK"
    assert world.connect(ROUTER4, 443) == "EPERM"


def test_row_30_metadata_is_denied_even_below_a_wide_address_rule(world: World) -> None:
    world.guard(policy_of([{"allow": "0.0.0.0/0"}]))

    assert world.connect(NEVER4) == "OK"
    assert world.connect("169.254.169.254") == "EPERM"


def test_row_30_metadata_is_lifted_by_a_prefix_inside_it(world: World) -> None:
    world.guard(policy_of([{"allow": "169.254.169.254:80/tcp"}]))

    assert world.connect("169.254.169.254") == "OK"
    assert world.connect("169.254.169.254", 443) == "EPERM"


@pytest.mark.usefixtures("answers")
def test_row_56_another_resolver_over_udp_is_out_of_reach(world: World) -> None:
    world.guard(EXAMPLE)

    with Capture(world.internet.netns, "eth0") as capture:
        seen = world.dig(f"@{OTHER_RESOLVER}", "www.example.com")

    assert "203.0.113.11" not in seen
    assert capture.to(OTHER_RESOLVER) == []
    assert world.addresses("www.example.com") == ["203.0.113.11"]


@pytest.mark.usefixtures("answers")
def test_row_57_another_resolver_over_tcp_is_out_of_reach(world: World) -> None:
    world.guard(EXAMPLE)

    with Capture(world.internet.netns, "eth0") as capture:
        seen = world.dig("+tcp", f"@{OTHER_RESOLVER}", "www.example.com")

    assert "203.0.113.11" not in seen
    assert capture.to(OTHER_RESOLVER) == []


@pytest.mark.usefixtures("answers")
def test_row_58_dot_is_refused_by_its_address(world: World) -> None:
    world.guard(EXAMPLE)

    assert world.connect(OTHER_RESOLVER, 853) == "EPERM"


@pytest.mark.usefixtures("answers")
def test_row_61_the_upstream_itself_is_for_dnsfw_alone(world: World) -> None:
    world.guard(EXAMPLE, upstreams=(UNBOUND, f"[{UNBOUND6}]:53"))

    assert world.addresses("www.example.com") == ["203.0.113.11"]
    assert "203.0.113.13" not in world.dig(f"@{UNBOUND}", "only4.example.com")
    assert world.connect(UNBOUND, 53) == "EPERM"
    assert world.connect(UNBOUND6, 53, "SOCK_DGRAM") == "EPERM"


def test_dnsfw_itself_passes_though_its_process_is_in_the_guarded_cgroup(world: World) -> None:
    daemon = world.guard(EXAMPLE)

    assert str(daemon.pid) in (world.cgroup.path / "cgroup.procs").read_text().split()
    assert "203.0.113.11" in world.dig("+tcp", "+short", "www.example.com", "A")


def test_loopback_of_the_host_stays_open(world: World) -> None:
    world.guard(EXAMPLE)
    server = world.start_python("""
import socket
with socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True) as s:
    print("ready")
    while True:
        s.accept()[0].close()
""")
    assert server.stdout is not None
    server.stdout.readline()

    assert world.connect("127.0.0.1", 9000) == "OK"
    assert world.connect("::1", 9000) == "OK"


def test_an_address_rule_beats_names_both_ways(world: World) -> None:
    world.guard(policy_of([
        {"allow": "*.example.com:80"},
        {"deny": "203.0.113.13/32"},
        {"allow": "203.0.113.200/32:80"},
    ]))
    world.addresses("only4.example.com")

    assert world.connect("203.0.113.200") == "OK"
    assert world.connect("203.0.113.13") == "EPERM"


def test_a_range_of_many_ports_opens_the_range(world: World) -> None:
    world.guard(policy_of([{"allow": "www.example.com:81-60000"}]))
    world.addresses("www.example.com")

    assert world.connect("203.0.113.11", 8080) == "OK"
    assert world.connect("203.0.113.11", 80) == "EPERM"


def test_audit_mode_lets_pass_and_counts(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com:80"}], mode="audit"))

    assert world.connect(NEVER4) == "OK"
