"""The attacks that dnsfw must withstand, and the tests that are named after them.

`python -m tests.support.rows` writes the table of tests/README.md anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
README = TESTS / "README.md"
BEGIN, END = "<!-- rows: begin -->\n", "<!-- rows: end -->\n"

ROWS = {
    1: "hard-coded IPv4 address",
    2: "hard-coded IPv6 address",
    3: "v4-mapped IPv6 address",
    7: "unconnected UDP, several destinations",
    8: "connect() here, sendto() there",
    9: "TCP Fast Open",
    10: "io_uring connect and sendmsg",
    12: "UDP-Lite, SCTP, DCCP",
    13: "GRE, IPIP, ESP, any protocol number",
    14: "ICMP echo tunnel",
    15: "forged source address",
    16: "AF_PACKET",
    17: "AF_PACKET past the qdisc",
    18: "AF_XDP transmit",
    19: "frame whose protocol field lies",
    20: "VLAN and QinQ tags",
    21: "MPLS, PPPoE, LLC and other ethertypes",
    22: "ARP and ND as a channel",
    23: "IPv4 source route",
    24: "IPv6 routing header",
    25: "IPv6 extension header chain",
    26: "fragments",
    27: "another port of an allowed name",
    28: "QUIC where TCP is allowed",
    29: "addresses of the host and its neighbours",
    30: "cloud metadata",
    32: "local relay of another user",
    33: "unix socket to a privileged service",
    34: "vsock and other families",
    35: "second interface",
    36: "interface created later",
    37: "network namespace of the workload's own",
    38: "route into a tunnel",
    39: "traffic forwarded for a container",
    40: "connection older than the wall",
    41: "socket passed in from outside",
    42: "leaving the cgroup",
    44: "filter removed with CAP_NET_ADMIN",
    45: "TCX program put ahead",
    46: "pins deleted",
    47: "map written from outside",
    48: "kill -9 of the daemon",
    51: "gap while restarting or reloading",
    52: "two daemons at once",
    53: "partial attach",
    54: "half-supported kernel",
    55: "boot window",
    56: "another resolver over UDP",
    57: "another resolver over TCP",
    58: "encrypted DNS to other servers",
    59: "DoH by name",
    61: "dnsfw's own upstream reached directly",
    62: "data in names that are not allowed",
    63: "data in names below an allowed wildcard",
    64: "type of a question as a channel",
    65: "names of addresses as a channel",
    66: "EDNS options as a channel",
    67: "header bits and case as a channel",
    68: "what others have asked, read from the cache",
    69: "allowed name leads to a denied one",
    70: "denied name leads to an allowed one",
    71: "CNAME chain long, looping or cut",
    72: "records for other names in an answer",
    73: "rebinding to private addresses",
    76: "allowed and denied name on one address",
    77: "address that changes its name",
    78: "forged answers, blind",
    79: "forged answers to many equal questions",
    80: "malformed forged answer first",
    81: "answers changed on the way",
    82: "forged fragments of an answer",
    83: "local race to our listener",
    84: "answer in dnsfw's name",
    85: "SVCB and HTTPS hints and targets",
    86: "targets of SRV, MX and NS",
    87: "search domains",
    88: "IDN homographs",
    89: "dots and other octets inside a label",
    90: "case, trailing dot, root, empty label",
    91: "edges of wildcards",
    92: "overlapping allow and deny",
    93: "truncated answer",
    94: "compression pointer loops",
    95: "label and name lengths",
    96: "canary and discovery names",
    97: "question and record counts that lie",
    98: "responses and opcodes as queries",
    99: "classes other than IN",
    100: "ANY and transfers",
    101: "malformed EDNS",
    102: "slow, huge and pipelined TCP",
    103: "flood of queries from one asker",
    104: "reflection and amplification",
    105: "flood of random names below one domain",
    106: "cache eviction by junk",
    107: "dead upstream",
    108: "stale answers",
    109: "TTLs of 0, 2^31, differing",
    110: "thousands of addresses",
    111: "full map",
    112: "answer before the map write",
    113: "reload races learning",
    114: "flow of a removed rule",
    115: "flow longer than its TTL",
    116: "application caches past the TTL",
    117: "clock jump, suspend",
    118: "resolv.conf overwritten",
    119: "nss-resolve's side door",
    120: "/etc/hosts, nscd, mDNS",
    121: "missing address family is NODATA",
    122: "private addresses behind NAT64",
    123: "DNSSEC bits and records",
    124: "half-written policy",
    125: "hostile YAML",
    126: "policy file of somebody else",
    127: "policy in the middle, rolled back, frozen",
    128: "list that grows, empties or is an error page",
    129: "poisoned list",
    130: "regular expressions that backtrack",
    131: "huge policy",
    132: "control socket",
    134: "log injection through names",
    138: "event ring full",
    139: "names planted while learning",
    140: "audit left on",
}

_TEST = re.compile(r"^\s*(?:async )?def (test_row_?\d\w+)\(", re.MULTILINE)
_CASE = re.compile(r'"(row \d+)\b')  # a line of a table of cases is a test too


def numbers(test: str) -> list[int]:
    """`test_row_07_and_08_each_...` speaks of the rows 7 and 8."""
    found = re.match(r"(?:test_)?row[_ ]?((?:\d+_?(?:and_)?)+)", test)
    return [int(number) for number in re.findall(r"\d+", found.group(1))] if found else []


def rows_tested() -> dict[int, list[tuple[str, str]]]:
    """Row → (file, test), as the sources have them."""
    rows: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        for test in _TEST.findall(text) + _CASE.findall(text):
            for number in numbers(test):
                rows[number].append((str(path.relative_to(TESTS)), test))
    return rows


def table() -> str:
    """The rows of the README, one a line."""
    found = rows_tested()
    lines = ["| row | attack or fault | tests |", "|---|---|---|"]
    for number, title in ROWS.items():
        tests = ", ".join(dict.fromkeys(path for path, _ in found[number]))
        lines.append(f"| {number} | {title} | {tests or '—'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
