"""How soon is it up, what does it weigh, and what does a crash cost?

From the start of the process until the first answer, with a small policy and with a block list
of a million names (compiled before), beside dnsmasq and unbound with the same list; memory of
the processes and of the kernel's tables; and a daemon that is killed and started again while
clients ask and connect: what failed, and for how long nobody answered a new name.
"""

from __future__ import annotations

import compileall
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import support
from lists import made
from servers import LO, memory, start_dnsfw, start_dnsmasq, start_unbound
from stands import FAR, PORT, UPSTREAM, Stand, cores, names, queries, rules, stand
from support import Figure, Report, Row, Table, arguments, contests, need, program_version
from zone import Upstream

from tests.support.daemon import Daemon
from tests.support.netlab import Cgroup, Guest, Lab, Netns

MILLION = 1_000_000
LIMIT_S = 3.0  # of load around a kill
_MIB = 1 << 20
_SMALL, _LARGE = "small policy", "a million names"


def main() -> None:
    options = arguments(
        __doc__,
        ("--names", {"type": int, "default": MILLION, "help": "of the list (default 1000000)"}),
    )
    need("clang", "taskset", "unbound", "dnsmasq", "bpftool", "ip", root=True)
    # As an installed package is; else each start of a checkout compiles Python first.
    compileall.compile_dir(support.ROOT / "dnsfw", quiet=2)
    report = Report(
        "start",
        unbound=program_version("unbound", "-V"),
        dnsmasq=program_version("dnsmasq", "--version"),
    )
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench start"))
        files = _lists(lab, options.names)
        for title, list_of in ((_SMALL, {}), (_LARGE, files)):
            report.tables += _starts(lab, title, list_of, options.rounds)
        report.tables.append(_crashes(stack.enter_context(Lab("bench crash")), options.rounds))
    report.publish(options)


def _lists(lab: Lab, count: int) -> dict[str, str]:
    """The list as each server wants it; a line of its configuration."""
    found = made(count)
    plain = lab.file("ads.txt", "".join(f"||{name}^\n" for name in found))
    zones = lab.file(
        "zones", "".join(f'local-zone: "{name}." always_nxdomain\n' for name in found)
    )
    local = lab.file("local.conf", "".join(f"local=/{name}/\n" for name in found))
    return {
        "dnsfw": f"  - deny: {{list: {plain}, format: adblock}}\n",
        "unbound": f'include: "{zones}"',
        "dnsmasq": f"conf-file={local}",
    }


# --- start and weight ---


def _starts(lab: Lab, title: str, lists: Mapping[str, str], rounds: int) -> list[Table]:
    netns = lab.namespace("start")
    cgroup = lab.cgroup("start")

    def dnsfw() -> tuple[Daemon, int]:
        text = rules().split("roles:")[0]
        if "dnsfw" in lists:
            text = text.replace("rules:\n", "rules:\n" + lists["dnsfw"], 1)
        daemon = start_dnsfw(lab, netns, PORT, UPSTREAM, text, cgroup=cgroup)
        return daemon, daemon.pid

    def turn(start: Callable[[], tuple[object, int]]) -> Callable[[], Mapping[str, float]]:
        def run() -> Mapping[str, float]:
            there = kernel_tables()
            before = time.perf_counter()
            server, pid = start()
            took = time.perf_counter() - before
            tables = sum(size for number, size in kernel_tables().items() if number not in there)
            weight = memory(pid)
            _end(server)
            return {"ms": 1000 * took, "all": (weight + tables) / _MIB, "tables": tables / _MIB}

        return run

    def peer(start: Callable[..., subprocess.Popen[str]], name: str) -> Callable[[], object]:
        more = (lists[name],) if name in lists else ()

        def run() -> tuple[object, int]:
            process = start(lab, netns, PORT, UPSTREAM, *more)
            return process, process.pid

        return run

    upstream = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    upstream.bind(UPSTREAM)
    with Upstream(upstream):
        tables = contests(
            (
                Figure("ms", f"{title}: until the first answer", "ms"),
                Figure("all", f"{title}: memory, kernel tables included", "MiB"),
                Figure("tables", f"{title}: kernel tables alone", "MiB"),
            ),
            {
                "dnsfw": turn(dnsfw),
                "dnsmasq": turn(peer(start_dnsmasq, "dnsmasq")),  # type: ignore[arg-type]
                "unbound": turn(peer(start_unbound, "unbound")),  # type: ignore[arg-type]
            },
            max(1, rounds), ("dnsmasq", "unbound"),
        )
    return tables


def kernel_tables() -> dict[int, int]:
    """Octets that the kernel has given to each of dnsfw's BPF tables, by its number."""
    shown = subprocess.run(["bpftool", "map", "-j"], capture_output=True, text=True, check=True)
    return {
        table["id"]: table["bytes_memlock"]
        for table in json.loads(shown.stdout)
        if table.get("name", "").startswith(("dnsfw_", "suffix"))
    }


def _end(server: object) -> None:
    if isinstance(server, Daemon):
        server.close()
    elif isinstance(server, subprocess.Popen):
        server.terminate()
        server.wait()


# --- a crash ---

_LOAD = """
import json, socket, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from zone import numbered, query, NETWORK
end = time.monotonic() + float(sys.argv[2])
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(1.0)
client.connect((sys.argv[3], 53))
asked = failed = refused = 0
fresh, silent, longest, last = 500000, 0, 0.0, time.monotonic()
fresh_client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fresh_client.setblocking(False)
fresh_client.connect((sys.argv[3], 53))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("going", flush=True)
while (now := time.monotonic()) < end:
    number = asked % int(sys.argv[4])
    try:
        client.send(query(numbered(number), asked & 65535))
        reply = client.recv(4096)
        asked += 1
        if reply[3] & 15 or not reply[7]:
            failed += 1
        else:
            sender.sendto(b"x", (socket.inet_ntoa((NETWORK + number).to_bytes(4, "big")), 443))
    except PermissionError:
        refused += 1
    except OSError:
        failed += 1
    try:
        fresh_client.send(query(numbered(fresh), fresh & 65535))
        fresh += 1
    except OSError:
        pass
    try:
        while True:
            reply = fresh_client.recv(4096)
            if not reply[3] & 15:
                longest = max(longest, now - last)
                last = now
    except OSError:
        pass
print(json.dumps({"asked": asked, "failed": failed, "refused": refused, "longest": longest}))
"""


def _crashes(lab: Lab, rounds: int) -> Table:
    """Killed with SIGKILL while cached names are asked for and reached, then started anew."""
    made_here: dict[str, Daemon] = {}

    def start(lab: Lab, netns: Netns, cgroup: Cgroup) -> int:
        text = rules().split("roles:")[0]
        made_here["dnsfw"] = start_dnsfw(lab, netns, PORT, UPSTREAM, text, cgroup=cgroup)
        return made_here["dnsfw"].pid

    one = stand(lab, "crash", start)
    one.netns.ip(f"route add 198.18.0.0/15 via {FAR}")
    found = [_crash(lab, one, made_here["dnsfw"]) for _ in range(rounds)]
    rows = {
        "cached answers asked for": [x["asked"] for x in found],
        "· of these failed": [x["failed"] for x in found],
        "sends to their addresses refused": [x["refused"] for x in found],
        "from the kill until a new name was answered, ms": [1000 * x["longest"] for x in found],
        "of it until the new process was ready, ms": [1000 * x["ready"] for x in found],
    }
    return Table("killed and started again under load", "a crash",
                 tuple(Row(name, tuple(values)) for name, values in rows.items()))


def _crash(lab: Lab, one: Stand, daemon: Daemon) -> dict[str, float]:
    count = 200
    argv = [sys.executable, "-c", _LOAD,
            json.dumps([str(Path(__file__).parent), str(support.ROOT)]), str(LIMIT_S), LO,
            str(count)]
    warm = queries(lab, "warm", names(count))
    one.ask("flood", warm, 0.1, "8", core=cores()[1])
    process = Guest(one.netns, one.cgroup).start(argv, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(LIMIT_S / 4)
    daemon.signal(signal.SIGKILL)
    before = time.perf_counter()
    daemon.start()
    ready = time.perf_counter() - before
    text = process.stdout.read()
    process.wait()
    try:
        found: dict[str, float] = json.loads(text)
    except ValueError:
        raise RuntimeError(text) from None
    return found | {"ready": ready}


if __name__ == "__main__":
    main()
