"""A program in front of a device's stack: taken, replaced, given back, and generic on a veth."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from dnsfw.datapath import bpf, devices, hooks, pins, xdp
from dnsfw.datapath.attach import WallConfig
from dnsfw.datapath.bpf import Program, ProgType
from dnsfw.datapath.change import Change
from dnsfw.datapath.xdp import XdpPlace, driver
from dnsfw.errors import DatapathError
from tests.support.guarded import Yard, open_yard
from tests.support.netlab import Lab


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Two that let every frame pass."""
    made = []
    for number in (1, 2):
        code = struct.pack("=BBhiBBhiBBhi", 0xB7, 1, 0, number, 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
        fd = bpf._load(ProgType.XDP, code, 0, b"dnsfw_pass", "load of a test's program")
        made.append(Program(fd, "dnsfw_answer_xdp", ProgType.XDP, None, bytes(8)))
    yield made
    for program in made:
        os.close(program.fd)


def place() -> XdpPlace:
    device = devices.device("eth0")
    assert device is not None
    return XdpPlace("dnsfw_answer_xdp", device, hooks.netns_number())


def mode(yard: Yard) -> str:
    shown = yard.here.run(["ip", "-o", "link", "show", "dev", "eth0"]).stdout
    return next((word for word in shown.split() if word.startswith("xdp")), "")


def test_it_is_taken_replaced_and_given_back(yard: Yard, programs: list[Program]) -> None:
    held = pins.PinDir(yard.pin_dir)
    directory = held.stage()
    with yard.here.entered():
        there = place()
        with Change() as change:
            there.take(programs[0], directory, change)
        assert there.state(programs[0], directory).attached
        assert mode(yard) == "xdpgeneric"  # what a veth sends back natively may be dropped
        with Change() as change:
            there.take(programs[1], directory, change)
        assert there.state(programs[1], directory).attached
        assert there.state(programs[0], directory).note == "runs another program"

        assert hooks.give_back(directory) == []
    assert mode(yard) == ""
    pins.clear(directory)
    held.release()


def test_a_device_that_has_one_already_is_left_alone(yard: Yard, programs: list[Program]) -> None:
    held = pins.PinDir(yard.pin_dir)
    directory = held.stage()
    with yard.here.entered():
        index = place().device.index
        other = hooks.links.link_create(programs[0].fd, index, 37, flags=2)
        with pytest.raises(DatapathError), Change() as change:
            place().take(programs[1], directory, change)
        os.close(other)
    assert not list(directory.iterdir())
    pins.clear(directory)
    held.release()


def test_who_drives_a_device(yard: Yard) -> None:
    with yard.here.entered():
        assert driver("eth0") == b"veth"
        assert driver("nosuch") == b""


def wall_with_xdp(yard: Yard) -> WallConfig:
    return yard.config(guests=("eth0",), answers=True, xdp=("eth0",), interfaces=())


def test_row_20_a_device_that_carries_vlans_has_none(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start, or from when the first one comes until the last one goes."""
    there: list[str] = []
    monkeypatch.setattr(xdp, "carried_by", lambda index: tuple(there))

    with yard.wall(wall_with_xdp(yard)) as wall:
        assert mode(yard) == "xdpgeneric" and not wall.unanswered
        there.append("eth0.7")
        wall.cover((), ("eth0",))
        assert mode(yard) == ""
        (note,) = wall.unanswered.values()
        assert not note.attached and "eth0.7" in note.note
        assert {hook.program for hook in wall.hooks()} >= {"dnsfw_guest_in", "dnsfw_guest_out"}
        assert all(hook.attached for hook in wall.hooks())

        wall.cover((), ("eth0",))
        assert mode(yard) == ""
        there.clear()
        wall.cover((), ("eth0",))
        assert mode(yard) == "xdpgeneric" and not wall.unanswered
        there.append("eth0.7")
    with yard.wall(wall_with_xdp(yard)) as wall:
        assert mode(yard) == "", "one that an earlier process left goes, too"
        assert wall.unanswered


def test_who_cannot_say_which_vlans_there_are_has_none(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(index: int) -> tuple[str, ...]:
        raise DatapathError("the kernel does not list this host's devices")

    monkeypatch.setattr(xdp, "carried_by", fails)
    with yard.wall(wall_with_xdp(yard)) as wall:
        assert mode(yard) == ""
        assert "does not list" in next(iter(wall.unanswered.values())).note


def test_row_20_what_was_put_above_it_while_no_daemon_ran_is_seen_at_the_start(yard: Yard) -> None:
    """And a real one by the kernel's own list: a macvlan has an address of its own, and a role."""
    above = ["ip", "link", "add", "link", "eth0", "name", "above", "type", "macvlan"]
    with yard.wall(wall_with_xdp(yard)) as wall:
        assert mode(yard) == "xdpgeneric" and not wall.unanswered
    yard.here.run(above)

    with yard.wall(wall_with_xdp(yard)) as wall:
        assert mode(yard) == ""
        (note,) = wall.unanswered.values()
        assert "above" in note.note
        yard.here.run(["ip", "link", "del", "above"])
        wall.cover((), ("eth0",))
        assert mode(yard) == "xdpgeneric" and not wall.unanswered
        yard.here.run(above)
        wall.cover((), ("eth0",))
        assert mode(yard) == ""
