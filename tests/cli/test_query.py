"""`dnsfw query`: what a client hears, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.server import control
from dnsfw.server.control import Peer
from dnsfw.server.kernel import Hook
from tests.support.commands import Done, dnsfw, dnsfw_beside
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns
from tests.support.running import Running, running


async def ask(run: Running, *argv: str) -> Done:
    return await dnsfw_beside("query", "--run-dir", str(run.run_dir), *argv)


async def test_an_allowed_name_is_exit_0_with_its_addresses(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        dns.zone["www.example.com", "AAAA"] = ["2001:db8::7"]
        done = await ask(run, "www.example.com")
        v6 = await ask(run, "WWW.example.com.", "aaaa")

    assert done.code == 0
    assert done.out.startswith("www.example.com A: allowed (NOERROR)\n")
    assert "192.0.2.7" in done.out
    assert "2001:db8::7" in v6.out


async def test_a_refused_name_is_exit_1_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await ask(run, "tracker.example")
        row = json.loads((await ask(run, "tracker.example", "--json")).out)

    assert done.code == 1
    assert done.out.startswith("tracker.example A: refused (NXDOMAIN)\n  blocked")
    assert row["verdict"] == "refused"
    assert row["error"]["code"] == 15


async def test_a_rule_is_named_by_its_id_and_where_to_look_it_up(tmp_path: Path) -> None:
    policy = "version: 1\ndefault: deny\nrules: [{deny: tracker.example}]\n"
    async with running(tmp_path, policy=policy) as run:
        done = await ask(run, "tracker.example")

    assert "\n  blocked: rule " in done.out
    assert "\n  `dnsfw explain tracker.example` says which rule that is\n" in done.out


async def test_a_name_that_is_not_there_is_exit_1(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        done = await ask(run, "no.example.com")

    assert done.code == 1
    assert "no such name" in done.out


async def test_no_records_of_the_type_is_exit_0(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        done = await ask(run, "www.example.com", "AAAA")

    assert done.code == 0
    assert "no data" in done.out


async def test_a_dead_upstream_is_exit_3_with_the_extended_error(tmp_path: Path) -> None:
    async with running(tmp_path, ["127.0.0.1:9"]) as run:
        done = await ask(run, "www.example.com")

    assert done.code == 3
    assert "failed (SERVFAIL)" in done.out


async def test_over_tcp(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        done = await ask(run, "www.example.com", "--tcp")

    assert "192.0.2.7" in done.out


async def test_what_udp_cannot_hold_is_fetched_over_tcp(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = [f"192.0.2.{n}" for n in range(100)]
        done = await ask(run, "www.example.com", "--json")

    assert len(json.loads(done.out)["answers"]) == 100


async def test_another_server_may_be_asked(tmp_path: Path) -> None:
    async with NanoDns() as dns:
        dns.zone["x.example", "A"] = ["192.0.2.9"]
        done = await dnsfw_beside("query", "x.example", "--server", str(dns.endpoint))

    assert "192.0.2.9" in done.out


@pytest.mark.parametrize(
    "argv",
    [["a..b"], ["x" * 64 + ".example"], ["x.example", "NOSUCH"], ["x.example", "--server", "x"]],
)
def test_what_cannot_be_asked_is_exit_2(argv: list[str]) -> None:
    done = dnsfw("query", "--server", "127.0.0.1:9", *argv)

    assert done.code == 2
    assert done.err.count("\n") == 1


def test_row_134_a_name_on_the_command_line_cannot_steer_the_terminal() -> None:
    done = dnsfw("query", "--server", "127.0.0.1:9", "a\x1b[2J..b")

    assert "\x1b" not in done.out + done.err


def test_nobody_there_is_exit_3() -> None:
    done = dnsfw("query", "x.example", "--server", "127.0.0.1:9")

    assert done.code == 3
    assert "is dnsfw up, and in this network namespace?" in done.err


# roles

ROLES = """\
version: 1
default: deny
rules: [{allow: "*.example.com"}]
roles:
  web: {subjects: [{uid: 4241}], default: deny, rules: [{allow: "*.example.net:443"}]}
"""


async def test_a_role_asks_over_the_control_socket_and_it_is_said(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.net", "A"] = ["192.0.2.7"]
        done = await ask(run, "www.example.net", "--role", "web")
        host = await ask(run, "www.example.net", "--role", "host")
        row = json.loads((await ask(run, "www.example.net", "--role", "web", "--json")).out)

    assert (done.code, host.code) == (0, 1)
    assert "as role web, for which alone it opens addresses" in done.out
    assert (row["role"], row["verdict"]) == ("web", "allowed")


async def test_where_no_hook_sees_us_root_asks_as_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryKernel, "marks", True)  # and nobody marks our packets
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        done = await ask(run, "www.example.com")

    assert done.code == 0
    assert "as role host" in done.out


@pytest.mark.parametrize("mine", ["guarded/below", "elsewhere"])
async def test_who_is_certain_that_no_hook_sees_him_does_not_even_ask_by_himself(
    mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the log would tell of an asker without a role whenever an operator looks a name up."""
    (tmp_path / "guarded" / "below").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(MemoryKernel, "marks", True)
    hook = Hook("connect4", str(tmp_path / "guarded"), "cgroup")
    monkeypatch.setattr(MemoryKernel, "hooks", lambda self: (hook,))
    monkeypatch.setattr("dnsfw.datapath.cgroup.here", lambda: tmp_path / mine)
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint], policy=ROLES) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        done = await ask(run, "www.example.com")
        said = run.log.text

    assert done.code == 0 and "as role host" in done.out
    assert ("unknown-asker" in said) is (mine == "guarded/below")


async def test_who_may_only_look_is_told_what_the_policy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryKernel, "marks", True)
    monkeypatch.setattr(control, "peer_of", lambda sock, admins: Peer(1000, may_change=False))
    async with running(tmp_path, policy=ROLES) as run:
        allowed = await ask(run, "www.example.com")
        refused = await ask(run, "evil.example")
        row = json.loads((await ask(run, "www.example.net", "--role", "web", "--json")).out)

    assert allowed.code == 0 and refused.code == 1
    assert allowed.out.startswith("www.example.com: would be looked up for role host (allow ")
    assert "not looked up, nothing opened" in allowed.out
    assert refused.out.startswith("evil.example: would be refused for role host (name-default)")
    assert (row["judged"], row["role"]) == ("allow", "web")


@pytest.mark.parametrize("more", [("--tcp",), ("--server", "127.0.0.1:53")])
def test_a_role_is_not_asked_for_over_the_network(more: tuple[str, ...]) -> None:
    done = dnsfw("query", "x.example", "--role", "web", *more)

    assert done.code == 2
    assert "control socket" in done.err
