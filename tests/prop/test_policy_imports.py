"""Imported policies against naive readings of the old files: every verdict is the same."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, import_text
from tests.support.via import reaches

INTERFACES = ("eth0", "eth1", "wlan0")
USERS = ("www-data", "deploy", "1001", "root")
RANGES = (
    "10.0.0.0/8", "10.20.0.0/16", "10.20.1.0/24", "10.20.1.1", "169.254.169.254/32",
    "169.254.0.0/16", "0.0.0.0/0", "::/0", "fd00:ec2::254/128", "fd00::/8", "2001:db8::/32",
)  # fmt: skip
ADDRESSES = (
    "10.0.0.1", "10.20.0.1", "10.20.1.1", "10.20.1.2", "169.254.169.254", "169.254.1.1",
    "192.0.2.1", "fd00:ec2::254", "fd00::1", "2001:db8::1", "2001:db9::1", "100.100.100.200",
)  # fmt: skip

subset = st.lists(st.sampled_from(USERS[:3]), min_size=1, max_size=3, unique=True)
endpoints = st.lists(
    st.fixed_dictionaries({
        "iface": st.lists(st.sampled_from(INTERFACES[:2]), min_size=1, max_size=2, unique=True),
        "range": st.lists(st.sampled_from(RANGES), min_size=1, max_size=4),
        "allow": subset,
    }),
    min_size=1,
    max_size=4,
)  # fmt: skip


def listed(entries: list[dict[str, Any]], user: str, interface: str, address: str) -> bool:
    """The sentence of the old tool, word for word."""
    if not any(interface in entry["iface"] for entry in entries):
        return True
    return any(
        interface in entry["iface"]
        and user in entry["allow"]
        and any(ip_address(address) in ip_network(prefix) for prefix in entry["range"])
        for entry in entries
    )


@settings(max_examples=60, deadline=None)
@given(endpoints)
def test_each_user_reaches_by_each_interface_what_the_endpoints_list(
    entries: list[dict[str, Any]],
) -> None:
    text = json.dumps({"endpoints": [{f"e{n}": entry} for n, entry in enumerate(entries)]})
    made = import_text(FORMATS["endpoints"], text, "endpoints.yaml")

    policy = compile_text(made.text)

    assert made.lost == ()
    for user in USERS:
        for interface in INTERFACES:
            for address in ADDRESSES:
                expected = listed(entries, user, interface, address)
                assert reaches(policy, user, interface, address) is expected


PORTS = (1, 80, 443, 444, 8000, 8080, 65535)
rule = st.fixed_dictionaries(
    {"protocol": st.sampled_from(["tcp", "udp"]), "allow": st.booleans()},
    optional={"direction": st.sampled_from(["connect", "bind"])},
).flatmap(
    lambda base: st.one_of(
        st.sampled_from((0, *PORTS)).map(lambda port: {**base, "port": port}),
        st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(
            lambda ends: {**base, "port_start": min(ends), "port_end": max(ends)}
        ),
    )
)


def says(rules: list[dict[str, Any]], flag: bool, proto: str, port: int) -> bool | None:
    """May it connect: specific, then any, then the flag. None: two rules contradict."""
    mine = [
        r for r in rules if r["protocol"] == proto and r.get("direction", "connect") == "connect"
    ]
    specific = {
        r["allow"] for r in mine
        if r.get("port") == port or r.get("port_start", port + 1) <= port <= r.get("port_end", 0)
    }  # fmt: skip
    for verdicts in (specific, {r["allow"] for r in mine if r.get("port") == 0}, {flag}):
        if verdicts:
            return verdicts.pop() if len(verdicts) == 1 else None
    raise AssertionError


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(rule, max_size=5))
def test_each_port_of_a_role_has_the_verdict_of_the_old_rules(
    flag: bool, rules: list[dict[str, Any]]
) -> None:
    old = {"id": 3, "flags": {"allow_network": flag}, "network_rules": rules}
    text = json.dumps({"roles": {"web": old}})
    try:
        made = import_text(FORMATS["roles"], text, "policy.json")
    except PolicyError as error:  # the old file contradicts itself somewhere
        assert "is allowed and denied" in str(error)
        return

    policy = compile_text(made.text)

    web = policy.roles[policy.role_id("web")]
    for word, proto in (("tcp", 6), ("udp", 17)):
        for port in (*PORTS, 53, 445, 8001):
            expected = says(rules, flag, word, port)
            for address in ("192.0.2.1", "2001:db8::1"):
                decision = web.judge_addr(addr_from(address), proto, port)
                verdict = decision.verdict if decision is not None else web.default
                assert expected is not None
                assert (verdict is Verdict.ALLOW) is expected, (word, port)


WORDS = st.sampled_from([
    "web", "host", "AI Agent", "a\nb", 'q"uote', "x: y #", "\u202e", "/usr/bin/x",
    "/a/../b", "/a//b/",
    "/sys/fs/cgroup/x", "/sys/fs/cgroup/../x", "*.example.com", "a..b", "192.0.2.1", "10.0.0.0/8",
    "::ffff:1.2.3.4", "::ffff:0:0/96", "eth0", "..", "www-data", "99999999999",
    "4294967295", "tcp", "udp", "connect", "",
    "nginx.service", "-", "_x", "x" * 300, "deny", "[::1]", "0.0.0.0/0", "{", "lo", "veth\u00e9",
])  # fmt: skip
NUMBERS = st.sampled_from([-1, 0, 1, 7, 443, 65535, 65536, 2**32, 10**17])
KEYS = st.sampled_from([
    "roles", "flags", "allow_network", "allow_exec", "network_rules", "protocol", "port",
    "port_start", "port_end", "allow", "direction", "exec_enrollments", "executable_path", "role",
    "role_id", "pod_id", "pods", "id", "name", "cgroup_enrollments", "cgroup_path", "web", "a b",
    "revision", "lockdown_mode", "blocked_domains", "blocked_ips", "file_paths", "x\ny", "address",
    "endpoints", "iface", "range", "metadata",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
ROLE = st.fixed_dictionaries({}, optional={
    "id": NUMBERS, "flags": st.dictionaries(KEYS, st.booleans() | WORDS, max_size=3),
    "network_rules": st.lists(
        st.fixed_dictionaries(
            {"protocol": WORDS, "allow": st.booleans()},
            optional={"port": NUMBERS, "port_start": NUMBERS, "port_end": NUMBERS},
        ), max_size=3),
})  # fmt: skip
ENROLLED = st.lists(
    st.fixed_dictionaries({"role": st.just("web"), "pod_id": NUMBERS},
                          optional={"executable_path": WORDS, "cgroup_path": WORDS}), max_size=3,
)  # fmt: skip
FILES = st.one_of(
    ANYTHING,
    st.fixed_dictionaries({"roles": st.fixed_dictionaries({"web": ROLE}, optional={"a b": ROLE})},
                          optional={"exec_enrollments": ENROLLED, "cgroup_enrollments": ENROLLED,
                                    "pods": ANYTHING}),
    st.fixed_dictionaries({"blocked_domains": st.lists(WORDS), "blocked_ips": st.lists(WORDS)},
                          optional={"revision": NUMBERS, "lockdown_mode": st.booleans()}),
    st.fixed_dictionaries({"endpoints": st.lists(st.dictionaries(WORDS, st.fixed_dictionaries({
        "iface": st.lists(WORDS), "range": st.lists(WORDS), "allow": st.lists(WORDS)})))}),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(FILES, st.sampled_from(sorted(FORMATS)))
def test_any_file_is_refused_with_its_lines_or_becomes_a_policy(file: object, name: str) -> None:
    text = json.dumps(file, indent=1)
    try:
        made = import_text(FORMATS[name], text, "old")
    except PolicyError as error:
        assert all(line.startswith("old") for line in str(error).splitlines())
        return

    policy = compile_text(made.text)  # what was lost is left out, the rest holds

    assert policy.host.role in policy.roles
    assert all(finding.source.isprintable() for finding in made.findings)
