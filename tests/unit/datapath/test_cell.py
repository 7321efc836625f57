"""The list of system calls of our own processes: interpreted here, and by the kernel in a child."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath.cell import _TABLE, COMPILER, WORKER, Cell, program
from dnsfw.errors import DatapathError
from tests.support.seccomp import AARCH64, ARM, I386, X86_64, verdict

MACHINES = [("x86_64", X86_64, 0), ("aarch64", AARCH64, 1)]
CELLS = {"worker": WORKER, "compiler": COMPILER}
# Numbers of calls that lead somewhere, by name.
LEADS = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "accept4": (288, 242),
    "setsockopt": (54, 208), "execve": (59, 221), "execveat": (322, 281), "clone": (56, 220),
    "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131), "ptrace": (101, 117),
    "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "unshare": (272, 97), "setns": (308, 268), "prctl": (157, 167),
    "mount": (165, 40), "open_by_handle_at": (304, 265), "fchmodat": (268, 53),
    "fchownat": (260, 54), "linkat": (265, 37), "symlinkat": (266, 36), "setuid": (105, 146),
    "memfd_create": (319, 279), "userfaultfd": (323, 282), "shmat": (30, 196),
}  # fmt: skip
FILES = ("open", "openat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdirat")


def number(name: str, column: int) -> int | None:
    return (_TABLE.get(name) or LEADS[name])[column]


@pytest.mark.parametrize(("machine", "arch", "column"), MACHINES)
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_listed_is_refused(machine: str, arch: int, column: int, cell: str) -> None:
    code = program(machine, CELLS[cell])

    for name, numbers in LEADS.items():
        assert verdict(code, arch, numbers[column]) == "ENOSYS", name
    listed = {number(name, column) for name in CELLS[cell].calls}
    for nr in range(500):
        assert (verdict(code, arch, nr, 2, 1) == "allow") <= (nr in listed), nr


@pytest.mark.parametrize(("machine", "arch", "column"), MACHINES)
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_listed_passes(machine: str, arch: int, column: int, cell: str) -> None:
    code = program(machine, CELLS[cell])

    for name in CELLS[cell].calls:
        if (nr := number(name, column)) is not None:
            given = [0] * 6
            if (condition := CELLS[cell].only.get(name)) is not None:
                given[condition[0]] = condition[1][-1]
            assert verdict(code, arch, nr, *given) == "allow", name


@pytest.mark.parametrize(("machine", "arch", "column"), MACHINES)
def test_a_worker_opens_nothing_and_writes_to_its_log_alone(
    machine: str, arch: int, column: int
) -> None:
    code = program(machine, WORKER)
    write, mmap, mprotect = (number(name, column) for name in ("write", "mmap", "mprotect"))

    for name in FILES:
        nr = number(name, column)
        assert nr is None or verdict(code, arch, nr) == "ENOSYS", name
    assert verdict(code, arch, write or 0, 2) == "allow"
    assert verdict(code, arch, write or 0, 3) == "ENOSYS"
    assert verdict(code, arch, mmap or 0, 0, 4096, 3) == "allow"
    assert verdict(code, arch, mmap or 0, 0, 4096, 7) == "ENOSYS"
    assert verdict(code, arch, mprotect or 0, 0, 4096, 5) == "ENOSYS"


@pytest.mark.parametrize(("machine", "arch", "column"), MACHINES)
def test_descriptors_of_who_compiles_send_no_signals(machine: str, arch: int, column: int) -> None:
    code = program(machine, COMPILER)
    fcntl, ioctl = number("fcntl", column) or 0, number("ioctl", column) or 0

    assert verdict(code, arch, fcntl, 3, 8) == "ENOSYS"  # F_SETOWN
    assert verdict(code, arch, fcntl, 3, 1030) == "allow"
    assert verdict(code, arch, ioctl, 0, 0x5412) == "ENOSYS"  # TIOCSTI
    assert verdict(code, arch, ioctl, 0, 0x5401) == "allow"


def test_another_table_of_numbers_ends_the_process() -> None:
    for cell in CELLS.values():
        code = program("x86_64", cell)
        assert verdict(code, I386, 4) == "kill"
        assert verdict(code, X86_64, 0x40000000 | 45) == "kill"
        assert verdict(program("aarch64", cell), ARM, 4) == "kill"


def test_an_unknown_machine_is_the_hosts_lack() -> None:
    with pytest.raises(DatapathError, match="no list of system calls for riscv64"):
        program("riscv64", Cell(("read",)))


CHILD = """
import errno, os, mmap, platform, signal, socket, sys
sys.path.insert(0, sys.argv[1])
from dnsfw.datapath import cell
from dnsfw.datapath.seccomp import install
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
install(cell.program(platform.machine(), cell.WORKER))
def tries(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
told = [tries(ours.send, b"x"), tries(theirs.recv, 9), tries(mmap.mmap, -1, 4096)]
told += [
    tries(open, "/etc/hosts"), tries(socket.socket), tries(os.fork), tries(os.kill, 1, 0),
    tries(os.execv, "/bin/true", ["true"]), tries(os.write, ours.fileno(), b"x"),
    tries(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)),
]
os.write(2, " ".join(told).encode())
os._exit(7)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no list")
def test_the_kernel_holds_a_worker_to_it() -> None:
    home = str(Path(sys.modules["dnsfw"].__file__ or "").parents[1])

    done = subprocess.run(
        [sys.executable, "-c", CHILD, home], capture_output=True, text=True, check=False
    )

    assert done.stderr == "done done done" + " ENOSYS" * 7
    assert done.returncode == 7
