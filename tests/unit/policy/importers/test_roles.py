"""The JSON of roles: the ports a role may use, exactly, and who is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Inbound, Loopback, SubjectKind, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept, import_text
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.problems import printable
from dnsfw.wire.name import from_text

DATA = Path(__file__).resolve().parents[3] / "data" / "imports"
FORM = FORMATS["roles"]
SOMEWHERE = (addr_from("192.0.2.7"), addr_from("2001:db8::7"), addr_from("10.1.2.3"))
SEVEN: dict[str, set[int]] = {
    "restricted": set(), "webserver": {80, 443, 8080}, "database": {5432, 6379},
    "isolated": set(), "web_with_db": {80, 443, 5432, 3306, 6379},
    "worker": {443, 5432, 6379, 5672},
}  # fmt: skip


def imported(text: str) -> Imported:
    return import_text(FORM, text, "policy.json")


def one_role(allow_network: bool, *rules: dict[str, Any], **more: Any) -> str:
    flags = {"allow_network": allow_network}
    made = {"id": 9, "name": "web", "flags": flags, "network_rules": list(rules), **more}
    return json.dumps({"roles": {"web": made}}, indent=1)


def role(policy: Policy, name: str) -> RolePolicy:
    return policy.roles[policy.role_id(name)]


def allowed(found: RolePolicy, proto: int, port: int) -> bool:
    """The verdict on a bare address, the same for every address."""
    verdicts = set()
    for addr in SOMEWHERE:
        decision = found.judge_addr(addr, proto, port)
        verdicts.add(decision.verdict if decision is not None else found.default)
    (verdict,) = verdicts
    return verdict is Verdict.ALLOW


def tcp(port: int, allow: bool = True, **more: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "port": port, "allow": allow, **more}


def test_each_line_of_the_example_is_told_with_its_line() -> None:
    done = imported((DATA / "roles.json").read_text())

    told = {f.line: f.became for f in done.findings if f.kept is Kept.READ}
    assert done.lost == ()
    assert told[7] == "allow 443/tcp for connect and bind; changes nothing: allow_network is true"
    assert told[9] == "deny every port of udp for connect and bind"
    assert told[19] == "role webserver, subject executable: /usr/sbin/nginx"
    assert told[20] == "role isolated, subject cgroup: /sandbox"
    assert dict(done.role_names) == {3: "webserver", 5: "isolated"}


def test_the_example_gives_its_subjects_and_numbers_to_the_right_roles() -> None:
    found = compile_text(imported((DATA / "roles.json").read_text()).text)

    assert [(s.role, s.kind, s.value) for s in found.subjects] == [
        (found.role_id("webserver"), SubjectKind.EXECUTABLE, "/usr/sbin/nginx"),
        (found.role_id("isolated"), SubjectKind.CGROUP, "/sandbox"),
    ]
    assert found.numbers == {3: found.role_id("webserver"), 5: found.role_id("isolated")}


def test_whoever_has_no_role_stays_free() -> None:
    assert compile_text(imported(one_role(False)).text).host.default is Verdict.ALLOW


def test_the_seven_roles_are_those_that_people_know() -> None:
    found = compile_text(imported((DATA / "seven-roles.json").read_text()).text)

    assert set(found.role_ids) == {"permissive", *SEVEN}
    assert (role(found, "permissive").default, role(found, "permissive").rules) == (
        Verdict.ALLOW, (),
    )  # fmt: skip
    for name, ports in SEVEN.items():
        mine = role(found, name)
        open_ = {p for p in range(1, 65536) if allowed(mine, 6, p)}
        assert (mine.default, open_) == (Verdict.DENY, ports), name
        assert not any(allowed(mine, 17, port) for port in (53, 443, *ports))


def test_a_name_is_answered_where_a_port_of_it_is_open_and_refused_where_none_is() -> None:
    found = compile_text(imported((DATA / "seven-roles.json").read_text()).text)
    name = from_text("www.example.com")

    assert role(found, "worker").judge(name).answered
    assert not role(found, "isolated").judge(name).answered


@pytest.mark.parametrize(
    ("flag", "rules", "inbound", "ports"),
    [
        (True, [], Inbound.ALL, set()),
        (False, [], Inbound.DENY, set()),
        (False, [tcp(0)], Inbound.TCP, set()),
        (True, [{"protocol": "udp", "port": 0, "allow": False}], Inbound.TCP, set()),
        (False, [tcp(80), tcp(443, direction="bind")], Inbound.PORTS, {80, 443}),
        (False, [tcp(443, direction="connect")], Inbound.DENY, set()),
    ],
)
def test_what_may_be_bound_is_inbound(
    flag: bool, rules: list[dict[str, Any]], inbound: Inbound, ports: set[int]
) -> None:
    access = role(compile_text(imported(one_role(flag, *rules)).text), "web").access

    assert access.inbound is inbound
    assert {r.low for r in access.inbound_ports.ranges} == ports


def test_loopback_is_as_open_as_the_world_is() -> None:
    some = role(compile_text(imported(one_role(False, tcp(5432))).text), "web").access
    none = role(compile_text(imported(one_role(False)).text), "web").access
    whole = role(compile_text(imported(one_role(True)).text), "web").access

    assert (some.loopback, some.loopback_ports.covers(6, 5432)) == (Loopback.PORTS, True)
    assert (none.loopback, whole.loopback) == (Loopback.OWN, Loopback.ALL)


def test_flags_of_files_and_programs_are_comments_and_told_as_not_enforced() -> None:
    flags = {"allow_network": False, "allow_exec": False, "allow_ptrace": True}
    done = imported(one_role(False, flags=flags, file_paths=[{"pattern": "/x", "allow": True}]))

    noted = {f.source for f in done.findings if f.kept is Kept.NOTED}
    assert noted == {"allow_exec: false", "allow_ptrace: true", "file_paths: 1 entry"}
    assert "# not enforced by dnsfw: allow_exec=false, allow_ptrace=true" in done.text
    assert done.lost == ()


@pytest.mark.parametrize(
    ("more", "source"),
    [
        ({"ip_rules": [{"cidr": "10.0.0.0/8", "allow": False}]}, "ip_rules: 1 entry"),
        ({"proxy": {"address": "127.0.0.1:8080"}}, "proxy: address=127.0.0.1:8080"),
        ({"network_rules": [{"protocol": "icmp", "allow": True}]}, "protocol icmp"),
        ({"network_rules": [tcp(443, address="10.0.0.1")]}, "rule protocol=tcp port=443"),
        ({"network_rules": [tcp(443, user="x")]}, "user: x"),
        ({"network_rules": [tcp(port) for port in range(1, 40, 2)]}, "role web"),
    ],
)
def test_what_dnsfw_cannot_say_is_lost_and_named(more: dict[str, Any], source: str) -> None:
    done = imported(one_role(False, **more))

    assert any(found.source.startswith(source) for found in done.lost)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"exec_enrollments": [{"executable_path": "/x", "role": "wob"}]},
         "there is no role 'wob'; there are web"),
        ({"exec_enrollments": [{"executable_path": "x", "role": "web"}]}, "is no path"),
        ({"cgroup_enrollments": [{"role": "web"}]}, "'cgroup_path' is no path"),
        ({"exec_enrollments": [{"executable_path": "/x", "role": "web"},
                               {"executable_path": "//x", "role": "db"}],
          "roles": {"web": {"id": 1}, "db": {"id": 2}}}, "is in the role web"),
        ({"roles": {}}, "the file has no role"),
        ({"roles": {"host": {"id": 1}}}, "'host' is no name for a role"),
        ({"roles": {"a b": {"id": 1}, "A-B": {"id": 2}}}, "two roles would be called a-b"),
        ({"roles": {"a": {"id": 1}, "b": {"id": 1}}}, "two roles have the id 1"),
        ({"roles": {"a": 7}}, "no object"),
        ({"roles": [7]}, "no object"),
    ],
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_an_error(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        imported(json.dumps({"roles": {"web": {"id": 1}}, **keys}))

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/sys/fs/cgroup/sandbox", "/sandbox"),
        ("/sys/fs/cgroup/unified/a/b/", "/a/b"),
        ("/sandbox", "/sandbox"),
    ],
)
def test_a_cgroup_is_named_below_its_mount(path: str, value: str) -> None:
    entry = {"cgroup_path": path, "pod_id": 7, "role_id": 9}
    text = one_role(False)[:-2] + f', "cgroup_enrollments": [{json.dumps(entry)}]' + "}"

    found = compile_text(imported(text).text)

    assert [subject.value for subject in found.subjects] == [value]
    assert "# pod 7" in imported(text).text


@pytest.mark.parametrize(
    "path", ["/sys/fs/cgroup", "/sys/fs/cgroup/docker-*.scope", "/sys/fs/cgroup/../a", "/a\u202e"]
)
def test_a_cgroup_that_is_all_or_a_guess_is_lost(path: str) -> None:
    entry = {"cgroup_path": path, "pod_id": 7, "role": "web"}
    text = one_role(False)[:-2] + f', "cgroup_enrollments": [{json.dumps(entry)}]' + "}"

    (lost,) = imported(text).lost
    assert lost.source == f"cgroup {printable(path)}"


def test_a_name_that_dnsfw_does_not_take_is_changed_and_said() -> None:
    done = imported(json.dumps({"roles": {"AI Agent": {"id": 4}}}))

    assert dict(done.role_names) == {4: "ai-agent"}
    assert ("role AI Agent", "called ai-agent") in {(f.source, f.became) for f in done.findings}


def test_pods_stay_as_comments() -> None:
    text = one_role(False)[:-2] + ', "pods": [{"id": 3, "role_id": 9, "stack_depth": 1}]}'

    assert "# pod 3 is of role web\n" in imported(text).text
