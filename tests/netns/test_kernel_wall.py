"""The kernel seam on a real host: devices and cgroups that come later, guests, older sockets."""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dnsfw.datapath import links
from dnsfw.datapath.attach import Wall, WallConfig
from dnsfw.datapath.syscall import AttachType
from dnsfw.model import HOST, Entry, Grant, RoleId, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.server.kernel import Repair
from dnsfw.server.wall import KernelWall
from tests.support.guarded import ANY_PORT, FOREVER, PEER, Yard, open_yard
from tests.support.netlab import Capture, Cgroup, Lab, Netns, cgroup2_mount, end, wait_until

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]
SOON = 1.0  # seconds; it takes milliseconds

# A frame of UDP from a packet socket that goes past cgroups and queues alike. Exit 0: it left.
FRAME = """
import socket, sys
device, to = sys.argv[1:3]
udp = bytes.fromhex("0009000900090000") + b"F"
ends = socket.inet_aton(sys.argv[3]) + socket.inet_aton(to)
ip = bytes([0x45, 0, 0, 29, 0, 0, 0, 0, 9, 17, 0, 0]) + ends
total = sum(int.from_bytes(ip[i:i+2], "big") for i in range(0, 20, 2))
total = (total & 0xffff) + (total >> 16)
ip = ip[:10] + (~total & 0xffff).to_bytes(2, "big") + ip[12:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
if len(sys.argv) > 4:
    s.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
try:
    s.sendto(ip + udp, (device, 0x0800, 0, 0, b"\\xff" * 6))
except OSError as error:
    sys.exit(1 if error.errno == 105 else 2)
"""


@dataclass
class Rig:
    """One kernel seam over a wall in a lab, and what its daemon would do with it."""

    yard: Yard
    kernel: KernelWall
    wall: Wall
    policy: Policy

    def soon(self, happens: Any, what: str) -> list[Repair]:
        """What `repair` says when the news wakes the daemon; nothing else may."""
        told: list[Repair] = []
        news = self.kernel.news()
        assert news is not None
        began = time.monotonic()
        while not happens():
            left = SOON - (time.monotonic() - began)
            assert left > 0, f"no news of {what}"
            if select.select([news], [], [], left)[0]:
                told += self.kernel.repair()
        return told

    def targets(self) -> dict[str, str]:
        return {h.where: h.name for h in self.kernel.hooks() if h.attached and h.how != "cgroup"}

    def reload(self, policy: str) -> tuple[str, ...]:
        self.policy = compile_text(policy)
        self.kernel.sink.apply(self.policy.plan())
        return self.kernel.assign(self.policy.subjects)

    def role(self, name: str) -> RoleId:
        return next(r.role for r in self.policy.roles.values() if r.name == name)


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


@contextmanager
def guarding(
    yard: Yard, policy: str, *, every_device: bool = False, **options: Any
) -> Iterator[Rig]:
    config: WallConfig = replace(yard.config(), **options)
    compiled = compile_text(policy)
    made: list[KernelWall] = []

    def prepare(wall: Wall) -> None:
        kernel = KernelWall(wall, config, every_device=every_device)
        made.append(kernel)
        kernel.sink.apply(compiled.plan())
        kernel.assign(compiled.subjects)

    with yard.here.entered():
        wall = Wall.open(config, prepare)
        try:
            yield Rig(yard, made[0], wall, compiled)
        finally:
            made[0].close(remove=True)


def policy(rules: Sequence[Any] = (), default: str = "deny", **roles: Any) -> str:
    text: dict[str, Any] = {"version": 1, "default": default, "rules": list(rules)}
    return json.dumps(text | ({"roles": roles} if roles else {}))


ALLOW_ALL = policy([{"deny": "x.example"}], default="allow")
DENY_ALL = policy([{"allow": "x.example"}])


def role(*subjects: Any, default: str = "deny", **more: Any) -> dict[str, Any]:
    rules = [{"allow" if default == "deny" else "deny": "x.example"}]
    return {"default": default, "subjects": list(subjects), "rules": rules, **more}


def frame_leaves(netns: Netns, device: str, to: str, source: str, *more: str) -> bool:
    done = netns.run([sys.executable, "-S", "-c", FRAME, device, to, source, *more])
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def below_root(cgroup: Cgroup) -> str:
    root = cgroup2_mount()
    assert root is not None
    return f"/{cgroup.path.relative_to(root)}"


# devices


def test_row_35_a_second_interface_is_guarded_like_the_first(yard: Yard) -> None:
    yard.lab.link(yard.here, yard.there, "eth1", "eth1")
    yard.here.ip("addr add 10.8.0.1/24 dev eth1")
    assert frame_leaves(yard.here, "eth1", "10.8.0.2", "10.8.0.1")

    with guarding(yard, DENY_ALL, every_device=True, interfaces=("eth0", "eth1")) as rig:
        yard.here.ip(f"route replace {PEER} dev eth1")

        assert not yard.sends(PEER)
        for device in ("eth0", "eth1"):
            assert f"{device} egress" in rig.targets()
            assert not frame_leaves(yard.here, device, "10.8.0.2", "10.8.0.1")


@pytest.mark.parametrize("tcx", [True, False], ids=["tcx", "clsact"])
def test_row_36_a_device_that_comes_later_is_guarded_in_milliseconds(yard: Yard, tcx: bool) -> None:
    with guarding(yard, DENY_ALL, every_device=True, tcx=tcx) as rig:
        rig.kernel.repair()
        yard.here.ip("link add eth1 type veth peer name eth2")
        told = rig.soon(
            lambda: {"eth1 egress", "eth2 ingress"} <= rig.targets().keys(), "two devices"
        )

        assert {r.what for r in told} >= {"guarding the new device eth1"}
        assert not any(r.tamper for r in told)
        yard.here.ip("link set eth1 up")
        yard.here.ip("link set eth2 up")
        assert not frame_leaves(yard.here, "eth1", PEER, "10.9.0.1")


def test_row_36_until_then_the_cgroup_covers(yard: Yard) -> None:
    with guarding(yard, DENY_ALL, every_device=True):
        yard.lab.link(yard.here, yard.there, "eth1", "eth1")
        yard.here.ip("addr add 10.8.0.1/24 dev eth1")

        assert not yard.sends("10.8.0.2")  # nobody has looked for news yet


def test_row_36_a_device_that_is_renamed_stays_guarded(yard: Yard) -> None:
    with guarding(yard, DENY_ALL) as rig:
        yard.here.ip("link set eth0 down")
        yard.here.ip("link set eth0 name wan0")
        yard.here.ip("link set wan0 up")
        told = rig.soon(lambda: "wan0 egress" in rig.targets(), "a new name")

        assert not any(r.tamper for r in told)
        assert not frame_leaves(yard.here, "wan0", PEER, "10.9.0.1")


def test_row_36_a_device_that_goes_and_comes_under_its_name_is_guarded_again(yard: Yard) -> None:
    with guarding(yard, DENY_ALL) as rig:
        yard.here.ip("link del eth0")
        rig.soon(lambda: not rig.targets(), "a device that went")
        yard.lab.link(yard.here, yard.there)

        told = rig.soon(lambda: "eth0 egress" in rig.targets(), "a device of that name")

        assert [r.what for r in told][:1] == ["guarding the new device eth0"]
        assert not any(r.tamper for r in told)
        assert not frame_leaves(yard.here, "eth0", PEER, "10.9.0.1")


def test_row_36_a_device_from_another_namespace_is_guarded(yard: Yard) -> None:
    with guarding(yard, DENY_ALL, every_device=True) as rig:
        yard.there.ip("link add wan1 type veth peer name wan2")
        yard.there.ip(f"link set wan1 netns {yard.here.name}")
        rig.soon(lambda: "wan1 egress" in rig.targets(), "a device that was moved here")

        yard.here.ip("link set wan1 up")
        yard.there.ip("link set wan2 up")
        assert not frame_leaves(yard.here, "wan1", PEER, "10.9.0.1")


def test_row_38_a_tunnel_as_the_default_route_leads_nowhere(yard: Yard) -> None:
    with guarding(yard, DENY_ALL, every_device=True) as rig:
        yard.here.ip("tuntap add dev tun0 mode tun")
        rig.soon(lambda: "tun0 egress" in rig.targets(), "a tunnel")
        yard.here.ip("addr add 10.7.0.1/24 dev tun0")
        yard.here.ip("link set tun0 up")
        yard.here.ip("route replace default dev tun0")

        assert rig.targets()["tun0 egress"] == "tc_egress_l3"
        assert not yard.sends("203.0.113.9")


# guests


def guest(yard: Yard, name: str = "veth7") -> Netns:
    """A namespace behind a veth whose host's end is `name`."""
    made = yard.lab.namespace("guest")
    yard.lab.link(yard.here, made, name, "eth0")
    yard.here.ip(f"addr add 10.6.0.1/24 dev {name}")
    made.ip("addr add 10.6.0.2/24 dev eth0")
    made.ip("route add default via 10.6.0.1")
    yard.here.sysctl("net.ipv4.ip_forward", 1)
    yard.there.ip("route add 10.6.0.0/24 via 10.9.0.1")
    return made


def arrives(yard: Yard, sender: Netns, bypass: bool = False) -> bool:
    """Whether a frame that the guest writes itself reaches the peer."""
    (shown,) = json.loads(yard.here.run(["ip", "-j", "link", "show", "veth7"]).stdout)
    mac = shown["address"]
    yard.here.ip(f"neigh replace {PEER} lladdr 02:00:00:00:00:01 dev eth0")
    code = FRAME.replace('b"\\xff" * 6', f'bytes.fromhex("{mac.replace(":", "")}")')
    assert code != FRAME
    with Capture(yard.there, "eth0") as capture:
        argv = ["eth0", PEER, "10.6.0.2", *(["bypass"] if bypass else [])]
        sender.run([sys.executable, "-S", "-c", code, *argv])
        # What is sent after it by the same way has arrived: so has it, or it never will.
        yard.here.run(["ping", "-c1", "-W1", PEER])
        yard.here.ip(f"neigh del {PEER} dev eth0")
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline and not capture.to(PEER):
            time.sleep(0.01)
        return any(frame[23] == 17 for frame in capture.to(PEER))


GUESTS = policy(
    [{"deny": "x.example"}], default="allow", shut=role({"interface": "veth7"}, inbound="tcp")
)


@pytest.mark.parametrize("bypass", [False, True], ids=["frame", "qdisc-bypass"])
def test_a_guest_that_writes_frames_itself_is_judged_at_the_hosts_end(
    yard: Yard, bypass: bool
) -> None:
    sender = guest(yard)
    assert arrives(yard, sender, bypass), "without a wall it must arrive"

    with guarding(yard, GUESTS, cgroup=None, interfaces=()) as rig:
        assert rig.targets()["veth7 ingress"] == "guest_in"
        assert rig.targets()["lo egress"] == "tc_lo"
        assert not arrives(yard, sender, bypass)

        grant = Grant(FOREVER, next(iter(rig.policy.plan().rules)), ANY_PORT, Verdict.ALLOW)
        rig.kernel.sink.write([Entry(rig.role("shut"), addr_from(PEER), (grant,))])

        assert arrives(yard, sender, bypass)


def test_a_wall_of_guests_alone_stands_before_its_first_guest_comes(yard: Yard) -> None:
    with guarding(yard, GUESTS, cgroup=None, interfaces=()) as rig:
        assert rig.kernel.absent() == ("interface veth7 does not exist yet",)
        assert rig.targets() == {"lo egress": "tc_lo"}

        sender = guest(yard)
        told = rig.soon(lambda: "veth7 ingress" in rig.targets(), "a guest's link")
        told += rig.kernel.repair()

        assert "interface veth7 is there now: it has its role" in {r.what for r in told}
        assert not any(r.tamper for r in told)
        assert rig.kernel.absent() == ()
        assert not arrives(yard, sender)


def test_a_reload_makes_a_guests_link_an_ordinary_one_and_back_without_a_gap(yard: Yard) -> None:
    guest(yard)
    kinds = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)
    with guarding(yard, GUESTS, interfaces=("eth0",)) as rig:
        index = socket.if_nametoindex("veth7")
        count = [len(links.prog_query(index, kind)) for kind in kinds]
        assert count == [1, 1]

        rig.reload(DENY_ALL)
        assert "veth7 ingress" not in rig.targets()
        assert [len(links.prog_query(index, kind)) for kind in kinds] == [0, 0]

        rig.reload(GUESTS)
        assert rig.targets()["veth7 ingress"] == "guest_in"
    with guarding(yard, GUESTS, every_device=True, interfaces=("eth0", "veth7")) as rig:
        assert rig.targets()["veth7 ingress"] == "edge_in"
        rig.reload(DENY_ALL)
        assert rig.targets()["veth7 ingress"] == "tc_ingress"
        assert rig.kernel.repair() == ()


@pytest.mark.parametrize("every_device", [False, True], ids=["uplink", "every-device"])
def test_a_bridge_of_guests_works_both_ways_and_its_guests_are_judged_at_their_ports(
    yard: Yard, every_device: bool
) -> None:
    behind = guest(yard)
    for command in ("link add br0 type bridge", "addr del 10.6.0.1/24 dev veth7",
                    "link set veth7 master br0", "addr add 10.6.0.1/24 dev br0",
                    "link set br0 up"):  # fmt: skip
        yard.here.ip(command)
    free = role({"interface": "br0"}, default="allow", inbound="all")
    text = policy([{"allow": "x.example"}], free=free)
    devices = ("eth0", "br0", "veth7") if every_device else ("eth0",)
    with guarding(yard, text, every_device=every_device, interfaces=devices) as rig:
        assert rig.targets()["veth7 ingress"] == ("edge_in" if every_device else "guest_in")
        assert behind.run(["ping", "-c1", "-W2", PEER]).returncode == 0
        assert yard.there.run(["ping", "-c1", "-W2", "10.6.0.2"]).returncode == 0

        rig.reload(policy([{"allow": "x.example"}], shut=role({"interface": "br0"})))
        assert behind.run(["ping", "-c1", "-W1", PEER]).returncode == 1
        assert yard.there.run(["ping", "-c1", "-W1", "10.6.0.2"]).returncode == 1

        yard.here.ip("link add veth9 type veth peer name veth10")
        rig.kernel.repair()
        yard.here.ip("link set veth9 master br0")
        rig.soon(lambda: rig.targets().get("veth9 ingress", "") in ("edge_in", "guest_in"), "port")


# subjects that come later


def test_a_unit_that_starts_gets_its_role_before_the_next_beat(yard: Yard) -> None:
    late = Cgroup(yard.cgroup.path / "late")
    text = policy(
        [{"deny": "x.example"}], default="allow", shut=role({"cgroup": below_root(late)})
    )
    with guarding(yard, text, interfaces=()) as rig:
        relabelled: list[tuple[tuple[int, ...], int]] = []
        rig.kernel.on_relabel(lambda pids, role: relabelled.append((tuple(pids), role)))
        rig.kernel.repair()
        assert rig.kernel.absent() == (f"cgroup {below_root(late)} does not exist yet",)
        assert yard.sends(PEER)

        late.path.mkdir()
        started = yard.lab.guest(yard.here, late).start(["sleep", "60"])
        wait_until(lambda: (late.path / "cgroup.procs").read_text(), what="a process in it")
        told = rig.soon(lambda: not rig.kernel.absent(), "a cgroup")

        assert [r.what for r in told] == [
            f"cgroup {below_root(late)} is there now: it has its role"
        ]
        assert [role for _, role in relabelled] == [rig.role("shut")]
        assert not replace(yard, cgroup=late).sends(PEER)
        assert yard.sends(PEER)
        end(started)


def test_a_unit_is_found_by_its_name_in_slices(yard: Yard) -> None:
    slice_ = yard.lab.cgroup("x.slice")
    unit = Cgroup(slice_.path / "dnsfw-test.service")
    text = policy([{"deny": "x.example"}], default="allow",
                  shut=role({"cgroup": "dnsfw-test.service"}))  # fmt: skip
    with guarding(yard, text, cgroup=slice_.path, interfaces=()) as rig:
        assert rig.kernel.absent() == ("cgroup dnsfw-test.service does not exist yet",)

        unit.path.mkdir()
        rig.soon(lambda: not rig.kernel.absent(), "a unit")

        assert not replace(yard, cgroup=unit).sends(PEER)


# older sockets


def test_row_40_older_sockets_are_judged_by_their_roles_and_protocols(yard: Yard) -> None:
    shut, free = (Cgroup(yard.cgroup.path / name) for name in ("shut", "free"))
    for cgroup in (shut, free):
        cgroup.path.mkdir()
    server = yard.there.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind((PEER, 8080))
    server.listen()
    talks = """
import socket, sys
tcp = socket.create_connection((sys.argv[1], 8080))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((sys.argv[1], 9))
print("ready", flush=True)
sys.stdin.readline()
said = []
for sock in (tcp, udp):
    try:
        sock.send(b"x")
        said.append("sent")
    except OSError as error:
        said.append(type(error).__name__)
print(" ".join(said), flush=True)
"""
    argv = [sys.executable, "-S", "-c", talks, PEER]
    users = [yard.lab.guest(yard.here, c).start(argv, stdin=-1) for c in (shut, free)]
    for user in users:
        assert user.stdout is not None and user.stdout.readline() == "ready\n"
    text = policy([{"deny": "x.example"}], default="allow", shut=role({"cgroup": below_root(shut)}))

    with guarding(yard, text, interfaces=()) as rig:
        ended = rig.kernel.settle_older(rig.policy, end=True)

        assert sorted(ended) == [
            f"ended the connection to {PEER}:8080: role shut refuses it",
            f"ended the connection to {PEER}:9/udp: role shut refuses it",
        ]
        said = [user.communicate("go\n", timeout=10)[0].strip() for user in users]
    assert said == ["ConnectionAbortedError OSError", "sent sent"]  # UDP: no longer connected
    server.close()


def test_row_40_a_reload_ends_what_changed_hands_and_is_refused(yard: Yard) -> None:
    server = yard.there.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind((PEER, 8080))
    server.listen()
    code = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 8080));"
        "print('ready', flush=True); sys.stdin.readline(); s.send(b'x')"
    )
    with guarding(yard, ALLOW_ALL, interfaces=()) as rig:
        user = yard.lab.guest(yard.here, yard.cgroup).start(
            [sys.executable, "-S", "-c", code, PEER], stdin=-1
        )
        assert user.stdout is not None and user.stdout.readline() == "ready\n"
        assert rig.kernel.settle_role_change(rig.policy) == ()

        shut = role({"cgroup": below_root(yard.cgroup)})
        rig.reload(policy([{"deny": "x.example"}], default="allow", shut=shut))

        assert rig.kernel.settle_role_change(rig.policy) == (
            f"ended the connection to {PEER}:8080: role shut refuses it",
        )
        assert "ConnectionAborted" in user.communicate("go\n", timeout=10)[0]
    server.close()


# the self-test


@pytest.mark.parametrize("alone", [False, True], ids=["cgroup", "interface-only"])
def test_the_self_test_proves_the_wall_with_roles_present(yard: Yard, alone: bool) -> None:
    guest(yard)
    free = role({"interface": "veth7"}, default="allow", inbound="all")
    text = policy([{"deny": "x.example"}], default="allow", free=free)
    options: dict[str, Any] = {"cgroup": None} if alone else {}
    with guarding(yard, text, interfaces=("eth0", "veth7"), **options) as rig:
        rig.kernel.probe()

        assert rig.kernel.sink.role_counters().keys() <= {HOST, 2, rig.role("free")}
        assert rig.kernel.sink.role_counters()[RoleId(2)].denied > 0


def test_row_47_what_somebody_writes_into_the_subjects_is_undone_and_told_once(yard: Yard) -> None:
    text = policy(
        [{"deny": "x.example"}], default="allow", shut=role({"cgroup": below_root(yard.cgroup)})
    )
    with guarding(yard, text, interfaces=()) as rig:
        rig.kernel.repair()
        table = rig.wall.maps["dnsfw_cgroups"]
        for key in list(table.keys()):
            table.delete(key)
        assert yard.sends(PEER)

        told = rig.kernel.repair()

        assert [(r.tamper, r.what) for r in told] == [
            (True, "somebody wrote to dnsfw_cgroups; it is as it was")
        ]
        assert not yard.sends(PEER)
        assert rig.kernel.repair() == ()
