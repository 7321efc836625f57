"""The kernel part, once for each backend that this host has, and a fresh wall a test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dnsfw.datapath.backend import Backend, Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.own import netns_cookie
from tests.support.netlab import Lab, Netns
from tests.support.wall import Wall

BACKENDS = [
    pytest.param("libbpf", marks=[pytest.mark.needs_root, pytest.mark.needs_bpf]),
    pytest.param(
        "bcc", marks=[pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_bcc]
    ),
]


def _backend(name: str) -> Backend:
    if name == "bcc":
        from dnsfw.datapath.bcc import BccBackend

        return BccBackend()
    return LibbpfBackend()


@pytest.fixture(scope="session", params=BACKENDS)
def loaded(request: pytest.FixtureRequest) -> Iterator[Loaded]:
    kernel = _backend(request.param).load({})
    yield kernel
    kernel.close()


@pytest.fixture(scope="session")
def apart() -> Iterator[Netns]:
    """A namespace with one device besides lo, for packets to leave by."""
    with Lab("tests/kernel") as lab:
        netns = lab.namespace("wall")
        netns.ip("link add eth0 type veth peer name eth1")
        netns.ip("link set eth0 up")
        yield netns


@pytest.fixture
def wall(loaded: Loaded, apart: Netns) -> Iterator[Wall]:
    with apart.entered():
        yield Wall(loaded, socket.if_nametoindex("eth0"), netns_cookie())
