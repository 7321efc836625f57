"""How each upstream does, as plain rows for `status` and `doctor`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dnsfw.engine.upstreams import UpstreamState
from dnsfw.model import SECOND
from dnsfw.policy.upstream import Upstream, believes
from dnsfw.server.carrier import Ways
from dnsfw.server.upstream import Upstreams

__all__ = ["upstream_rows"]

_TRANSPORTS = {"udp": "UDP", "tcp": "TCP", "tls": "TLS", "https": "HTTPS"}


def upstream_rows(
    asks: Upstreams, states: Sequence[UpstreamState], silent: Collection[Upstream] = ()
) -> list[dict[str, Any]]:
    """In the operator's order. `silent` are those that did not answer the start's own question."""
    return [
        {
            **_row(upstream, state, [carrier.ways for carrier in asks.carriers(index)]),
            "silent_at_start": upstream in silent,
        }
        for index, (upstream, state) in enumerate(zip(asks.targets, states, strict=True))
    ]


def _row(upstream: Upstream, state: UpstreamState, ways: Sequence[Ways]) -> dict[str, Any]:
    streams = ways[1:] if upstream.scheme == "udp" else ways
    latency = state.latency
    return {
        "server": str(upstream),
        "transport": _TRANSPORTS[upstream.scheme],
        "encrypted": upstream.encrypted,
        "trusted": believes(upstream),
        "latency_ms": None if latency is None else round(latency / 1e6, 1),
        "asked": state.asked,
        "answered": state.answered,
        "failures": state.failures,
        "rests_seconds": round(state.rests / SECOND, 1),
        "connections": sum(one.open for one in streams),
        "opened": sum(one.opened for one in streams),
        "reused": sum(one.reused for one in streams),
        "resumed": sum(one.resumed for one in streams),
        "broken": sum(one.failed for one in streams),
        "last_error": next(_errors(streams), ""),
    }


def _errors(ways: Sequence[Ways]) -> Iterator[str]:
    return (one.last_error for one in ways if one.last_error)
