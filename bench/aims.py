"""What the bench is aimed at, and what a run says of it. Each is a ratio within one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
_DNSFW, _PYTHON = "dnsfw", "dnsfw, Python alone"
_BEST = ("unbound", "dnsmasq", "dnsdist")


@dataclass(frozen=True, slots=True)
class Found:
    text: str
    met: bool


@dataclass(frozen=True, slots=True)
class Aim:
    what: str
    aim: str
    measure: Callable[[Results], Found]


def median(results: Results, question: str, title: str, name: str) -> float:
    """The median of one row. KeyError, StopIteration where there is none."""
    tables = results[question]["tables"]
    table = next(t for t in tables if t["title"].startswith(title) and not t.get("refused"))
    value: float = next(row["median"] for row in table["rows"] if row["name"] == name)
    return value


def _best(
    results: Results, question: str, title: str, peers: Sequence[str], choose: Callable[..., float]
) -> float:
    return choose(median(results, question, title, peer) for peer in peers)


def _times(ratio: float, at_least: float) -> Found:
    return Found(f"{ratio:.2f} times", ratio >= at_least)


def _part(ratio: float, at_most: float) -> Found:
    return Found(f"{ratio:.3g}" if ratio > 0.1 else f"1/{1 / ratio:.1f}", ratio <= at_most)


def _latency(title: str, at_most: float) -> Callable[[Results], Found]:
    def measure(results: Results) -> Found:
        mine = median(results, "answers", title, _DNSFW)
        return _part(mine / _best(results, "answers", title, _BEST, min), at_most)

    return measure


def _more(
    question: str, title: str, peers: Sequence[str], at_least: float, name: str = _DNSFW
) -> Callable[[Results], Found]:
    """So many times the best of these peers."""

    def measure(results: Results) -> Found:
        mine = median(results, question, title, name)
        return _times(mine / _best(results, question, title, peers, max), at_least)

    return measure


def _length_of_list(results: Results) -> Found:
    title = "lo, everything on one core: refusals"
    many = median(results, "refusals", title, _DNSFW)
    few = median(results, "refusals", title, "dnsfw, a thousand names")
    return Found(f"{100 * (1 - many / few):.1f} % slower", many >= 0.9 * few)


def _hit(results: Results) -> Found:
    ns = median(results, "capacity", "the kernel's time of a hit", "by native XDP")
    return Found(f"{ns:.0f} ns", ns <= 300)


def _grant_write(results: Results) -> Found:
    mine = median(results, "grant", "one grant", "dnsfw, a new address")
    title = "a look-up of a fresh name"
    theirs = median(results, "grant", title, "dnsmasq with nftset") - median(
        results, "grant", title, "dnsmasq, no set")
    return _part(mine / theirs, 1 / 8)


def _packet_kept(results: Results) -> Found:
    title = "what that adds to a send to one address, 1,000,000 open"
    mine = median(results, "packet", title, "TC egress")
    return _part(mine / median(results, "packet", title, "nft set"), 0.35)


def _packet(results: Results) -> Found:
    title = "what that adds to a send, 1,000,000 open"
    mine = median(results, "packet", title, "TC egress")
    return _part(mine / median(results, "packet", title, "nft set"), 0.6)


def _flat(results: Results) -> Found:
    few = median(results, "packet", "10 grants", "tc_egress: grant")
    many = median(results, "packet", "1,000,000 grants", "tc_egress: grant")
    return Found(f"{few:.0f} and {many:.0f} ns", many <= 1.1 * few)


def _no_harm(title: str) -> Callable[[Results], Found]:
    def measure(results: Results) -> Found:
        share = median(results, "harm", title, _DNSFW) / median(
            results, "harm", title, "no firewall")
        return Found(f"{100 * share:.1f} %", share >= 0.98)

    return measure


def _memory(title: str, most: int) -> Callable[[Results], Found]:
    def measure(results: Results) -> Found:
        mib = median(results, "start", f"{title}: memory", _DNSFW)
        return Found(f"{mib * 1.048576:.0f} MB", mib * 1.048576 <= most)

    return measure


def _crash(results: Results) -> Found:
    title = "killed and started again"
    failed = median(results, "start", title, "· of these failed")
    refused = median(results, "start", title, "sends to their addresses refused")
    ms = median(results, "start", title, "from the kill until a new name was answered, ms")
    return Found(f"{failed + refused:.0f} failures, {ms / 1000:.2f} s",
                 not (failed + refused) and ms <= 500)


AIMS = (
    Aim("one cached look-up on lo, p50, own core, beside the best of unbound, dnsmasq, dnsdist",
        "≤ 1/15", _latency("lo, one at a time, server on its own core: p50", 1 / 15)),
    Aim("the same, on one core", "≤ 1/2.2",
        _latency("lo, one at a time, on one core: p50", 1 / 2.2)),
    Aim("cached queries/s, client and server on one core, over a veth", "≥ 2 times the best peer",
        _more("answers", "veth, everything on one core: answers", _BEST, 2)),
    Aim("capacity, TC on one core", "≥ 4.5 times a peer with a core of its own",
        _more("capacity", "queries made in the kernel: answers", _BEST, 4.5)),
    Aim("capacity, native XDP", "≥ 10 times",
        _more("capacity", "queries made in the kernel: answers", _BEST, 10, "dnsfw, XDP")),
    Aim("kernel time of a hit, beyond an empty program", "≤ 300 ns", _hit),
    Aim("refusals of a million names against a thousand", "≤ 10 % slower", _length_of_list),
    Aim("refusals of a million names beside unbound and dnsdist", "≥ 4 times",
        _more("refusals", "veth, everything on one core: refusals", ("unbound", "dnsdist"), 4)),
    Aim("Python alone, cached, flooded, beside dnsmasq", "≥ 1.3 times",
        _more("capacity", "queries made in the kernel: answers", ("dnsmasq",), 1.3, _PYTHON)),
    Aim("Python alone, cached, flooded, beside dnsdist", "≥ 1.0 times",
        _more("capacity", "queries made in the kernel: answers", ("dnsdist",), 1.0, _PYTHON)),
    Aim("cold query beside dnsmasq with nftset", "≥ 3 times",
        _more("cold", "fresh names, a core for the server: look-ups", ("dnsmasq with nftset",), 3,
              _PYTHON)),
    Aim("cold query beside dnsdist that only forwards", "≥ 0.9 times",
        _more("cold", "fresh names, a core for the server: look-ups", ("dnsdist, no set",), 0.9,
              _PYTHON)),
    Aim("time a grant write adds, of dnsmasq's nftset", "≤ 1/8", _grant_write),
    Aim("a packet judged by TC, a million grants, of an nft set", "≤ 0.6", _packet),
    Aim("the same where the verdict is kept on the socket", "≤ 0.35", _packet_kept),
    Aim("the same program with 10 grants and a million", "flat", _flat),
    Aim("one TCP stream, guarded", "≥ 98 %", _no_harm("one TCP stream")),
    Aim("web requests/s, guarded, kept connections", "≥ 98 %",
        _no_harm("pages over kept connections")),
    Aim("web requests/s, guarded, a new connection each", "≥ 98 %",
        _no_harm("pages, each over a new connection")),
    Aim("memory at rest, kernel tables included", "≤ 60 MB", _memory("small policy", 60)),
    Aim("memory with a million refused names", "≤ 100 MB", _memory("a million names", 100)),
    Aim("killed and started again under load", "0 failures, takeover ≤ 0.5 s", _crash),
)
