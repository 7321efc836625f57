"""What does a guarded host lose? TCP throughput and web requests, guarded and not.

The guarded side has every hook of dnsfw on the way: its cgroup's and its device's. iperf3 sends
from it (large segments) and wrk asks a web server behind the veth for small pages, over
connections that are kept and over a new one for each page.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from servers import start_dnsfw
from stands import FAR, LO, PORT, UPSTREAM, Stand, cores, stand
from support import Figure, Report, arguments, contests, need, program_version
from zone import policy

from tests.support.netlab import Cgroup, Guest, Lab, Netns, sh

SECONDS = 1
_OPEN, _NFT, _DNSFW = "no firewall", "nft set", "dnsfw"
_CONTROL = "no firewall, another stand"  # what two stands differ by themselves
_DEVICE = "guest0"
_TABLE = f"""table inet bench {{
  set open {{ type ipv4_addr; flags timeout; size 100000; elements = {{ {FAR} timeout 1h }} }}
  chain out {{ type filter hook output priority 0; policy accept;
    oifname "{_DEVICE}" ip daddr @open accept
    oifname "{_DEVICE}" ip daddr 10.53.0.0/24 drop
  }}
}}
"""
_NGINX = """daemon off; master_process off; pid {place}/pid; error_log {place}/error crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000;
  client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
  uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
  server {{ listen 80 backlog=4096; location / {{ return 200 "hello\\n"; }} }} }}
"""
_REQUESTS = re.compile(r"Requests/sec:\s+([\d.]+)")
_FAILED = re.compile(r"Socket errors: .*|Non-2xx.*")


def main() -> None:
    options = arguments(__doc__)
    need("iperf3", "nginx", "wrk", "nft", "ip", root=True)
    report = Report(
        "harm",
        iperf3=program_version("iperf3", "--version"),
        nft=program_version("nft", "--version"),
    )
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench harm"))
        stands = {
            _OPEN: stand(lab, "open", lambda *_: 0),
            _CONTROL: stand(lab, "control", lambda *_: 0),
            _NFT: stand(lab, "nft", _nft),
            _DNSFW: stand(lab, "dnsfw", _dnsfw),
        }
        for one in stands.values():
            _serve(one)
        for title, unit, run in (
            ("one TCP stream", "Gbit/s", _stream),
            ("pages over kept connections", "requests/s", _kept),
            ("pages, each over a new connection", "requests/s", _fresh),
        ):
            report.tables += contests(
                (Figure("rate", title, unit, more_is_better=True),),
                {name: _turn(one, run) for name, one in stands.items()},
                options.rounds, (_OPEN,),
            )
    report.publish(options)


def _turn(one: Stand, run: Callable[[Stand], float]) -> Callable[[], Mapping[str, float]]:
    return lambda: {"rate": run(one)}


def _nft(lab: Lab, netns: Netns, _: Cgroup) -> int:
    sh("nsenter", f"--net={netns.path}", "nft", "-f", str(lab.file("nft", _TABLE)))
    return 0


def _dnsfw(lab: Lab, netns: Netns, cgroup: Cgroup) -> int:
    text = policy().replace("rules:\n", f"rules:\n  - allow: {FAR}\n", 1)
    daemon = start_dnsfw(lab, netns, PORT, UPSTREAM, text, cgroup=cgroup, addresses=(LO,),
                         options=("--interface", _DEVICE))
    return daemon.pid


def _serve(one: Stand) -> None:
    """A web server and iperf3's other end, behind the veth, on the other core."""
    place = one.lab.scratch / f"web-{one.name}"
    place.mkdir()
    config = one.lab.file(f"nginx-{one.name}.conf", _NGINX.format(place=place))
    core = str(cores()[0])
    one.behind.start(["taskset", "-c", core, "nginx", "-p", str(place), "-c", str(config)])
    one.behind.start(["taskset", "-c", core, "iperf3", "-s", "-B", FAR])
    for probe in (["wrk", "-t1", "-c1", "-d1s", f"http://{FAR}/"], _iperf("1")):
        for _ in range(40):
            if _run(one, probe).returncode == 0:
                break
        else:
            raise RuntimeError(f"{one.name}: {probe[0]} finds nobody")


def _run(one: Stand, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """In the guarded cgroup."""
    return Guest(one.netns, one.cgroup).run(["taskset", "-c", str(cores()[1]), *argv])


def _iperf(seconds: str) -> list[str]:
    return ["iperf3", "-c", FAR, "-t", seconds, "-J"]


def _stream(one: Stand) -> float:
    done = _run(one, _iperf(str(SECONDS)))
    found: float = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
    return found / 1e9


def _kept(one: Stand) -> float:
    return _wrk(one)


def _fresh(one: Stand) -> float:
    return _wrk(one, "-H", "Connection: close")


def _wrk(one: Stand, *more: str) -> float:
    argv = ["wrk", "-t1", "-c16", f"-d{SECONDS}s", *more, f"http://{FAR}/"]
    done = _run(one, argv)
    found = _REQUESTS.search(done.stdout)
    if found is None or _FAILED.search(done.stdout):
        raise RuntimeError(f"{one.name}: {done.stdout}{done.stderr}")
    return float(found[1])


if __name__ == "__main__":
    main()
