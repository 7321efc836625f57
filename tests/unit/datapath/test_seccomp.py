"""The system call filter: run by a small interpreter here, and by the kernel in a child."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath.seccomp import program
from dnsfw.errors import DatapathError
from tests.support.seccomp import AARCH64, ARM, I386, X86_64, verdict

AF_PACKET, AF_VSOCK, AF_XDP, AF_BLUETOOTH = 17, 40, 44, 31
STREAM, DGRAM, RAW = 1, 2, 3


FILTER = {m: program(m, raw=True, escape=True) for m in ("x86_64", "aarch64")}
SOCKET = {X86_64: 41, I386: 359, AARCH64: 198, ARM: 281}
ARCHES = [("x86_64", X86_64), ("x86_64", I386), ("aarch64", AARCH64), ("aarch64", ARM)]


@pytest.mark.parametrize(("machine", "arch"), ARCHES)
@pytest.mark.parametrize(
    ("family", "kind", "expected"),
    [
        (socket.AF_INET, STREAM | socket.SOCK_CLOEXEC, "allow"),
        (socket.AF_INET6, DGRAM | socket.SOCK_NONBLOCK, "allow"),
        (socket.AF_UNIX, STREAM, "allow"),
        (socket.AF_NETLINK, RAW, "allow"),
        (socket.AF_INET, RAW, "EPERM"),
        (socket.AF_INET6, RAW | socket.SOCK_CLOEXEC, "EPERM"),
        (socket.AF_INET, 10, "EPERM"),
        (AF_PACKET, RAW, "EAFNOSUPPORT"),
        (AF_PACKET, DGRAM, "EAFNOSUPPORT"),
        (AF_VSOCK, STREAM, "EAFNOSUPPORT"),
        (AF_XDP, RAW, "EAFNOSUPPORT"),
        (AF_BLUETOOTH, RAW, "EAFNOSUPPORT"),
    ],
)
def test_row_34_only_sockets_that_can_be_judged(
    machine: str, arch: int, family: int, kind: int, expected: str
) -> None:
    assert verdict(FILTER[machine], arch, SOCKET[arch], family, kind, 0) == expected


@pytest.mark.parametrize(("machine", "arch"), ARCHES)
def test_row_10_io_uring_makes_no_socket_past_the_filter(machine: str, arch: int) -> None:
    assert verdict(FILTER[machine], arch, 425, 8, 0) == "ENOSYS"


def test_only_the_low_half_of_an_argument_counts_as_in_the_kernel() -> None:
    assert verdict(FILTER["x86_64"], X86_64, 41, (1 << 32) | AF_PACKET, RAW) == "EAFNOSUPPORT"


def test_no_other_table_of_numbers_is_a_way_round() -> None:
    code = FILTER["x86_64"]

    assert verdict(code, X86_64, 41 | 0x40000000, AF_PACKET, RAW) == "ENOSYS"  # x32
    assert verdict(code, I386, 102, 1, 0) == "ENOSYS"  # socketcall(SYS_SOCKET, ...)
    assert verdict(code, AARCH64, 198, AF_PACKET, RAW) == "ENOSYS"
    assert verdict(code, X86_64, 435) == "ENOSYS"  # clone3 into another cgroup


def test_what_was_not_asked_for_is_not_filtered() -> None:
    code = program("x86_64", raw=False, escape=True)

    assert verdict(code, X86_64, 41, AF_PACKET, RAW) == "allow"
    assert verdict(program("x86_64", raw=True, escape=False), X86_64, 435) == "allow"


SETNS = {X86_64: 308, I386: 346, AARCH64: 268, ARM: 375}
BY_HANDLE = {X86_64: 304, I386: 342, AARCH64: 265, ARM: 371}


@pytest.mark.parametrize(("machine", "arch"), ARCHES)
def test_no_descriptor_leads_to_another_cgroup(machine: str, arch: int) -> None:
    code = FILTER[machine]

    assert verdict(code, arch, BY_HANDLE[arch], 3, 0, 0) == "EPERM"
    assert verdict(code, arch, SETNS[arch], 3, 0) == "EPERM"  # whatever it is
    assert verdict(code, arch, SETNS[arch], 3, 0x00020000) == "EPERM"  # CLONE_NEWNS
    assert verdict(code, arch, SETNS[arch], 3, 0x40020000) == "EPERM"  # of a pidfd, both
    assert verdict(code, arch, SETNS[arch], 3, 0x40000000) == "allow"  # CLONE_NEWNET
    free = program(machine, raw=True, escape=False)
    assert verdict(free, arch, SETNS[arch], 3, 0) == "allow"


def test_ordinary_calls_pass() -> None:
    assert all(verdict(FILTER["x86_64"], X86_64, nr) == "allow" for nr in (0, 1, 42, 56, 59, 231))


def test_an_unknown_machine_is_the_hosts_lack() -> None:
    with pytest.raises(DatapathError, match="no system call filter for riscv64"):
        program("riscv64", raw=True, escape=False)


CHILD = """
import errno, os, platform, socket, sys
sys.path.insert(0, sys.argv[1])
from dnsfw.datapath.seccomp import install, program
install(program(platform.machine(), raw=True, escape=True))
def tries(*what):
    try:
        socket.socket(*what).close()
        return "made"
    except OSError as error:
        return errno.errorcode[error.errno]
print(tries(socket.AF_INET, socket.SOCK_STREAM), tries(socket.AF_UNIX, socket.SOCK_STREAM),
      tries(17, socket.SOCK_RAW), tries(40, socket.SOCK_STREAM), tries(socket.AF_INET, 3, 1))
pid = os.fork() or os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.execvp("sh", ["sh", "-c", "echo lives on | cat"])
"""


@pytest.mark.skipif(platform.machine() not in FILTER, reason="no filter for this machine")
def test_the_kernel_takes_it_and_children_inherit_it() -> None:
    home = str(Path(sys.modules["dnsfw"].__file__ or "").parents[1])

    done = subprocess.run(
        [sys.executable, "-c", CHILD, home], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    raw = "EPERM"
    expected = f"made made EAFNOSUPPORT EAFNOSUPPORT {raw}"
    assert done.stdout.split("\n")[:3] == [expected, "7", "lives on"], os.environ.get("PATH")
