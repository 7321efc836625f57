"""What does a name cost that nobody asked before, and how soon is the client connected?

Fresh names, each with an address of its own: judged, forwarded, the address opened (dnsfw: a
grant; dnsmasq: an element of an nftables set), answered. As many as the server can do on a
core of its own, and one at a time on one core, straight from a small upstream and with a real
recursor (unbound) behind; then the way from the question to the connection, through a
firewall that has just been opened for it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from stands import FAR, PYTHON, Stand, cores, ours, peer, queries, rules
from support import Figure, Report, Table, arguments, contests, need, program_version
from zone import ZONE, numbered

from tests.support.netlab import Lab, sh

NAMES = 600_000  # of one contest and contender; whoever needs more sees them again, expired
TTL = 5  # seconds: what was opened in a round is closed in the next but one
SECONDS = 0.5
WINDOW = "64"
HTTPS = 443
_ADDRESSES = 262_144
# What dnsmasq comes with. A larger one is no use to who asks for fresh names, and a full one costs
# it four times the look-up: each insertion first looks through all of it for what has ended
# (cache.c, really_insert), so the same server would come out cheap or dear by what was before.
_CACHE = "cache-size=150"
_SET = f"nftset=/{ZONE}/4#inet#bench#open"
_TABLE = """table inet bench {
  set open { type ipv4_addr; size 1000000; }
  chain out { type filter hook output priority 0; policy accept;
    ip daddr 198.18.0.0/15 ip daddr != @open counter drop
  }
}
"""
_WITH_SET, _PLAIN, _DNSDIST = "dnsmasq with nftset", "dnsmasq, no set", "dnsdist, no set"


def main() -> None:
    options = arguments(__doc__)
    need("clang", "taskset", "ip", "nft", "unbound", "dnsmasq", "dnsdist", root=True)
    report = Report(
        "cold",
        unbound=program_version("unbound", "-V"),
        dnsmasq=program_version("dnsmasq", "--version"),
        dnsdist=program_version("dnsdist", "--version"),
        nft=program_version("nft", "--version"),
    )
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench cold"))
        file = queries(lab, "fresh", [numbered(i) for i in range(NAMES)], edns=False)
        stands = _stands(lab)
        fresh = {one.name: _Fresh(one, file) for one in stands}
        rounds = options.rounds
        report.tables += _contest("fresh names, a core for the server", fresh, rounds, "flood",
                                  True, (_QPS, _CPU))
        report.tables += _contest("a fresh name, on one core", fresh, rounds, "one", False, _TIME)
        guarded = {name: fresh[name] for name in (stands[0].name, _WITH_SET, _PLAIN)}
        report.tables += _contest("from the question to the connection, on one core", guarded,
                                  rounds, "reach", False, _TIME)
        _opened(stands)
        behind = _stands(stack.enter_context(Lab("bench cold recursor")), recursor=True)
        fresh = {one.name: _Fresh(one, file) for one in behind}
        report.tables += _contest("a fresh name, a recursor (unbound) behind, on one core", fresh,
                                  rounds, "one", False, _TIME)
    report.publish(options)


_QPS = Figure("qps", "look-ups", "queries/s", more_is_better=True)
_CPU = Figure("cpu", "work of the server a look-up", "µs of CPU")
_TIME = (Figure("p50", "p50", "µs"), Figure("p99", "p99", "µs"))


@dataclass(slots=True)
class _Fresh:
    """A stand, and how far it is in the names."""

    stand: Stand
    file: Path
    used: int = field(default=0)

    def ask(self, mode: str, core: int) -> dict[str, float]:
        more = {"flood": (WINDOW,), "reach": (str(HTTPS),)}.get(mode, ())
        found = self.stand.ask(
            mode, self.file, SECONDS, *more, core=core, env={"SKIP": str(self.used % NAMES)}
        )
        self.used += int(found["sent"])
        return found


def _stands(lab: Lab, recursor: bool = False) -> list[Stand]:
    """Whoever opens what it answers, and whoever only forwards."""
    stands = [ours(lab, PYTHON, _policy(), ttl=TTL, recursor=recursor)]
    with_set = peer(lab, "dnsmasq", _CACHE, _SET, called=_WITH_SET, ttl=TTL, recursor=recursor)
    sh("nsenter", f"--net={with_set.netns.path}", "nft", "-f",
       str(lab.file("bench.nft", _TABLE)))
    stands += [
        with_set,
        peer(lab, "dnsmasq", _CACHE, called=_PLAIN, ttl=TTL, recursor=recursor),
        peer(lab, "dnsdist", 'getPool(""):unsetCache()', called=_DNSDIST, ttl=TTL,
             recursor=recursor),
    ]
    for one in stands:
        _listen_everywhere(one)
    return stands


def _policy() -> str:
    """One rule opens all of these names, so it may hold as many addresses as a rule can: what
    is usual is less than a second's worth, and the peer's set takes a million.
    """
    rule = f'"*.{ZONE}:443"'
    text = rules(kernel=False).replace(
        f"allow: {rule}", f"{{allow: {rule}, addresses: {_ADDRESSES}}}"
    )
    if str(_ADDRESSES) not in text:
        raise RuntimeError(f"the policy of the bench has no rule for {rule}")
    return text


def _listen_everywhere(one: Stand) -> None:
    """Every address of the names is there, behind the veth, and takes connections."""
    one.netns.ip(f"route add 198.18.0.0/15 via {FAR}")
    one.behind.ip("route add local 198.18.0.0/15 dev lo")
    listener = one.behind.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("0.0.0.0", HTTPS))
    listener.listen(4096)
    one.lab.closing(listener.close)
    one.behind.start(
        ["python3", "-c", "import socket, sys\ns = socket.socket(fileno=int(sys.argv[1]))\n"
         "while True: s.accept()[0].close()", str(listener.fileno())],
        pass_fds=(listener.fileno(),),
    )


def _contest(
    title: str, fresh: Mapping[str, _Fresh], rounds: int, mode: str, apart: bool,
    figures: Sequence[Figure],
) -> list[Table]:
    server, client = cores()
    for one in fresh.values():
        one.stand.on(server if apart else client)

    def turn(one: _Fresh) -> Callable[[], Mapping[str, float]]:
        def run() -> Mapping[str, float]:
            before = one.stand.worked()
            said = one.ask(mode, client)
            work = 1e6 * (one.stand.worked() - before) / max(said["good"], 1)
            return {"qps": said["qps"], "cpu": work,
                    "p50": said["p50"] / 1000, "p99": said["p99"] / 1000}

        return run

    named = [Figure(f.key, f"{title}: {f.title}", f.unit, f.more_is_better) for f in figures]
    return contests(named, {name: turn(one) for name, one in fresh.items()}, rounds,
                    (_WITH_SET,))


def _opened(stands: Sequence[Stand]) -> None:
    """The peer did the work it was timed for."""
    shown = stands[1].netns.run(["nft", "list set inet bench open"])
    if shown.stdout.count("198.") < 1000:
        raise RuntimeError(f"the set holds too little: {shown.stderr}")


if __name__ == "__main__":
    main()
