"""Command line before policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dnsfw.policy.compile import compile_text
from dnsfw.server.options import Options, listen_on, processes, run_dir, wanted_upstreams

DNS = compile_text(
    "version: 1\ndefault: deny\nrules: [{allow: a.example}]\n"
    'dns:\n  listen: ["127.0.53.1:53", "[::1]:53"]\n'
    '  upstreams: [system, "192.0.2.1", "[2001:db8::1]:5353"]\n'
).dns


def test_the_policy_says_where_to_listen_and_whom_to_ask() -> None:
    assert [str(e) for e in listen_on(Options(), DNS)] == ["127.0.53.1:53", "[::1]:53"]
    assert [str(one) for one in wanted_upstreams(Options(), DNS)] == [
        "system",
        "192.0.2.1:53",
        "[2001:db8::1]:5353",
    ]


def test_the_command_line_says_it_louder() -> None:
    options = Options(listen=("127.0.0.9", "127.0.0.9:53"), upstreams=("192.0.2.9",))

    assert [str(e) for e in listen_on(options, DNS)] == ["127.0.0.9:53"]
    assert list(wanted_upstreams(options, DNS)) == ["192.0.2.9"]


def test_auto_is_one_process_for_each_cpu_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 2, 5})

    assert [processes(replace(DNS, workers=count)) for count in (1, 4, 0)] == [1, 4, 3]


def test_the_run_directory_is_named_then_in_the_environment_then_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DNSFW_RUN_DIR", raising=False)
    assert run_dir() == Path("/run/dnsfw")
    monkeypatch.setenv("DNSFW_RUN_DIR", "/somewhere")
    assert run_dir() == Path("/somewhere")
    assert run_dir("/here") == Path("/here")
