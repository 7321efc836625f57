"""`dnsfw run`: what a command may reach, how it ends, and that nothing is left."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import dnsfw_argv
from tests.support.netlab import Capture, wait_until
from tests.support.running_command import Runs
from tests.support.world import World

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

WWW = "www.example.com"
FETCH = f"curl -sS --max-time 5 http://{WWW}/"
NEVER = "203.0.113.9"

# The first thing it does is connect(2): no libc, no loader, nothing before it.
FIRST = r"""
#include <stddef.h>
struct in { unsigned short family, port; unsigned char addr[4]; char zero[8]; };
static long call(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
void _start(void)
{
	struct in to = { 2, 0x5000, { 203, 0, 113, 9 }, { 0 } };
	long fd = call(41, 2, 1, 0);
	long done = call(42, fd, (long)&to, sizeof(to));
	call(60, done == -1 ? 41 : 42, 0, 0);
}
"""


def is_gone(pid: int) -> bool:
    """Dead; perhaps not buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def runs(world: World) -> Runs:
    return Runs(world)


def test_an_allowed_name_is_reached_and_another_is_refused(runs: Runs) -> None:
    done = runs.sh(f"{FETCH}; curl -sS --max-time 5 http://{WWW}:8080/; true",
                   "--allow", f"{WWW}:80")

    assert done.code == 0
    assert "hello from" in done.out
    assert runs.left_nothing()


def test_a_refused_name_goes_nowhere_and_the_summary_says_who_asked(runs: Runs) -> None:
    done = runs.sh("curl -sS --max-time 5 http://other.example.net/", "--allow", f"{WWW}:80")

    assert done.code == 6  # curl: could not resolve
    assert not runs.world.internet.asked("other.example.net")
    (row,) = done.rows
    assert (row["name"], row["command"], row["reason"]) == (
        "other.example.net", "curl", "name-default"
    )
    assert "--allow other.example.net" in done.err


def test_a_bare_address_is_refused_at_once_and_told_with_its_port(runs: Runs) -> None:
    done = runs.sh(f"curl -sS --max-time 5 http://{NEVER}/", "--allow", f"{WWW}:80")

    assert done.code == 7
    (row,) = done.rows
    assert (row["addresses"], row["port"], row["protocol"]) == ([NEVER], 80, "tcp")
    assert f"1x  {NEVER}:80/tcp  never-resolved  curl[{row['pid']}]" in done.err
    assert f"  --allow {NEVER}:80/tcp" in done.err


def test_a_wrong_port_of_an_allowed_name_is_told_by_the_name(runs: Runs) -> None:
    done = runs.sh(f"curl -sS --max-time 5 http://{WWW}:8080/", "--allow", f"{WWW}:80")

    rows = [row for row in done.rows if row["protocol"] == "tcp"]
    assert {(row["name"], row["port"], row["reason"]) for row in rows} == {
        (WWW, 8080, "wrong-port")
    }


def test_only_these_prefixes(runs: Runs) -> None:
    done = runs.sh("curl -sS --max-time 5 http://203.0.113.5/; "
                   "curl -sS --max-time 5 http://198.51.100.10/",
                   "--allow", "203.0.113.0/24:80")

    assert "hello from" in done.out
    assert done.code == 7


def test_no_outbound_network_at_all(runs: Runs) -> None:
    with Capture(runs.world.host, "eth0") as capture:
        done = runs.sh(f"{FETCH}; curl -sS --max-time 5 http://{NEVER}/; echo still runs",
                       "--default", "deny")

        assert done.out == "still runs\n"
        assert not capture.to(NEVER)
        assert not runs.world.internet.asked(WWW)


def test_only_these_names_and_the_rest_of_the_host_is_as_before(runs: Runs) -> None:
    command = runs.start("--allow", f"{WWW}:80", command=["sleep", "60"])
    wait_until(lambda: runs.cgroups(), what="its cgroup")

    beside = runs.guest.run(["curl", "-sS", "--max-time", "5", f"http://{NEVER}/"])

    assert "hello from" in beside.stdout
    command.send_signal(signal.SIGTERM)
    assert command.wait(20) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)],
)
def test_the_exit_status_is_the_commands(runs: Runs, script: str, status: int) -> None:
    assert runs.sh(script, "--default", "deny").code == status


def test_a_command_that_is_not_there_or_no_program_is_said(runs: Runs) -> None:
    missing = runs.run("--default", "deny", command=["no-such-command"])
    data = runs.file("data.txt", "no program")
    no_program = runs.run("--default", "deny", command=[str(data)])

    assert missing.code == 127
    assert "dnsfw: no-such-command: No such file or directory" in missing.err
    assert no_program.code == 126
    assert "Permission denied" in no_program.err


def test_a_script_without_an_interpreter_line_runs_as_in_a_shell(runs: Runs) -> None:
    script = runs.file("script", "echo from $0 $1\n")
    script.chmod(0o755)

    assert runs.run("--default", "deny", command=[str(script), "x"]).out == f"from {script} x\n"


def test_stdin_stdout_and_stderr_are_the_commands_own(runs: Runs) -> None:
    argv = runs.argv("--default", "deny", command=["sh", "-c", "cat; echo oops >&2"])
    done = subprocess.run(
        ["nsenter", f"--net={runs.world.host.path}", "--", *runs.guest.argv(argv)],
        input="through\n", capture_output=True, text=True, env=runs.environment, timeout=60,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("through\n", "oops\n")


def test_the_environment_is_kept(runs: Runs) -> None:
    runs.environment |= {"NOTIFY_SOCKET": "/nowhere", "COLOUR": "blue"}

    done = runs.sh("echo $COLOUR $NOTIFY_SOCKET $DNSFW_PIN_DIR", "--default", "deny")

    assert done.out.split() == ["blue", "/nowhere", runs.environment["DNSFW_PIN_DIR"]]


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_signals_sent_to_us_reach_the_command(runs: Runs, name: str) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal(signal.SIG{name}, lambda *_: (print('heard', flush=True), sys.exit(5)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    run = runs.start("--default", "deny", "-q", command=[sys.executable, "-c", code])
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"

    run.send_signal(getattr(signal, f"SIG{name}"))

    assert run.wait(20) == 5
    assert run.stdout.read() == "heard\n"


def test_the_whole_tree_ends_with_the_command(runs: Runs) -> None:
    mark = runs.lab.scratch / "pid"

    done = runs.sh(
        f"setsid sh -c 'echo $$ > {mark}; trap \"\" TERM HUP; while :; do sleep 1; done' "
        f">/dev/null 2>&1 & while [ ! -s {mark} ]; do :; done",
        "--default", "deny",
    )

    assert done.code == 0
    assert is_gone(int(mark.read_text()))
    assert runs.left_nothing()


def test_cgroups_that_the_command_made_go_with_it(runs: Runs) -> None:
    done = runs.python(
        "import os, pathlib, time\n"
        "own = open('/proc/self/cgroup').read().rpartition('0::')[2].strip()\n"
        "top = next(l.split()[1] for l in open('/proc/mounts') if ' cgroup2 ' in l)\n"
        "child = pathlib.Path(top + own) / 'inner'\n"
        "child.mkdir()\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(60)\n"
        "(child / 'cgroup.procs').write_text(str(pid))\n"
        "print(child.exists())",
        options=("--default", "deny"),
    )

    assert done.out == "True\n"
    assert runs.left_nothing()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_first_instruction_is_guarded(runs: Runs) -> None:
    source = runs.file("first.c", FIRST)
    program = source.with_suffix("")
    build = ["gcc", "-nostdlib", "-static", "-O1", "-o", str(program), str(source)]
    subprocess.run(build, check=True, capture_output=True)

    for _ in range(3):
        assert runs.run("--allow", f"{WWW}:80", command=[str(program)]).code == 41  # EPERM
    assert runs.run("--allow", NEVER, command=[str(program)]).code == 42


def test_two_runs_at_once_each_have_their_own_policy(runs: Runs) -> None:
    script = f"{FETCH}; curl -sS --max-time 5 http://{NEVER}/"
    go = runs.lab.scratch / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.05; done; {script}"
    one = runs.start("--allow", f"{WWW}:80", "-q", command=["sh", "-c", wait])
    two = runs.start("--allow", f"{NEVER}:80", "-q", command=["sh", "-c", wait])
    wait_until(lambda: len(runs.cgroups()) == 2, what="two cgroups")

    go.touch()

    first, second = one.communicate(timeout=30)[0], two.communicate(timeout=30)[0]
    assert f"hello from {NEVER}" not in first
    assert "hello from" in first
    assert f"hello from {NEVER}" in second
    assert second.count("hello from") == 1
    assert runs.left_nothing()


def test_row_48_kill_9_ends_the_tree_before_the_wall_goes(runs: Runs) -> None:
    attempts = (
        "import socket, time\n"
        "while True:\n"
        f"    s = socket.socket(); s.settimeout(0.2)\n"
        f"    try: s.connect(('{NEVER}', 80))\n"
        "    except OSError: pass\n"
        "    s.close()\n"
    )
    with Capture(runs.world.host, "eth0") as capture:
        run = runs.start("--default", "deny", command=[sys.executable, "-c", attempts])
        wait_until(lambda: runs.cgroups(), what="its cgroup")
        procs = runs.cgroup.path / runs.cgroups()[0] / "cgroup.procs"
        wait_until(lambda: procs.read_text(), what="the command")
        pid = int(procs.read_text().split()[0])

        run.kill()
        run.wait(10)

        wait_until(lambda: is_gone(pid), what="the end of the command")
        wait_until(runs.left_nothing, what="the guard's work")
        assert not capture.to(NEVER)


def test_row_42_an_ordinary_user_cannot_leave_the_cgroup(runs: Runs) -> None:
    done = runs.sh(
        "top=$(awk '$3 == \"cgroup2\" {print $2; exit}' /proc/mounts); "
        "id -u; id -G; echo $$ 2>/dev/null > $top/cgroup.procs || echo kept",
        "--default", "deny", "--user", "nobody",
    )

    assert done.out.split()[0] == "65534"
    assert done.out.split()[-1] == "kept"


LEAVE = """
import ctypes, os, pathlib, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def tried(what, act):
    try:
        print(what, act())
    except OSError as error:
        print(what, "kept")
def move(top):
    (pathlib.Path(top) / "cgroup.procs").write_text(str(os.getpid()))
    return pathlib.Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
tops = [l.split()[1] for l in open("/proc/mounts") if " cgroup2 " in l]
for top in tops:
    tried("write", lambda: move(top) == "/" and "kept")
tried("init", lambda: move("/proc/1/root" + (tops or ["/sys/fs/cgroup"])[0]))
def mount():
    os.makedirs("/tmp/dnsfw-mnt", exist_ok=True)
    if libc.mount(b"none", b"/tmp/dnsfw-mnt", b"cgroup2", 0, None):
        raise OSError(ctypes.get_errno(), "mount")
    return "mounted"
tried("mount", mount)
def setns():
    if libc.setns(os.open("/proc/1/ns/cgroup", os.O_RDONLY), 0):
        raise OSError(ctypes.get_errno(), "setns")
    return "left"
tried("setns", setns)
def clone3():
    if libc.syscall(435, None, 0) == -1 and ctypes.get_errno() == 38:
        return "kept"
    return "there"
tried("clone3", clone3)
"""


# Descriptors that lead out without a path: a handle of a cgroup outside, and the mount
# namespaces that the kernel lists one after the other (nsfs, Linux 6.12).
LEAVE_BY_DESCRIPTOR = """
import ctypes, fcntl, os, platform, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
BY_HANDLE = {"x86_64": 304, "aarch64": 265}[platform.machine()]
NS_MNT_GET_NEXT, NS_MNT_GET_PREV = 0x8010B70B, 0x8010B70C
outside = int(sys.argv[1])
top = next(l.split()[1] for l in open("/proc/mounts") if " cgroup2 " in l)
handle = ctypes.create_string_buffer(struct.pack("=IiQ", 8, 0xFE, outside), 16)
fd = libc.syscall(BY_HANDLE, os.open(top, os.O_RDONLY), handle, os.O_RDONLY)
try:
    os.write(os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd), b"%d" % os.getpid())
    print("handle left")
except OSError:
    print("handle kept")
here = os.open("/proc/self/ns/mnt", os.O_RDONLY)
for step in (NS_MNT_GET_NEXT, NS_MNT_GET_PREV):
    at, moved = here, 0
    while True:
        try:
            at = fcntl.ioctl(at, step, bytearray(16))
        except OSError:
            break
        for kind in (0, 0x00020000):
            moved += libc.setns(at, kind) == 0
    print("namespace", "left" if moved else "kept")
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="numbers of system calls"
)
def test_row_42_with_no_escape_no_descriptor_leads_root_out(runs: Runs) -> None:
    outside = str(runs.cgroup.path.stat().st_ino)

    done = runs.python(LEAVE_BY_DESCRIPTOR, outside, options=("--default", "deny", "--no-escape"))
    control = runs.python(LEAVE_BY_DESCRIPTOR, outside, options=("--default", "deny"))

    assert control.out.splitlines()[0] == "handle left", control.err
    assert done.out.splitlines() == ["handle kept", "namespace kept", "namespace kept"], done.err


def test_row_42_with_no_escape_root_cannot_leave_it_either(runs: Runs) -> None:
    done = runs.python(LEAVE, options=("--default", "deny", "--no-escape"))

    assert done.code == 0, done.err
    assert {line.split()[1] for line in done.out.splitlines()} == {"kept"}, done.out
    assert len(done.out.splitlines()) >= 4


def test_row_34_with_no_raw_there_are_only_sockets_that_can_be_judged(runs: Runs) -> None:
    code = (
        "import socket\n"
        "for kind in ((17, 3), (44, 3), (40, 1), (2, 3), (2, 1), (1, 1), (16, 3)):\n"
        "    try: socket.socket(*kind, 1 if kind == (2, 3) else 0); print('made', *kind)\n"
        "    except OSError as e: print('refused', *kind)\n"
    )

    done = runs.python(code, options=("--default", "deny", "--no-raw"))

    assert done.out.splitlines() == [
        "refused 17 3", "refused 44 3", "refused 40 1", "refused 2 3",
        "made 2 1", "made 1 1", "made 16 3",
    ]


def test_row_140_audit_lets_pass_and_says_so_loudly(runs: Runs) -> None:
    done = runs.sh(f"{FETCH}; curl -sS --max-time 5 http://{NEVER}/", "--audit", "--default",
                   "deny")

    assert done.code == 0
    assert done.out.count("hello from") == 2
    assert "dnsfw: AUDIT: nothing was enforced; would have refused" in done.err
    assert done.report["mode"] == "audit"
    assert {row["verdict"] for row in done.rows} == {"allow"}
    assert {(row["name"], row["port"]) for row in done.rows} >= {(WWW, 0), (WWW, 80), ("", 80)}


def test_audited_report_learned_policy_enforced_run(runs: Runs) -> None:
    script = f"{FETCH}; curl -sS --max-time 5 http://{NEVER}:8080/"
    runs.sh(script, "--audit", "--default", "deny")
    report = runs.lab.scratch / "report-1.json"
    policy = runs.lab.scratch / "learned.yaml"

    learned = subprocess.run(
        [*dnsfw_argv(), "learn", "--report", str(report), "-o", str(policy)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    checked = subprocess.run(
        [*dnsfw_argv(), "check", str(policy)], capture_output=True, text=True, check=False
    )
    again = runs.sh(script, "--policy", str(policy))
    beyond = runs.sh(f"curl -sS --max-time 5 http://{WWW}:8080/", "--policy", str(policy))

    assert learned.returncode == 0, learned.stderr
    assert checked.returncode == 0, checked.stderr
    assert again.code == 0, again.err
    assert again.out.count("hello from") == 2
    assert again.rows == []
    assert beyond.code != 0


def test_the_report_is_written_although_the_command_fails(runs: Runs) -> None:
    report = runs.lab.scratch / "seen.yaml"
    argv = runs.argv("--default", "deny", "--report", str(report), command=["sh", "-c", "exit 9"])

    done = runs.guest.run(argv, env=runs.environment)

    assert done.returncode == 9
    assert "exit: 9\n" in report.read_text()
    assert [path.name for path in report.parent.iterdir() if "seen" in path.name] == ["seen.yaml"]


def test_quiet_says_nothing(runs: Runs) -> None:
    done = runs.sh(f"{FETCH} 2>/dev/null; true", "--default", "deny", "--quiet")

    assert done.err == ""
    assert done.rows


def test_row_134_what_the_command_calls_itself_cannot_steer_the_terminal(runs: Runs) -> None:
    code = (
        "import ctypes, socket\n"
        "ctypes.CDLL(None).prctl(15, b'\\x1b]0;x\\n\\x9b2J', 0, 0, 0)\n"
        f"s = socket.socket()\n"
        f"try: s.connect(('{NEVER}', 80))\n"
        "except OSError: pass\n"
    )

    done = runs.python(code, options=("--default", "deny"))

    assert "\x1b" not in done.err
    assert all(line.isprintable() for line in done.err.splitlines())
    assert json.dumps(done.report).isascii()


def test_its_own_loopback_works_and_that_of_others_does_not(runs: Runs) -> None:
    runs.world.host.start([sys.executable, "-m", "http.server", "8099", "--bind", "127.0.0.1"])
    probe = ["curl", "-sS", "--max-time", "5", "http://127.0.0.1:8099/"]
    wait_until(lambda: runs.world.host.run(probe).returncode == 0, what="the other's server")

    done = runs.sh(
        f"{sys.executable} -m http.server 8098 --bind 127.0.0.1 >/dev/null 2>&1 & "
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
        "curl -s -o /dev/null --max-time 5 http://127.0.0.1:8098/ && break; sleep 0.2; done && "
        "echo own; curl -sS --max-time 5 http://127.0.0.1:8099/ >/dev/null || echo refused",
        "--default", "deny",
    )

    assert done.out.split() == ["own", "refused"]
    (row,) = [row for row in done.rows if row["port"] == 8099]
    assert row["reason"] == "loopback-other"


def test_mistakes_and_lacks_end_before_the_command_begins(runs: Runs) -> None:
    no_upstream = runs.lab.file("none.conf", "")
    guest = type(runs.guest)(runs.world.host, runs.cgroup, no_upstream)

    argv = runs.argv("--allow", f"{WWW}:80", command=["echo", "ran"])
    done = guest.run(argv, env=runs.environment)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "no upstream" in done.stderr
    assert "--upstream 9.9.9.9" in done.stderr


def test_a_daemon_on_the_host_judges_too_and_is_not_disturbed(world: World) -> None:
    from tests.support.daemon import LISTEN
    from tests.support.world import policy_of

    daemon = world.guard(policy_of([{"allow": "*.example.com:80"}]))
    runs = Runs(world)
    inner = world.guest  # in the daemon's cgroup; its nameserver is the daemon
    other = "other.example.net"
    script = (
        f"{FETCH}; curl -sS --max-time 5 http://www.example.com:8080/ || echo no-port; "
        f"curl -sS --max-time 5 http://{other}/ || echo no-name"
    )
    argv = runs.argv("--allow", f"{WWW}:80,8080", "--allow", other,
                     command=["sh", "-c", script])

    done = inner.run(argv, env=runs.environment)

    assert LISTEN in inner.resolv_conf.read_text() if inner.resolv_conf else False
    assert "hello from" in done.stdout, done.stderr
    assert done.stdout.split()[-2:] == ["no-port", "no-name"]
    status = daemon.show("status")
    assert status["enforcing"]
    assert world.fetches(f"http://{WWW}/")
    assert not world.internet.asked(other)
    assert runs.pins() == ["dnsfw"]
