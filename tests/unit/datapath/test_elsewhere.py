"""Links on lo of other namespaces, with the system calls played."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath import bpf, elsewhere, links, pins
from dnsfw.datapath.bpf import Program
from dnsfw.datapath.links import LinkInfo
from dnsfw.datapath.syscall import BpfError, ProgType


class Kernel:
    """Links by number; a pin is a file with that number in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.links: dict[int, tuple[int, int]] = {}  # program, device
        monkeypatch.setattr(bpf, "obj_get", self._get)
        monkeypatch.setattr(pins, "pin", lambda fd, path: path.write_text(str(fd)))
        monkeypatch.setattr(links, "link_info", lambda fd: LinkInfo(*self.links[fd]))
        monkeypatch.setattr(links, "link_update", self._update)
        monkeypatch.setattr(links, "link_detach", self._detach)
        monkeypatch.setattr("os.close", lambda fd: None)

    def _get(self, path: Path) -> int:
        if not path.exists():
            raise BpfError("open a pin", 2)
        return int(path.read_text())

    def _update(self, fd: int, program: int) -> None:
        self.links[fd] = (program, self.links[fd][1])

    def _detach(self, fd: int) -> None:
        program, device = self.links[fd]
        if not device:
            raise BpfError("detach a link", 67)
        self.links[fd] = (program, 0)

    def attach(self, program: int) -> int:
        number = 100 + len(self.links)
        self.links[number] = (program, 1)
        return number


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def program(fd: int) -> Program:
    return Program(fd, "dnsfw_answer_lo", ProgType.SCHED_CLS, None, b"")


def test_the_next_process_puts_its_program_into_the_link_that_is_there(
    kernel: Kernel, tmp_path: Path
) -> None:
    elsewhere.answer_there(tmp_path, 7, program(5), kernel.attach)
    elsewhere.answer_there(tmp_path, 7, program(6), kernel.attach)

    assert kernel.links == {100: (6, 1)}
    assert [pin.name for pin in tmp_path.iterdir()] == ["lo_7"]


def test_a_namespace_of_a_number_that_came_again_has_a_link_of_its_own(
    kernel: Kernel, tmp_path: Path
) -> None:
    elsewhere.answer_there(tmp_path, 7, program(5), kernel.attach)
    kernel.links[100] = (5, 0)  # what it stood on is gone

    elsewhere.answer_there(tmp_path, 7, program(6), kernel.attach)

    assert (tmp_path / "lo_7").read_text() == "101"


def test_those_that_are_not_wanted_go_at_once_and_nothing_else_does(
    kernel: Kernel, tmp_path: Path
) -> None:
    for number in (7, 8, 9):
        elsewhere.answer_there(tmp_path, number, program(5), kernel.attach)
    (tmp_path / "tcx_7_1_egress").write_text("0")
    kernel.links[102] = (5, 0)

    elsewhere.leave_others(tmp_path, {8})

    assert sorted(pin.name for pin in tmp_path.iterdir()) == ["lo_8", "tcx_7_1_egress"]
    assert kernel.links == {100: (5, 0), 101: (5, 1), 102: (5, 0)}
