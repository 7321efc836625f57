"""`up --dns-only`: a whole daemon without a kernel part, and what it does not claim."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dnslib import QTYPE, RCODE

import dnsfw as package
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Lockdown, Rank, RoleId
from dnsfw.policy.compile import compile_text
from dnsfw.server.dns_only import NamesOnly, NoTables, open_names_only
from dnsfw.server.options import Options
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, free_port, running

_PR_CAPBSET_DROP = 24  # linux/prctl.h
WITH_ROLE = f"{ALLOW_EXAMPLE}roles: {{web: {{subjects: [{{uid: 1}}]}}}}\n"
TAKEN = f"{ALLOW_EXAMPLE}dns: {{takeover: true}}\n"


@asynccontextmanager
async def names_only(tmp_path: Path, upstreams: list[Any], policy: str = ALLOW_EXAMPLE) -> Any:
    opens: Any = SimpleNamespace(open=open_names_only)
    async with running(tmp_path, upstreams, policy, opens, dns_only=True) as run:
        yield run


@pytest.mark.parametrize("policy", [ALLOW_EXAMPLE, WITH_ROLE, TAKEN])
async def test_an_allowed_name_is_answered_and_a_denied_one_goes_nowhere(
    tmp_path: Path, policy: str
) -> None:
    async with NanoDns() as dns, names_only(tmp_path, [dns.endpoint], policy) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        asked = len(dns.heard)

        allowed = await run.query("www.example.com")
        denied = await run.query("www.evil.example")

        assert [str(rr.rdata) for rr in allowed.rr if rr.rtype == QTYPE.A] == ["192.0.2.7"]
        assert denied.header.rcode == RCODE.NXDOMAIN
        assert {name for name, _, _ in dns.heard[asked:]} == {"www.example.com"}


async def test_status_never_calls_it_enforcing(tmp_path: Path) -> None:
    async with names_only(tmp_path, ["127.0.0.1:9"]) as run:
        _, status = await run.control("status")

        assert status["enforcing"] is False
        assert status["not_enforcing"] == ["names only: nothing stops addresses (--dns-only)"]
        assert status["hooks"] == []
        assert status["backend"] == "none"


async def test_lockdown_claims_no_more_than_names(tmp_path: Path) -> None:
    async with names_only(tmp_path, ["127.0.0.1:9"]) as run:
        await run.control("lockdown", state="on")
        _, status = await run.control("status")

        said = "lockdown is on: no name is answered, whatever the policy allows"
        assert said in status["not_as_written"]


async def test_lockdown_refuses_every_query(tmp_path: Path) -> None:
    async with NanoDns() as dns, names_only(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]

        await run.control("lockdown", state="on")

        assert not (await run.query("www.example.com")).rr


def drop_capabilities() -> None:
    """Whatever is executed next holds no capability, whoever runs it (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def test_it_runs_without_a_capability_and_without_bpf(tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(ALLOW_EXAMPLE)
    argv = [
        sys.executable, "-m", "dnsfw", "up", "--dns-only", "--policy", str(policy),
        "--listen", f"127.0.0.1:{free_port()}", "--upstream", "127.0.0.1:9",
        "--run-dir", str(tmp_path / "run"),
    ]  # fmt: skip
    environment = {"PYTHONPATH": str(Path(package.__file__).parents[1]), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        argv, env=environment, text=True, preexec_fn=drop_capabilities,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        held = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
        rest = process.stderr.read()

    assert line.startswith("ready"), rest
    assert "CapEff:\t0000000000000000\n" in held
    assert "NAMES ONLY" in line
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [({"cgroup": "/x"}, "guards no cgroup"), ({"interfaces": ("eth0",)}, "and no interface")],
)
def test_what_needs_the_kernel_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_names_only(Options(**options), compile_text(ALLOW_EXAMPLE), lambda kernel: None)


def test_nothing_is_remembered_that_only_a_wall_could_use() -> None:
    kernel, done = NamesOnly(), []
    plan = compile_text(ALLOW_EXAMPLE).plan()

    kernel.sink.apply(plan, lambda: done.append("between"))
    kernel.sink.write(())
    kernel.sink.lockdown(Lockdown.ON)

    assert done == ["between"]
    assert (list(kernel.sink.entries()), list(kernel.sink.flows())) == ([], [])
    assert (kernel.sink.locked, kernel.sink.counters()) == (Lockdown.ON, {})
    assert (kernel.hooks(), kernel.enforcing, kernel.asker(1)) == ((), False, HOST)
    with pytest.raises(ConfigError, match="--dns-only"):
        kernel.register_cgroup(1, RoleId(16), Rank.ENROLLED)
    kernel.close(remove=True)


def test_the_sink_of_no_tables_begins_open() -> None:
    assert NoTables().locked is Lockdown.OFF
