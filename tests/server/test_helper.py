"""The privileged process, for real: what it does, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath import abi, bpf, links
from dnsfw.datapath.abi import Rank
from dnsfw.datapath.askers import netns_cookie_of
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.process import Process
from dnsfw.datapath.syscall import AttachType
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import RoleId
from dnsfw.server.address import parse_endpoint
from dnsfw.server.helper import Executable, NoHelper, Privileged, Wanted, start_helper
from dnsfw.server.helper_roles import refuse_vital
from tests.support.netlab import Lab, wait_until

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]  # fmt: skip
WEB, JOBS = RoleId(20), RoleId(21)
# A process that does what its stdin says, a line each, and answers a line each.
OBEDIENT = """
import os, socket, subprocess, sys
kept = {}
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class Obedient:
    """A Python in a cgroup that evaluates what it is told."""

    def __init__(self, lab: Lab, cgroup: Path) -> None:
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        self.process = subprocess.Popen(
            ["sh", "-c", enter, str(cgroup), sys.executable, "-c", OBEDIENT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lab.closing(self.close)
        assert self.do("1") == "1"

    @property
    def pid(self) -> int:
        return self.process.pid

    def do(self, what: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    made = LibbpfBackend().load({})
    yield made
    made.close()


@pytest.fixture
def helper() -> Iterator[Privileged]:
    made = start_helper()
    assert isinstance(made, Privileged)
    yield made
    made.close()


def where(pid: int) -> str:
    (line,) = [x for x in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if x[:3] == "0::"]
    return line[3:]


def row(loaded: Loaded, cgroup: Path) -> tuple[int, int] | None:
    raw = loaded.maps["dnsfw_cgroups"].lookup(cgroup.stat().st_ino.to_bytes(8, "little"))
    return None if raw is None else tuple(abi.Subject.unpack(raw))


@pytest.fixture
def guard(lab: Lab, loaded: Loaded, helper: Privileged) -> Path:
    """A guarded cgroup that the helper knows."""
    path = lab.cgroup().path
    maps = loaded.maps
    helper.tables(maps["dnsfw_cgroups"].fd, maps["dnsfw_socks"].fd, str(path))
    (path / "unit").mkdir()
    return path


def test_enrolled_process_is_in_the_roles_cgroup_and_its_children_too(
    lab: Lab, loaded: Loaded, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    process.do("kept.setdefault(1, subprocess.Popen(['sleep', '60'])).pid")
    child = int(process.do("kept[1].pid"))
    stranger = Obedient(lab, guard / "unit")

    done = helper.enroll(process.pid, WEB, "web")

    role = guard / "unit" / "dnsfw-web"
    assert done.cgroup.endswith("/unit/dnsfw-web") and done.number == role.stat().st_ino
    assert set(done.pids) == {process.pid, child}
    assert where(process.pid).endswith("/dnsfw-web") and where(child).endswith("/dnsfw-web")
    later = int(process.do("kept.setdefault(2, subprocess.Popen(['sleep', '60'])).pid"))
    assert where(later).endswith("/dnsfw-web")
    assert where(stranger.pid).endswith("/unit")
    assert row(loaded, role) == (WEB, Rank.ENROLLED)


def test_sockets_that_it_holds_get_the_role(
    lab: Lab, loaded: Loaded, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    process.do("kept.setdefault('l', socket.create_server(('127.0.0.1', 0))).fileno()")
    process.do("kept.setdefault('c', socket.create_connection(kept['l'].getsockname())).fileno()")
    process.do("kept.setdefault('a', kept['l'].accept()[0]).fileno()")
    process.do("kept.setdefault('u', socket.socket(type=socket.SOCK_DGRAM)).fileno()")

    done = helper.enroll(process.pid, WEB, "web")

    assert len(done.sockets) == 4
    assert [s.outgoing for s in done.sockets if s.port] in ([True, False], [False, True])
    with socket.socket(fileno=_taken(process, "u")) as sock:
        raw = loaded.maps["dnsfw_socks"].lookup(sock.fileno().to_bytes(4, "little"))
    assert raw is not None
    assert abi.Sock.unpack(raw).role == WEB and abi.Sock.unpack(raw).pid == process.pid


def test_a_connection_is_ended_at_once_and_the_others_live(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    process.do("kept.setdefault('l', socket.create_server(('127.0.0.1', 0))).fileno()")
    for name in "xy":
        process.do(f"kept.setdefault('{name}', socket.create_connection(kept['l'].getsockname()))")
    x = int(process.do("kept['x'].fileno()"))
    done = helper.enroll(process.pid, WEB, "web")

    assert helper.end_sockets([s for s in done.sockets if s.fd == x]) == 1

    assert process.do("kept['x'].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)") == "103"
    assert process.do("kept['y'].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)") == "0"


def test_a_socket_with_another_cookie_is_not_ended(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    process.do("kept.setdefault('l', socket.create_server(('127.0.0.1', 0))).fileno()")
    process.do("kept.setdefault('c', socket.create_connection(kept['l'].getsockname())).fileno()")
    done = helper.enroll(process.pid, WEB, "web")
    process.do("kept['c'].close() or kept.update(c=socket.create_connection("
               "kept['l'].getsockname()))")  # fmt: skip

    assert helper.end_sockets([s for s in done.sockets if s.outgoing and s.port]) == 0
    assert process.do("kept['c'].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)") == "0"


def test_sockets_that_others_hold_too_are_told(lab: Lab, helper: Privileged, guard: Path) -> None:
    process = Obedient(lab, guard / "unit")
    process.do("kept.setdefault('u', socket.socket(type=socket.SOCK_DGRAM)).fileno()")
    with socket.socket(fileno=_taken(process, "u")):
        done = helper.enroll(process.pid, WEB, "web")

    assert [s.shared for s in done.sockets] == [True]
    assert "1 of the sockets are held by processes outside the role too" in done.notes


def test_unenrolled_process_is_where_it_was(
    lab: Lab, loaded: Loaded, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    helper.enroll(process.pid, WEB, "web")

    done = helper.unenroll(process.pid)

    assert where(process.pid).endswith("/unit") and done.role == abi.RoleId.HOST
    assert not (guard / "unit" / "dnsfw-web").exists()
    with pytest.raises(ConfigError, match="is in no cgroup that dnsfw made"):
        helper.unenroll(process.pid)


def test_enrolled_again_it_has_the_other_role_beside_the_first(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    helper.enroll(process.pid, WEB, "web")

    helper.enroll(process.pid, JOBS, "jobs")

    assert where(process.pid).endswith("/unit/dnsfw-jobs")


def test_a_process_outside_of_what_is_guarded_comes_in(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    outside = lab.cgroup("outside").path
    process = Obedient(lab, outside)

    done = helper.enroll(process.pid, WEB, "web")

    assert where(process.pid) == f"/{guard.name}/dnsfw/web"
    assert "was in" in done.notes[0] and "not guarded" in done.notes[0]
    helper.unenroll(process.pid)
    assert where(process.pid) == f"/{outside.name}"
    assert not (guard / "dnsfw").exists()


def test_a_unit_that_is_not_delegated_wants_force(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    unit = guard / "nginx.service"
    unit.mkdir()
    process = Obedient(lab, unit)

    with pytest.raises(ConfigError, match=r"not delegated.*cgroup: nginx.service.*--force"):
        helper.enroll(process.pid, WEB, "web")
    assert where(process.pid).endswith("/nginx.service")
    helper.enroll(process.pid, WEB, "web", force=True)

    assert where(process.pid).endswith("/nginx.service/dnsfw-web")


@pytest.mark.parametrize("attribute", ["user.delegate", "trusted.delegate"])
def test_a_delegated_unit_is_divided_without_asking(
    lab: Lab, helper: Privileged, guard: Path, attribute: str
) -> None:
    unit = guard / "docker-0.scope"
    unit.mkdir()
    os.setxattr(unit, attribute, b"1")
    process = Obedient(lab, unit)

    helper.enroll(process.pid, WEB, "web")

    assert where(process.pid).endswith("/docker-0.scope/dnsfw-web")


def test_row_42_a_unit_that_a_user_owns_can_be_left_and_the_operator_hears_it(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    unit = guard / "user@1000.service"
    unit.mkdir()
    os.chown(unit, 1000, 1000)
    process = Obedient(lab, unit)

    done = helper.enroll(process.pid, WEB, "web")

    assert "user 1000 owns" in done.notes[0] and "may move its processes out" in done.notes[0]


def test_row_42_an_ordinary_user_cannot_leave_the_roles_cgroup(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    process = Obedient(lab, guard / "unit")
    helper.enroll(process.pid, WEB, "web")
    process.do("os.setgid(65534) or os.setuid(65534)")

    for target in (guard / "unit", guard, lab.cgroup("elsewhere").path):
        procs = str(target / "cgroup.procs")
        assert process.do(f"open({procs!r}, 'w').write('0')") == "PermissionError"

    assert where(process.pid).endswith("/unit/dnsfw-web")


def test_a_cgroup_of_the_same_name_that_is_not_ours_is_left_alone(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    theirs = guard / "unit" / "dnsfw-web"
    theirs.mkdir()
    Obedient(lab, theirs)
    process = Obedient(lab, guard / "unit")

    with pytest.raises(DatapathError, match="is not dnsfw's"):
        helper.enroll(process.pid, WEB, "web")


@pytest.mark.parametrize("pid", [1, 2, "we", "our parent"])
def test_vital_processes_are_refused(pid: int | str) -> None:
    """The check alone: were it broken, the whole of it would move this machine's init."""
    number = {"we": os.getpid(), "our parent": os.getppid()}.get(str(pid), pid)
    with Process(int(number)) as process, pytest.raises(ConfigError, match="not for enrolling"):
        refuse_vital(process)


def test_a_process_that_is_not_there(helper: Privileged, guard: Path) -> None:
    with pytest.raises(ConfigError, match="there is no process"):
        helper.enroll(4194304, WEB, "web")


@pytest.mark.parametrize(
    ("role", "name"),
    [(WEB, "../../x"), (WEB, "a.b"), (WEB, ""), (WEB, "x" * 33), (RoleId(1), "web"),
     (RoleId(256), "web"), (RoleId(-1), "web")],
)  # fmt: skip
def test_the_helper_believes_no_role_that_a_policy_cannot_have(
    lab: Lab, helper: Privileged, guard: Path, role: RoleId, name: str
) -> None:
    process = Obedient(lab, guard / "unit")

    with pytest.raises(DatapathError, match="helper: "):
        helper.enroll(process.pid, role, name)

    assert where(process.pid).endswith("/unit")


def test_sockets_of_another_network_namespace(lab: Lab, helper: Privileged) -> None:
    there = lab.namespace("there")
    process = there.start(["sleep", "60"])
    wait_until(lambda: _netns(process.pid) != _netns(os.getpid()))
    wanted = [
        Wanted("udp", parse_endpoint("127.0.0.54:53")), Wanted("tcp", parse_endpoint("[::1]:53")),
    ]  # fmt: skip

    fds = helper.sockets_in(process.pid, wanted)

    with socket.socket(fileno=fds[0]) as udp, socket.socket(fileno=fds[1]) as tcp:
        assert udp.getsockname() == ("127.0.0.54", 53) and udp.type == socket.SOCK_DGRAM
        assert tcp.getsockname()[:2] == ("::1", 53) and not tcp.get_inheritable()
        listing = there.run(["ss", "-Hlun"]).stdout
    assert "127.0.0.54:53" in listing
    with pytest.raises(ConfigError, match="there is no process"):
        helper.sockets_in(4194304, wanted)


def test_sockets_there_are_made_all_or_none(lab: Lab, helper: Privileged) -> None:
    there = lab.namespace("there")
    process = there.start(["sleep", "60"])
    wait_until(lambda: _netns(process.pid) != _netns(os.getpid()))
    good, bad = Wanted("udp", parse_endpoint("127.0.0.54:53")), parse_endpoint("9.9.9.9:53")

    with pytest.raises(DatapathError, match="on loopback only"):
        helper.sockets_in(process.pid, [good, Wanted("udp", bad)])

    assert not there.run(["ss", "-Hlun"]).stdout
    assert len(helper.sockets_in(process.pid, [good])) == 1


def test_a_program_stands_on_lo_of_another_namespace_as_long_as_its_link(
    lab: Lab, helper: Privileged
) -> None:
    there = lab.namespace("there")
    with there.entered():
        network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    program = bpf.load_drop()

    link = helper.answer_in(network, program)

    with there.entered():
        assert len(links.prog_query(1, AttachType.TCX_EGRESS)) == 1
        os.close(link)  # the helper lets go of its own a moment after it has sent it
        wait_until(lambda: links.prog_query(1, AttachType.TCX_EGRESS) == ())
    with pytest.raises(DatapathError, match="cannot enter the network namespace"):
        helper.answer_in(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), program)
    os.close(network)
    os.close(program)


def test_somebody_at_home_is_found_in_each_namespace_that_is_asked_for(
    lab: Lab, helper: Privileged
) -> None:
    there = lab.namespace("there")
    process = there.start(["sleep", "60"])
    wait_until(lambda: _netns(process.pid) != _netns(os.getpid()))
    empty = lab.namespace("empty")
    with there.socket(socket.AF_INET, socket.SOCK_DGRAM) as a:
        wanted = netns_cookie_of(a.fileno())
    with empty.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
        nobody = netns_cookie_of(b.fileno())

    assert helper.homes([wanted, nobody]) == {wanted: process.pid}
    assert helper.alive


def test_a_program_of_a_role_is_in_it_before_its_first_instruction(
    lab: Lab, loaded: Loaded, helper: Privileged, guard: Path
) -> None:
    program = _program(lab, "program")
    other = lab.scratch / "copy"
    other.write_bytes(program.read_bytes())
    other.chmod(0o755)
    assert helper.watch_executables([Executable(str(program), WEB, "web")]) == ()
    process = Obedient(lab, guard / "unit")

    def run(path: Path) -> str:
        return process.do(
            f"subprocess.run([{str(path)!r}, '/proc/self/cgroup'], capture_output=True, "
            "text=True).stdout.splitlines()[-1]"
        )

    assert run(program).endswith("/unit/dnsfw-exec.web")
    assert row(loaded, guard / "unit" / "dnsfw-exec.web") == (WEB, Rank.EXECUTABLE)
    assert run(other).endswith("/unit")  # a copy is another program
    (lab.scratch / "link").hardlink_to(program)
    assert run(lab.scratch / "link").endswith("/unit/dnsfw-exec.web")
    assert where(process.pid).endswith("/unit")  # only who runs it
    assert any(t.kind == "enrolled" and str(program) in t.text for t in helper.told())


def test_a_program_in_a_cgroup_that_the_policy_names_stays_there(
    lab: Lab, loaded: Loaded, helper: Privileged, guard: Path
) -> None:
    """Deepest cgroup before executable: the order of the policy."""
    program = _program(lab, "program")
    number = (guard / "unit").stat().st_ino
    loaded.maps["dnsfw_cgroups"].update(
        number.to_bytes(8, "little"), abi.Subject(JOBS, Rank.CGROUP).pack()
    )
    helper.watch_executables([Executable(str(program), WEB, "web")])
    process = Obedient(lab, guard / "unit")

    said = process.do(
        f"subprocess.run([{str(program)!r}, '/proc/self/cgroup'], capture_output=True, "
        "text=True).stdout.splitlines()[-1]"
    )

    assert said.endswith("/unit")


def test_programs_that_start_each_other_do_not_nest(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    a, b = _program(lab, "a", "/bin/sh"), _program(lab, "b")
    helper.watch_executables([Executable(str(a), WEB, "web"), Executable(str(b), JOBS, "jobs")])
    process = Obedient(lab, guard / "unit")

    said = process.do(
        f"[x for x in subprocess.run([{str(a)!r}, '-c', 'cat /proc/self/cgroup; {b} "
        "/proc/self/cgroup'], capture_output=True, text=True).stdout.split() if x[:3] == '0::']"
    )

    first, second = eval(said)
    assert first.endswith("/unit/dnsfw-exec.web")  # inherited by what it runs
    assert second.endswith("/unit/dnsfw-exec.jobs")


def test_a_program_that_is_replaced_is_watched_again(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    program = lab.scratch / "program"
    assert helper.watch_executables([Executable(str(program), WEB, "web")]) == (str(program),)
    process = Obedient(lab, guard / "unit")
    run = (
        f"subprocess.run([{str(program)!r}, '/proc/self/cgroup'], capture_output=True, "
        "text=True).stdout.splitlines()[-1]"
    )
    for _ in range(2):
        _program(lab, "new").rename(program)

        wait_until(lambda: process.do(run).endswith("/unit/dnsfw-exec.web"))


def test_a_program_that_nobody_can_move_is_not_run(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    program = _program(lab, "program")
    theirs = guard / "unit" / "dnsfw-exec.web"
    theirs.mkdir()
    Obedient(lab, theirs)  # somebody else's cgroup, in our way
    helper.watch_executables([Executable(str(program), WEB, "web")])
    process = Obedient(lab, guard / "unit")

    refused = process.do(f"subprocess.run([{str(program)!r}, '/dev/null'])")

    assert refused == "PermissionError"
    assert any(t.kind == "trouble" and "exec refused" in t.text for t in helper.told())


def test_a_dead_watcher_hangs_nobody(lab: Lab, helper: Privileged, guard: Path) -> None:
    program = _program(lab, "program")
    helper.watch_executables([Executable(str(program), WEB, "web")])
    os.kill(helper.pid, signal.SIGSTOP)
    held = subprocess.Popen(["sh", "-c", f"exec {program} /dev/null"])
    with pytest.raises(subprocess.TimeoutExpired):
        held.wait(0.2)  # it is really held

    os.kill(helper.pid, signal.SIGKILL)

    assert held.wait(5) == 0
    assert [t.kind for t in _until_told(helper)] == ["lost"]
    assert not helper.alive and "until dnsfw is restarted" in helper.lost
    with pytest.raises(DatapathError, match="the wall stands as before"):
        helper.enroll(os.getpid(), WEB, "web")


def test_everybody_is_back_when_it_is_all_over(
    lab: Lab, helper: Privileged, guard: Path
) -> None:
    inside, outside = Obedient(lab, guard / "unit"), Obedient(lab, lab.cgroup("outside").path)
    helper.enroll(inside.pid, WEB, "web")
    helper.enroll(outside.pid, WEB, "web")

    helper.dissolve()

    assert where(inside.pid).endswith("/unit")
    assert where(outside.pid) in {"/", f"/{guard.name}"}
    assert {p.name for p in guard.rglob("*") if p.is_dir()} == {"unit"}


def test_the_helper_keeps_six_capabilities_and_nothing_of_the_daemon(helper: Privileged) -> None:
    with pytest.raises(DatapathError):
        helper.relabel([1], WEB)  # it answers: it has settled
    status = Path(f"/proc/{helper.pid}/status").read_text()
    capabilities = int(status.partition("CapPrm:")[2].split()[0], 16)

    assert capabilities.bit_count() == 6 and capabilities >> 21 & 1
    assert int(status.partition("CapBnd:")[2].split()[0], 16) == 0
    assert status.partition("NoNewPrivs:")[2].split()[0] == "1"
    opened = {str(p.readlink()) for p in Path(f"/proc/{helper.pid}/fd").iterdir()}
    assert len(opened) == 3 and "/dev/null" in opened
    assert _netns(helper.pid) != _netns(os.getpid())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_helper_ends_with_its_parent(how: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1])\n"
         "from dnsfw.server.helper import start_helper\n"
         "h = start_helper(); print(h.pid, flush=True); input()",
         str(Path(__file__).resolve().parents[2])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, signal.SIGTERM)  # a Ctrl-C, or systemd, ends the parent, which ends us
    assert Path(f"/proc/{pid}").exists()

    parent.send_signal(how)
    parent.communicate()

    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_without_the_right_to_it_there_is_no_helper_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfw.server.helper.held", frozenset)

    helper = start_helper()

    assert isinstance(helper, NoHelper) and "CAP_SYS_ADMIN" in helper.lost
    assert helper.watch_executables([]) == ()
    with pytest.raises(DatapathError, match="start dnsfw as root"):
        helper.watch_executables([Executable("/bin/true", WEB, "web")])


def _taken(process: Obedient, name: str) -> int:
    with Process(process.pid) as held:
        return held.descriptor(int(process.do(f"kept[{name!r}].fileno()")))


def _program(lab: Lab, name: str, source: str = "/bin/cat") -> Path:
    program = lab.scratch / name
    program.write_bytes(Path(source).resolve().read_bytes())
    program.chmod(0o755)
    return program


def _netns(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _until_told(helper: Privileged) -> list[object]:
    told: list[object] = []
    wait_until(lambda: told.extend(helper.told()) or told)
    return told
