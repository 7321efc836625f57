"""Sockets, engine and kernel, wired."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server.address import parse_endpoint
from dnsfw.server.service import Listeners
from tests.support.nanodns import NanoDns
from tests.support.running import free_port, running


def test_when_one_address_cannot_be_had_none_is_kept() -> None:
    one, taken = free_port(), free_port()
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", taken))
        with pytest.raises(ConfigError, match=str(taken)):
            Listeners([parse_endpoint(f"127.0.0.1:{one}"), parse_endpoint(f"127.0.0.1:{taken}")])

    Listeners([parse_endpoint(f"127.0.0.1:{one}")]).close()


def test_where_datagrams_cannot_be_read_in_batches_there_is_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfw.server.service.able", lambda: False)
    listeners = Listeners([parse_endpoint(f"127.0.0.1:{free_port()}")], 3)

    assert not listeners.lent
    listeners.close()


async def test_tables_are_filled_before_the_hooks_judge(tmp_path: Path) -> None:
    """`fill` runs inside `open`: policy, listeners and own sockets are there already."""
    async with running(tmp_path) as run:
        assert run.kernel.sink.maps["dnsfw_rules"].data
        assert run.kernel.listening
        assert run.kernel.owned


async def test_v6_and_tcp_are_served_by_the_same_engine(tmp_path: Path) -> None:
    port = free_port()
    async with (
        NanoDns() as dns,
        running(tmp_path, [dns.endpoint], listen=(f"127.0.0.1:{port}", f"[::1]:{port}")) as run,
    ):
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        run.port = port

        assert (await run.query("www.example.com")).rr
        assert len(list(run.daemon.service.listeners)) == 4


async def test_only_a_resolver_on_loopback_is_believed_about_ad(tmp_path: Path) -> None:
    async with running(tmp_path, ["127.0.0.1:9", "192.0.2.1"]) as run:
        assert run.daemon.service.engine._lookups.trusted == frozenset({0})
