"""The wall as a whole: all or nothing, adopted, mended, taken down without a trace."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dnsfw
from dnsfw.datapath import attach, bpf, links, pins
from dnsfw.datapath.attach import Wall
from dnsfw.datapath.backend import PROGRAMS
from dnsfw.datapath.hooks import HookState, answers
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.sink import KernelSink
from dnsfw.datapath.syscall import AttachType, Closing
from dnsfw.errors import ConfigError, DatapathError
from tests.support.guarded import CURRENT, DENY_ALL, PEER, PEER6, Wrecked, Yard, grant, open_yard
from tests.support.netlab import Capture, Lab, end

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]
# These two belong to sockets of ours, not to the wall.
_OF_SOCKETS = ("dnsfw_asker", "dnsfw_share")
BY_TCX = [
    (p, True)
    for p in PROGRAMS
    if not p.endswith("_l3") and p not in _OF_SOCKETS and not answers(p)
]
BY_CLSACT = [(p, False) for p in ("dnsfw_tc_ingress", "dnsfw_tc_egress", "dnsfw_guest_in",
                                         "dnsfw_edge_out")]  # fmt: skip
BOTH = pytest.mark.parametrize("tcx", [True, False], ids=["tcx", "clsact"])


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


def test_what_only_answers_and_cannot_be_attached_is_said_and_the_wall_stands(yard: Yard) -> None:
    with yard.wall(yard.config(Wrecked("dnsfw_answer_lo"), answers=True)) as wall:
        assert not yard.sends(PEER)
        assert all(state.attached for state in wall.hooks())
        (lost,) = wall.unanswered.values()
        assert (lost.program, lost.target, lost.attached) == ("dnsfw_answer_lo", "lo egress", False)


@BOTH
def test_a_wall_refuses_what_nothing_opened_and_passes_what_was(yard: Yard, tcx: bool) -> None:
    assert yard.sends(PEER) and yard.sends(PEER6)

    with yard.wall(yard.config(tcx=tcx)) as wall:
        assert not yard.sends(PEER) and not yard.sends(PEER6)
        KernelSink(wall.maps).write([grant(PEER), grant(PEER6)])

        assert yard.sends(PEER) and yard.sends(PEER6)
        assert all(state.attached for state in wall.hooks())
        assert {state.how for state in wall.hooks()} == {"cgroup", "tcx" if tcx else "clsact"}


@pytest.mark.parametrize(("program", "tcx"), [*BY_TCX, *BY_CLSACT])
def test_row_53_one_hook_that_fails_leaves_nothing_at_all(
    yard: Yard, tcx: bool, program: str
) -> None:
    kind = program.split("_")[1]  # an edge is a guest's link and the host's device
    guests: dict[str, dict[str, Any]] = {
        "guest": {"interfaces": (), "guests": ("eth0",)},
        "edge": {"guests": ("eth0",)},
    }
    alone = {"cgroup": None} if program == "dnsfw_tc_lo" else {}
    wrecked = yard.config(Wrecked(program), tcx=tcx, **guests.get(kind, {}), **alone)

    told = f"cannot attach {program} to .*; it needs "
    with pytest.raises(DatapathError, match=told), yard.wall(wrecked):
        pass

    assert yard.programs() == []
    assert "clsact" not in yard.qdiscs()
    assert yard.pinned() == []
    assert yard.sends()


@pytest.mark.parametrize(
    ("program", "tcx"),
    [("dnsfw_sock_create", True), ("dnsfw_cg_egress", True), ("dnsfw_tc_egress", True),
     ("dnsfw_tc_egress", False)],
)  # fmt: skip
def test_row_53_a_failed_adoption_leaves_the_old_wall_as_it_was(
    yard: Yard, tcx: bool, program: str
) -> None:
    with yard.wall(yard.config(tcx=tcx)) as wall:
        KernelSink(wall.maps).write([grant(PEER6)])
    before, pinned = running(yard), yard.pinned()

    wrecked = yard.config(Wrecked(program), tcx=tcx)
    with pytest.raises(DatapathError, match=program), yard.wall(wrecked):
        pass

    assert running(yard) == before
    assert yard.pinned() == pinned
    assert not yard.sends(PEER) and yard.sends(PEER6)


def running(yard: Yard) -> list[tuple[int, ...]]:
    """The numbers of all programs that run, as the kernel has them."""
    fd = os.open(yard.cgroup.path, os.O_RDONLY)
    with yard.here.entered(), Closing(fd):
        filters = subprocess.run(
            ["tc", "filter", "show", "dev", "eth0", "egress"], capture_output=True, check=True
        )
        index = next(d.index for d in attach.devices.devices() if d.name == "eth0")
        return [
            *(links.prog_query(fd, kind) for kind in (0, 1, 2, 10, 11, 14, 15)),
            *(links.prog_query(index, kind) for kind in (46, 47)),
            tuple(filters.stdout),
        ]


def test_row_53_degraded_stands_without_the_hook_and_says_which(yard: Yard) -> None:
    wrecked = yard.config(Wrecked("dnsfw_connect6"), degraded=True)

    with yard.wall(wrecked) as wall:
        missing = [state for state in wall.hooks() if not state.attached]

        assert [state.program for state in missing] == ["dnsfw_connect6"]
        assert missing[0].note
        assert not yard.sends()


def test_tables_that_cannot_be_filled_attach_nothing(yard: Yard) -> None:
    def fail(wall: Wall) -> None:
        raise DatapathError("no room")

    with pytest.raises(DatapathError, match="no room"), yard.here.entered():
        Wall.open(yard.config(), fail)

    assert yard.programs() == []
    assert yard.pinned() == []


def test_a_wall_without_a_place_is_refused(yard: Yard) -> None:
    nowhere = yard.config(cgroup=None, interfaces=())

    with pytest.raises(DatapathError, match="name a cgroup or an interface"), yard.wall(nowhere):
        pass
    assert yard.pinned() == []


def test_an_unknown_interface_is_the_operators_mistake_and_names_the_known(yard: Yard) -> None:
    wrong = yard.config(interfaces=("eth7",))

    with pytest.raises(ConfigError, match=r"no interface eth7; there are .*eth0"), yard.wall(wrong):
        pass
    assert yard.pinned() == []


def test_pins_are_for_root_alone(yard: Yard) -> None:
    with yard.wall():
        pass

    modes = {p: p.lstat().st_mode & 0o777 for p in yard.pin_dir.rglob("*") if not p.is_symlink()}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if not path.is_dir()} == {0o600}


@BOTH
def test_taken_down_a_wall_leaves_nothing(yard: Yard, tcx: bool) -> None:
    with yard.here.entered():
        wall = Wall.open(yard.config(tcx=tcx), lambda w: KernelSink(w.maps).apply(DENY_ALL))
        wall.close(remove=True)

    assert yard.programs() == []
    assert "clsact" not in yard.qdiscs()
    assert yard.pinned() == [] and not yard.pin_dir.exists()
    assert yard.sends()


def test_a_clsact_that_was_there_before_stays(yard: Yard) -> None:
    yard.here.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"])
    with yard.wall(yard.config(tcx=False)):
        pass

    with yard.here.entered():
        assert attach.remove(yard.pin_dir)

    assert "clsact" in yard.qdiscs()
    assert yard.here.run(["tc", "filter", "show", "dev", "eth0", "egress"]).stdout == ""
    assert yard.sends()


def test_our_clsact_stays_while_somebody_elses_bpf_filter_is_in_it(yard: Yard) -> None:
    with yard.wall(yard.config(tcx=False)), yard.here.entered():
        index = attach.devices.device("eth0")
        assert index is not None
        loaded = LibbpfBackend().load({})
        bpf.pin(loaded.programs["dnsfw_tc_egress"].fd, yard.pin_dir.parent / "other")
        yard.here.run(["tc", "filter", "add", "dev", "eth0", "egress", "prio", "9", "bpf", "da",
                       "pinned", str(yard.pin_dir.parent / "other")])  # fmt: skip
        loaded.close()

    with yard.here.entered():
        attach.remove(yard.pin_dir)

    assert "clsact" in yard.qdiscs()


@BOTH
def test_row_48_a_killed_daemon_leaves_the_wall_and_down_needs_none(yard: Yard, tcx: bool) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "from dnsfw.datapath.attach import Wall, WallConfig\n"
        "from dnsfw.datapath.libbpf import LibbpfBackend\n"
        "from dnsfw.datapath.sink import KernelSink\n"
        "from dnsfw.model import HOST, Plan, RolePlan, Verdict\n"
        "plan = Plan((RolePlan(HOST, Verdict.DENY),), (), frozenset())\n"
        "config = WallConfig(LibbpfBackend(), pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]),"
        f" ('eth0',), tcx={tcx})\n"
        "Wall.open(config, lambda w: KernelSink(w.maps).apply(plan))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = yard.here.run(
        [sys.executable, "-P", "-c", code, str(yard.pin_dir), str(yard.cgroup.path)],
        env={**os.environ, "PYTHONPATH": str(Path(dnsfw.__file__).parents[1])},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not yard.sends()

    with yard.here.entered():
        assert attach.remove(yard.pin_dir)
        assert not attach.remove(yard.pin_dir)

    assert yard.sends()
    assert yard.programs() == [] and yard.pinned() == []


def test_row_52_down_does_not_tear_the_wall_from_under_a_daemon(yard: Yard) -> None:
    with yard.wall():
        with pytest.raises(DatapathError, match=f"pid {os.getpid()}"):
            attach.remove(yard.pin_dir)
        with pytest.raises(DatapathError, match=f"pid {os.getpid()}"), yard.wall():
            pass

        assert not yard.sends()


def test_row_52_a_wall_of_another_version_is_not_adopted_but_can_be_removed(yard: Yard) -> None:
    with yard.wall():
        pass
    (yard.pin_dir / CURRENT).rename(yard.pin_dir / "abi0")

    with pytest.raises(DatapathError, match="another dnsfw version"), yard.wall():
        pass
    assert not yard.sends()

    with yard.here.entered():
        assert attach.remove(yard.pin_dir)
    assert yard.sends()


def test_row_52_a_table_of_another_layout_is_refused(yard: Yard) -> None:
    with yard.wall() as wall:
        settings = wall.maps["dnsfw_settings"].fd
        (yard.pin_dir / CURRENT / "dnsfw_grants").unlink()
        pins.pin(settings, yard.pin_dir / CURRENT / "dnsfw_grants")

    with pytest.raises(DatapathError, match="dnsfw_grants"), yard.wall():
        pass
    assert not yard.sends()


def test_a_crash_while_building_is_no_wall_to_adopt(yard: Yard) -> None:
    with yard.wall():
        pass
    (yard.pin_dir / CURRENT).rename(yard.pin_dir / "new")

    with yard.wall() as wall:
        assert not wall.adopted
        assert not (yard.pin_dir / "new").exists()
        assert all(state.attached for state in wall.hooks())


def test_what_is_no_longer_wanted_is_given_back_after_adoption(yard: Yard) -> None:
    with yard.wall():
        pass

    with yard.wall(yard.config(interfaces=())) as wall:
        assert wall.adopted
        assert not [p for p in yard.programs() if p.startswith("TCX")]
        assert not yard.sends()


def test_another_cgroup_is_guarded_before_the_old_one_is_let_go(yard: Yard) -> None:
    other = yard.lab.cgroup("other")
    with yard.wall():
        pass

    with yard.wall(yard.config(cgroup=other.path, interfaces=())):
        assert yard.programs() == []
        with Closing(os.open(other.path, os.O_RDONLY)) as fd:
            assert links.prog_query(fd, AttachType.CGROUP_INET_EGRESS)


def test_tables_survive_from_one_process_to_the_next(yard: Yard) -> None:
    with yard.wall() as wall:
        KernelSink(wall.maps).write([grant()])

    with yard.wall() as wall:
        assert wall.adopted
        assert list(KernelSink(wall.maps).entries()) == [grant()]
        assert yard.sends()


def test_row_44_a_tcx_link_outlives_the_qdisc_commands(yard: Yard) -> None:
    with yard.wall(yard.config(tcx=True)) as wall:
        yard.here.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])

        assert all(state.attached for state in wall.hooks())


def test_row_44_a_removed_clsact_is_seen_and_put_back(yard: Yard) -> None:
    with yard.wall(yard.config(tcx=False)) as wall:
        yard.here.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])
        assert lost(wall) == ["dnsfw_tc_ingress", "dnsfw_tc_egress"]

        back = wall.mend()

        assert [told.tamper for told in back] == [True, True]
        assert all("was removed from eth0" in told.what for told in back)
        assert lost(wall) == []
        assert wall.mend() == ()


def lost(wall: Wall) -> list[str]:
    return [state.program for state in wall.hooks() if not state.attached]


@BOTH
def test_row_45_a_program_ahead_of_ours_is_led_again_and_told_once(yard: Yard, tcx: bool) -> None:
    with yard.wall(yard.config(tcx=tcx)) as wall:
        assert not frame_leaves(yard)  # a packet socket, past every cgroup hook
        push_ahead(yard, tcx)
        assert frame_leaves(yard), "the other program must let packets past ours"
        assert [state.ahead for state in wall.hooks() if state.ahead] == [True]

        with yard.here.entered():
            (told,) = wall.mend()

        assert told.tamper and "ours is first again" in told.what
        assert not frame_leaves(yard)
        with yard.here.entered():
            assert wall.mend() == ()
    assert not [p for p in yard.pinned() if p.endswith("_lead")]
    with yard.wall(yard.config(tcx=tcx)) as wall:
        assert wall.adopted and lost(wall) == [] and not frame_leaves(yard)


@BOTH
def test_row_45_leading_again_lets_no_packet_slip_through(yard: Yard, tcx: bool) -> None:
    neighbour = "10.9.0.77"
    yard.here.ip(f"neigh replace {neighbour} lladdr 02:00:00:00:00:01 dev eth0")
    guest = yard.lab.guest(yard.here, None)
    with yard.wall(yard.config(tcx=tcx)) as wall, Capture(yard.there, "eth0") as capture:
        flood = guest.start([sys.executable, "-S", "-u", "-c", FLOOD, neighbour])
        assert flood.stdout is not None and flood.stdout.readline() == "ready\n"
        device = attach.devices.device("eth0")
        assert device is not None
        with yard.here.entered():
            places = [p for p in wall._places if p.program == "dnsfw_tc_egress"]
            for _ in range(200):
                places[0].lead(wall._loaded.programs["dnsfw_tc_egress"], wall._pins.current)
        end(flood)

        assert lost(wall) == []
        assert not capture.saw(b"flood")


# A frame of UDP from a packet socket: only the device's hook sees it. Exit 0: it left.
FRAME = """
import socket, sys
udp = bytes.fromhex("0009000900" "08" "0000") + b"frame"
ends = socket.inet_aton("10.9.0.1") + socket.inet_aton(sys.argv[1])
ip = bytes([0x45, 0, 0, 33, 0, 0, 0, 0, 9, 17, 0, 0]) + ends
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
try:
    s.sendto(ip + udp, ("eth0", 0x0800, 0, 0, b"\\xff" * 6))
except OSError as error:
    sys.exit(1 if error.errno == 105 else 2)
"""
FLOOD = """
import socket, sys
udp = bytes.fromhex("0009000900" "08" "0000") + b"flood"
ends = socket.inet_aton("10.9.0.1") + socket.inet_aton(sys.argv[1])
ip = bytes([0x45, 0, 0, 33, 0, 0, 0, 0, 9, 17, 0, 0]) + ends
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
print("ready", flush=True)
while True:
    try:
        s.sendto(ip + udp, ("eth0", 0x0800, 0, 0, b"\\xff" * 6))
    except OSError:
        pass
"""


def frame_leaves(yard: Yard) -> bool:
    done = yard.here.run([sys.executable, "-S", "-c", FRAME, PEER])
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def push_ahead(yard: Yard, tcx: bool) -> None:
    """A program that says "pass" to everything, in front of ours, kept by a pin."""
    program = yard.pin_dir.parent / "pass"
    code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = TCX_PASS; exit
    with yard.here.entered():
        fd = bpf._load(bpf.ProgType.SCHED_CLS, code, 0, b"pass", "load")
        with Closing(fd):
            index = socket.if_nametoindex("eth0")
            if tcx:
                link = links.link_create(fd, index, AttachType.TCX_EGRESS, flags=8)
                with Closing(link):
                    pins.pin(link, program)
                return
            pins.pin(fd, program)
    yard.here.run(["tc", "filter", "add", "dev", "eth0", "egress", "pref", "1", "handle", "0x1",
                   "bpf", "da", "pinned", str(program)])  # fmt: skip


def test_row_46_deleted_pins_open_nothing_and_come_back(yard: Yard) -> None:
    with yard.wall() as wall:
        pinned = yard.pinned()
        pins.clear(yard.pin_dir / CURRENT)
        assert not yard.sends()

        (told,) = wall.mend()

        assert told.tamper and "pins were deleted" in told.what
        assert yard.pinned() == pinned
        assert wall.mend() == ()
    with yard.wall() as wall:
        assert wall.adopted and lost(wall) == []


def test_a_detached_link_is_seen_and_put_back(yard: Yard) -> None:
    with yard.wall() as wall:
        pin = next((yard.pin_dir / CURRENT).glob("cgroup_*_egress"))
        with Closing(bpf.obj_get(pin)) as link:
            links.link_detach(link)
        assert lost(wall) == ["dnsfw_cg_egress"]

        assert [told.what.split()[0] for told in wall.mend()] == ["dnsfw_cg_egress"]
        assert lost(wall) == []
        assert wall.mend() == ()


@BOTH
def test_row_36_a_new_device_is_guarded_and_a_gone_one_forgotten(yard: Yard, tcx: bool) -> None:
    with yard.wall(yard.config(tcx=tcx)) as wall:
        yard.here.ip("link add eth1 type veth peer name eth2")
        assert wall.cover(["eth0", "eth1"]) == ("eth1",)
        assert targets(wall.hooks()) >= {"eth0 egress", "eth1 egress", "eth1 ingress"}
        assert lost(wall) == []

        yard.here.ip("link del eth1")
        assert wall.cover(["eth0", "eth1"]) == ()
        assert not targets(wall.hooks()) & {"eth1 egress", "eth1 ingress"}
        assert lost(wall) == []
        assert wall.cover(["eth0"]) == ()


def test_a_device_that_cannot_be_guarded_does_not_keep_the_others_unguarded(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with yard.wall() as wall:
        yard.here.ip("link add odd type veth peer name eth1")
        real = attach.devices.devices
        monkeypatch.setattr(
            attach.devices,
            "devices",
            lambda: tuple(replace(d, layer=None) if d.name == "odd" else d for d in real()),
        )

        with pytest.raises(DatapathError, match="odd has a link type"):
            wall.cover(["eth0", "odd", "eth1"])

        assert targets(wall.hooks()) >= {"eth1 egress"}
        assert not targets(wall.hooks()) & {"odd egress"}
        assert lost(wall) == []


def targets(states: tuple[HookState, ...]) -> set[str]:
    return {state.target for state in states}


def test_a_device_without_frames_gets_the_other_program(yard: Yard) -> None:
    yard.here.ip("tuntap add dev tun0 mode tun")

    with yard.wall(yard.config(interfaces=("tun0",))) as wall:
        names = {state.program for state in wall.hooks() if state.how == "tcx"}

    assert names == {"dnsfw_tc_egress_l3", "dnsfw_tc_ingress_l3"}
