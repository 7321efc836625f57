"""Whom a command asks for addresses, and how its sockets pass a wall that stands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.copies import Copies
from dnsfw.server import fetch_command
from dnsfw.server.fetch_command import command_way
from dnsfw.server.fetch_ways import AnyWay, OwnWay
from dnsfw.server.provide import provide_now
from tests.support.https import Ca, Https
from tests.support.nanodns import NanoDns
from tests.support.remotes import Wall


def policy(tmp_path: Path, **dns: object) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps({"version": 1, "default": "allow", **({"dns": dns} if dns else {})}))
    return path


async def test_the_policys_upstreams_are_asked_and_not_the_hosts_resolver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    ca = Ca.make(tmp_path / "ca")
    with Https(ca) as site:
        rule = {"deny": {"list": site.put("/a", "a.example\n"), "ca": str(ca.file)}}
        path = tmp_path / "p.yaml"
        async with NanoDns() as dns:
            dns.zone["localhost", "A"] = ["127.0.0.1"]
            told = {"dns": {"upstreams": [str(dns.endpoint)]}, "rules": [rule]}
            path.write_text(json.dumps({"version": 1, "default": "allow", **told}))

            missed = await asyncio.to_thread(provide_now, path, Wall(), newest=True)

    assert missed == []
    assert ("localhost", "A", "udp") in dns.heard


async def test_system_is_the_hosts_resolver(tmp_path: Path) -> None:
    assert isinstance(command_way(policy(tmp_path), Copies(tmp_path)), AnyWay)


async def test_a_resolv_conf_that_names_a_dnsfw_that_does_not_run_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.53.53\n")
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))  # whatever wall this host may have
    monkeypatch.setattr(fetch_command, "RESOLV_CONF", conf)
    monkeypatch.setattr(fetch_command, "find_upstreams", lambda *_: ())

    assert isinstance(command_way(policy(tmp_path), Copies(tmp_path)), OwnWay)


async def test_an_upstream_that_is_dnsfw_itself_is_a_mistake_before_anything_is_asked(
    tmp_path: Path,
) -> None:
    path = policy(tmp_path, upstreams=["127.0.53.53"])

    with pytest.raises(ConfigError, match="dnsfw itself"):
        command_way(path, Copies(tmp_path))


async def test_upstreams_of_the_command_line_come_before_the_policys(tmp_path: Path) -> None:
    path = policy(tmp_path, upstreams=["127.0.53.53"])

    assert isinstance(command_way(path, Copies(tmp_path), ["192.0.2.1"]), OwnWay)


async def test_who_may_not_mark_sockets_for_a_wall_connects_as_any_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = policy(tmp_path, upstreams=["192.0.2.1"])
    monkeypatch.setattr(fetch_command, "wall_stands", lambda: True)

    monkeypatch.setattr(fetch_command, "mark_of_wall", lambda options: None)
    assert isinstance(command_way(path, Copies(tmp_path)), AnyWay)

    monkeypatch.setattr(fetch_command, "mark_of_wall", lambda options: lambda fd: None)
    assert isinstance(command_way(path, Copies(tmp_path)), OwnWay)
