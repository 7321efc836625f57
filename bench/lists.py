"""What does a block list of a million names cost, and one of five million?

The same names, and all below them, in dnsfw (`format: adblock`), in unbound (`local-zone: …
always_nxdomain`) and in dnsmasq (`local=/…/`): the CPU seconds until a server answers, the memory
it has more than with an empty list, and the time of one refusal over UDP. Of dnsfw alone also
what it takes without a server: to read the source, to map what was compiled before, to look a
name up. Every start is a process of its own, so nothing is warm but the page cache.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from support import (
    Contender,
    Report,
    Row,
    Table,
    arguments,
    contest,
    each,
    need,
    program_version,
)  # fmt: skip
from zone import query

from dnsfw.wire.name import from_text

SIZES = (1_000_000, 5_000_000)
ASKED = 2_000  # names of one loop, so that no cache of a processor holds the paths to them
_PATIENCE = 180.0
_TOPS = ("com", "net", "org", "de", "ru", "info", "xyz", "co.uk", "top", "io")
_FRONTS = ("", "", "ads.", "t.", "cdn.px.")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_NXDOMAIN = 3
_DNSFW = "dnsfw, from cache"
_FRESH = "dnsfw, from source"
_SERVERS = (_FRESH, _DNSFW, "unbound", "dnsmasq")
_MIB = 1 << 20


def main() -> None:
    options = arguments(
        __doc__,
        ("--names", {"type": int, "action": "append", "metavar": "N",
                     "help": "names of a list (default 1000000 and 5000000)"}),
        ("--alone", {"help": "(its own: what a fresh process measures)"}),
    )  # fmt: skip
    if options.alone:
        print(json.dumps(_alone(Path(options.alone))))
        return
    need("unbound", "dnsmasq")
    report = Report(
        "lists",
        unbound=program_version("unbound", "-V"),
        dnsmasq=program_version("dnsmasq", "--version"),
    )
    for count in options.names or SIZES:
        with tempfile.TemporaryDirectory(prefix="dnsfw-bench-") as place:
            report.tables += _size(count, Path(place), options.rounds)
    report.publish(options)


def _size(count: int, place: Path, rounds: int) -> Iterator[Table]:
    """Every table about lists of so many names."""
    rounds = max(1, min(rounds, 3_000_000 // count))  # starts take seconds here
    names = made(count)
    _write(place / "full", names)
    _write(place / "empty", ["only.invalid"])
    title = f"{count:,} names"
    yield from _without_server(title, place / "full", rounds)
    starts: dict[str, list[float]] = {server: [] for server in _SERVERS}
    memory: dict[str, list[float]] = {server: [] for server in _SERVERS}
    answers: list[Table] = []
    for turn in range(rounds):
        with ExitStack() as stack:
            ports = {}
            for server in _SERVERS:
                if server is _FRESH:
                    shutil.rmtree(place / "full" / "cache", ignore_errors=True)
                none = stack.enter_context(_running(server, place / "empty"))
                full = stack.enter_context(_running(server, place / "full"))
                starts[server].append(full.seconds)
                mapped = _mapped(place / "full") if server in (_FRESH, _DNSFW) else 0
                memory[server].append((_private(full.pid) - _private(none.pid) + mapped) / _MIB)
                ports[server] = full.port
            if turn == rounds - 1:
                answers.append(_refusals(title, ports, names))
    yield _rows(f"{title}: start of a server, until it answers", "s of CPU", starts)
    yield _rows(f"{title}: memory of a server, files it maps included", "MiB", memory)
    yield from answers


def made(count: int) -> list[str]:
    """Different names under different domains, as a block list has them."""
    rng = random.Random(count)
    return [
        f"{rng.choice(_FRONTS)}{''.join(rng.choices(_LETTERS, k=rng.randint(2, 10)))}{i:x}"
        f".{rng.choice(_TOPS)}"
        for i in range(count)
    ]


def _write(place: Path, names: Sequence[str]) -> None:
    """The list as each server wants it, and its configuration."""
    place.mkdir()
    (place / "ads.txt").write_text("".join(f"||{name}^\n" for name in names))
    (place / "asked").write_text("\n".join(random.Random(1).sample(names, min(ASKED, len(names)))))
    (place / "policy.yaml").write_text(
        "version: 1\ndefault: allow\nrules:\n  - deny: {list: ads.txt, format: adblock}\n"
    )
    (place / "zones").write_text(
        "server:\n" + "".join(f'local-zone: "{name}." always_nxdomain\n' for name in names)
    )
    (place / "dnsmasq.conf").write_text("".join(f"local=/{name}/\n" for name in names))


# dnsfw without a server


def _without_server(title: str, place: Path, rounds: int) -> Iterator[Table]:
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=place) as cache:
            found += [{}]
            for start in ("from source", "from cache"):
                done = subprocess.run(
                    [sys.executable, __file__, "--alone", str(place)], check=True, text=True,
                    capture_output=True, env=os.environ | {"DNSFW_CACHE_DIR": cache},
                )  # fmt: skip
                found[-1] |= {f"{start} {k}": v for k, v in json.loads(done.stdout).items()}
    columns = {key: [one[key] for one in found] for key in found[0]}
    yield _rows(f"{title}: loaded", "ms of CPU", {
        "from source": columns["from source ms"], "from cache": columns["from cache ms"],
    })  # fmt: skip
    yield _rows(f"{title}: memory added by a list from cache", "MiB", {
        "private to the process": columns["from cache USS"],
        "proportional (PSS), all of it touched": columns["from cache PSS"],
        "file in the page cache": columns["from cache file"],
    })  # fmt: skip
    kinds = ("find hit", "find below", "find miss", "judge hit", "judge below", "judge miss")
    yield _rows(
        f"{title}: a look-up", "µs", {kind: columns[f"from cache {kind}"] for kind in kinds}
    )


def _alone(place: Path) -> dict[str, float]:
    """Load, weigh and ask the list in this process, which did nothing before."""
    from dnsfw.policy.compile import load
    from dnsfw.policy.lists.formats import Format
    from dnsfw.policy.lists.store import ListSource, Store

    source = ListSource(place / "ads.txt", Format.ADBLOCK)
    load(place.parent / "empty" / "policy.yaml")  # what all of it needs is not the list's
    before = _rollup()
    start = time.process_time()
    table = Store().load(source)
    ms = (time.process_time() - start) * 1000
    judge = load(place / "policy.yaml").host.judge
    names = (place / "asked").read_text().split()
    asked = {
        "hit": [from_text(name) for name in names],
        "below": [from_text("www." + name) for name in names],
        "miss": [from_text("www.q-" + name) for name in names],
    }
    took: dict[str, float] = {"ms": ms}
    for kind, wires in asked.items():
        if any((table.find(wire) is None) is not (kind == "miss") for wire in wires):
            sys.exit(f"the list is wrong about a {kind}")
        took[f"find {kind}"] = each(table.find, wires)
        took[f"judge {kind}"] = each(judge, wires)
    del judge
    for _ in table.names():  # every page of it
        pass
    after = _rollup()
    size = sum(path.stat().st_size for path in Store().directory.glob("*.list"))
    return took | {
        "USS": (after["Private"] - before["Private"]) / _MIB,
        "PSS": (after["Pss"] - before["Pss"]) / _MIB,
        "file": size / _MIB,
    }


def _mapped(place: Path) -> int:
    return sum(path.stat().st_size for path in (place / "cache").glob("*.list"))


def _rollup(pid: int | str = "self") -> dict[str, int]:
    """Octets of a process: its own pages that no file backs up are what it costs."""
    found = {"Private": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        if key == "Pss":
            found["Pss"] = int(value.split()[0]) * 1024
        elif key == "Private_Dirty":
            found["Private"] = int(value.split()[0]) * 1024
    return found


def _private(pid: int) -> int:
    """What a process and its children hold for themselves."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _rollup(pid)["Private"] + sum(_private(int(child)) for child in children)


# servers


class _Server:
    """One of them, answering."""

    def __init__(self, pid: int, port: int, seconds: float) -> None:
        self.pid, self.port, self.seconds = pid, port, seconds


@contextmanager
def _running(server: str, place: Path) -> Iterator[_Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = {"unbound": _unbound, "dnsmasq": _dnsmasq}.get(server, _dnsfw)(place, port)
    name = "www." + (place / "asked").read_text().partition("\n")[0]
    log = place / f"{server}.log"
    start = time.perf_counter()
    with log.open("w") as out:
        environment = os.environ | {"DNSFW_CACHE_DIR": str(place / "cache")}
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        )
    try:
        with _client(port) as client:
            client.settimeout(0.05)
            while not _refused(client, name):
                if process.poll() is not None or time.perf_counter() - start > _PATIENCE:
                    sys.exit(f"{server} does not answer: {log.read_text()[-2000:]}")
                time.sleep(0.01)
        yield _Server(process.pid, port, _worked(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _worked(pid: int) -> float:
    """Seconds of CPU that a process and its ended children took."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def _dnsfw(place: Path, port: int) -> list[str]:
    return [
        sys.executable, "-m", "dnsfw", "up", "--dns-only", "--policy", str(place / "policy.yaml"),
        "--listen", f"127.0.0.1:{port}", "--upstream", "127.0.0.1:9",
        "--run-dir", str(place / f"run-{port}"),
    ]  # fmt: skip


def _unbound(place: Path, port: int) -> list[str]:
    config = place / "unbound.conf"
    config.write_text("\n".join([
        "server:", f"  interface: 127.0.0.1@{port}", '  username: ""', '  chroot: ""',
        f'  directory: "{place}"', '  pidfile: ""', "  use-syslog: no", "  num-threads: 1",
        '  module-config: "iterator"', "  do-daemonize: no", f'  include: "{place}/zones"',
        "remote-control:", "  control-enable: no",
    ]) + "\n")  # fmt: skip
    return ["unbound", "-d", "-c", str(config)]


def _dnsmasq(place: Path, port: int) -> list[str]:
    return [
        "dnsmasq", f"--conf-file={place}/dnsmasq.conf", "--no-resolv", "--no-hosts",
        "--keep-in-foreground", f"--user={_me()}", "--bind-interfaces", "--pid-file=",
        "--listen-address=127.0.0.1", f"--port={port}", "--log-facility=-",
    ]  # fmt: skip


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _client(port: int) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", port))
    return client


def _refused(client: socket.socket, name: str) -> bool:
    with suppress(OSError):  # nobody listens yet
        client.send(query(name))
        return client.recv(4096)[3] & 15 == _NXDOMAIN
    return False


def _refusals(title: str, ports: dict[str, int], names: Sequence[str]) -> Table:
    """One question at a time, by the clock on the wall."""
    some = random.Random(2).sample(names, min(ASKED, len(names)))
    clients = {server: _client(port) for server, port in ports.items()}
    for client in clients.values():
        client.settimeout(2)
        if not all(_refused(client, name) for name in some):
            sys.exit("a listed name was answered")
    questions = [query("www." + name) for name in some]
    contenders = [
        Contender(server, _asks(clients[server], questions), None if server is _DNSFW else _DNSFW)
        for server in _SERVERS[1:]
    ]
    return contest(f"{title}: a refused name over UDP", "µs", contenders, 5)


def _asks(client: socket.socket, questions: Sequence[bytes]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        for asked in questions:
            client.send(asked)
            client.recv(4096)
        return (time.perf_counter() - start) * 1e6 / len(questions)

    return run


def _rows(title: str, unit: str, values: dict[str, list[float]]) -> Table:
    """Rows of figures that were found together; servers are held against dnsfw."""
    mine = values.get(_DNSFW)
    return Table(title, unit, tuple(
        Row(name, tuple(found)) if mine is None or name == _DNSFW else
        Row(name, tuple(found), _DNSFW,
            tuple(b / a for a, b in zip(found, mine, strict=True)))
        for name, found in values.items()
    ))  # fmt: skip


if __name__ == "__main__":
    main()
