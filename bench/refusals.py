"""How many refusals of a block list are answered in a second, and does its length matter?

Names below those of a list of a million, each asked for the first time: in dnsfw by the kernel's
table of fingerprints, and by Python alone; unbound with `local-zone: always_nxdomain`, dnsdist
with a SuffixMatchNode and dnsmasq with `local=` have the same list. Beside them dnsfw with a
list of a thousand, asked for as many different names, so that the list alone differs. Everything
on one core.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from string import ascii_lowercase

from lists import made
from stands import DNSFW, PYTHON, Stand, cores, ours, peer, present, queries, rules
from support import Figure, Report, arguments, contests, need, program_version

from tests.support.netlab import Lab

MILLION = 1_000_000
FEW = 1_000
ASKED = 200_000  # different names, and each turn goes on where the last one stopped
SECONDS = 0.5
WINDOW = "128"
_FEW = "dnsfw, a thousand names"


def main() -> None:
    options = arguments(
        __doc__,
        ("--names", {"type": int, "default": MILLION, "help": "of the list (default 1000000)"}),
    )
    need("clang", "taskset", "unbound", "dnsmasq", "ip", root=True)
    found = present(("unbound", "dnsmasq", "dnsdist"))
    report = Report("refusals", **{name: program_version(name, "--version") for name in found})
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench refusals"))
        listed = made(options.names)
        some = random.Random(3).sample(listed, min(ASKED, len(listed)))
        many = queries(lab, "listed", [f"www.{name}" for name in some])
        few = queries(lab, "few", _below(listed[:FEW]))
        stands = [
            _Asked(_ours(lab, DNSFW, listed), many),
            _Asked(_ours(lab, _FEW, listed[:FEW]), few),
            _Asked(_ours(lab, PYTHON, listed), many),
            *(_Asked(_peer(lab, name, listed), many) for name in found),
        ]
        for far, where in ((False, "lo"), (True, "veth")):
            report.tables += contests(
                (
                    Figure("qps", f"{where}, everything on one core: refusals", "queries/s", True),
                    Figure("p50", f"{where}, {WINDOW} in flight: p50", "µs"),
                ),
                {one.stand.name: one.turn(far) for one in stands}, options.rounds, found,
            )
    report.publish(options)


@dataclass(slots=True)
class _Asked:
    stand: Stand
    file: Path
    used: int = field(default=0)

    def turn(self, far: bool) -> Callable[[], Mapping[str, float]]:
        core = cores()[1]
        self.stand.on(core)

        def run() -> Mapping[str, float]:
            said = self.stand.ask("flood", self.file, SECONDS, WINDOW, core=core, far=far,
                                  env={"SKIP": str(self.used)})
            self.used += int(said["sent"])
            return {"qps": said["qps"], "p50": said["p50"] / 1000}

        return run


def _below(listed: list[str]) -> list[str]:
    """ASKED different names below few."""
    fronts = ["".join(letters) for letters in product(ascii_lowercase, repeat=3)]
    fronts = fronts[: -(-ASKED // len(listed))]
    names = [f"{front}.{name}" for front in fronts for name in listed]
    random.Random(4).shuffle(names)
    return names


def _ours(lab: Lab, name: str, listed: list[str]) -> Stand:
    safe = "".join(c if c.isalnum() else "-" for c in name)
    file = lab.file(f"{safe}.txt", "".join(f"||{one}^\n" for one in listed))
    rule = f"- deny: {{list: {file}, format: adblock}}\n"
    text = rules(name != PYTHON).replace("default: deny", "default: allow")
    text = text.replace("\nrules:\n", f"\nrules:\n  {rule}", 1)
    text = text.replace("    rules:\n", f"    rules:\n      {rule}", 1)
    return ours(lab, name, text)


def _peer(lab: Lab, name: str, listed: list[str]) -> Stand:
    if name == "unbound":
        zones = "".join(f'local-zone: "{one}." always_nxdomain\n' for one in listed)
        return peer(lab, name, f'include: "{lab.file("zones", zones)}"')
    if name == "dnsmasq":
        local = lab.file("local.conf", "".join(f"local=/{one}/\n" for one in listed))
        return peer(lab, name, f"conf-file={local}")
    plain = lab.file("plain.txt", "".join(f"{one}\n" for one in listed))
    return peer(
        lab, name, "smn = newSuffixMatchNode()",
        f'for one in io.lines("{plain}") do smn:add(newDNSName(one)) end',
        "addAction(SuffixMatchNodeRule(smn), RCodeAction(DNSRCode.NXDOMAIN))",
    )


if __name__ == "__main__":
    main()
