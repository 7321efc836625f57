"""What the child reports is judged; the real probes run in netns/."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dnsfw.datapath import abi, probe
from dnsfw.datapath.hooks import HookState
from dnsfw.datapath.memory import MemorySink
from dnsfw.datapath.probe import SelfTest, Tried, self_test
from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError
from dnsfw.model import HOST, PROBE, Nanos, Plan, Reason, RolePlan, Verdict, addr_from

GOOD = {
    "connect4": errno.EPERM, "connect6": errno.EPERM, "sendmsg4": errno.EPERM,
    "sendmsg6": errno.EPERM, "bind4": errno.EPERM, "bind6": errno.EPERM, "egress": errno.EPERM,
    "allowed4": 0, "allowed6": errno.ECONNREFUSED, "frame eth0": errno.ENOBUFS,
}  # fmt: skip


class Socks:
    fd = -1


def run(monkeypatch: pytest.MonkeyPatch, codes: Mapping[str, int], denials: int = 6) -> SelfTest:
    """The self-test with a child that reports this."""
    sink = MemorySink()
    sink.apply(Plan((RolePlan(HOST, Verdict.DENY),), (), frozenset()))

    def child(
        socks: int, leaf: Path | None, tries: Sequence[str], devices: Sequence[str]
    ) -> dict[str, int]:
        counter = abi.Counter(0, denials, 0, 0).pack()
        sink.maps["dnsfw_counters"].update(number_key(Reason.BY_NOTHING), counter)
        return dict(codes)

    monkeypatch.setattr(probe, "_run", child)
    return self_test(sink, {"dnsfw_socks": Socks()}, None, ["eth0"])  # type: ignore[dict-item]


def test_a_wall_that_refuses_and_lets_pass_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, GOOD)

    assert found.ok
    assert found.failures == ()
    assert found.denials == 6


@pytest.mark.parametrize("name", [n for n in GOOD if not n.startswith("allowed")])
def test_a_refusal_that_did_not_come_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = run(monkeypatch, {**GOOD, name: 0})

    assert not found.ok
    assert [t.got for t in found.failures] == ["passed"]


def test_an_open_address_that_is_refused_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, {**GOOD, "allowed4": errno.EPERM})

    assert not found.ok


def test_a_host_without_ipv6_proves_nothing_about_it_and_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no6 = {name: errno.EADDRNOTAVAIL for name in ("connect6", "sendmsg6", "allowed6")}

    found = run(monkeypatch, {**GOOD, **no6})

    assert found.ok
    assert [t.ok for t in found.tried].count(None) == 3


def test_a_frame_that_may_not_be_written_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, {"frame eth0": errno.EPERM})

    assert found.failures == ()
    assert not found.ok  # nothing was refused for certain


def test_refusals_that_the_kernel_did_not_count_prove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = run(monkeypatch, GOOD, denials=0)

    assert not found.ok


def test_the_probes_address_is_open_to_the_probe_alone() -> None:
    sink = MemorySink()
    sink.apply(Plan((RolePlan(HOST, Verdict.DENY),), (), frozenset()))
    for text in ("127.0.53.253", "::1"):
        addr = addr_from(text)

        assert sink.judge(PROBE, addr, 17, 9, Nanos(1))[0] is Verdict.ALLOW
        assert sink.judge(PROBE, addr, 17, 7, Nanos(1))[0] is Verdict.DENY
        assert sink.judge(HOST, addr, 17, 9, Nanos(1))[1] is Reason.LOOPBACK


def test_a_port_that_was_not_refused_but_is_not_ours_is_a_hole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = run(monkeypatch, {**GOOD, "bind4": errno.EADDRNOTAVAIL})

    assert [t.what for t in found.failures] == ["IPv4 port to listen on"]


def test_no_frame_is_tried_on_a_link_to_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def child(
        socks: int, leaf: Path | None, tries: Sequence[str], devices: Sequence[str]
    ) -> dict[str, int]:
        tried.extend(devices)
        return dict(GOOD)

    monkeypatch.setattr(probe, "_run", child)
    hooks = [
        HookState("dnsfw_guest_out", "veth7 egress", "tcx", True),
        HookState("dnsfw_edge_out", "lan0 egress", "tcx", True),
    ]
    self_test(MemorySink(), {"dnsfw_socks": Socks()}, None, ["veth7", "lan0"], iter(hooks))  # type: ignore[dict-item]

    assert tried == ["lan0"]


def test_a_child_that_cannot_run_is_an_error_with_its_words() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208

    with pytest.raises(DatapathError, match="the self-test did not run: BpfError"):
        probe._run(0, None, [], [])
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_child_that_ends_without_a_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "answer", lambda *_: os._exit(1))

    with pytest.raises(DatapathError, match="the self-test did not run: it ended"):
        probe._run(0, None, [], [])


def test_a_child_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PATIENCE", 0.02)
    monkeypatch.setattr(probe, "answer", lambda *_: signal.pause())

    with pytest.raises(DatapathError, match=r"no answer in 0.02 s"):
        probe._run(0, None, [], [])
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_hook_that_degraded_left_out_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def child(
        socks: int, leaf: Path | None, tries: Sequence[str], devices: Sequence[str]
    ) -> dict[str, int]:
        asked.extend([tries, devices])
        return {}

    monkeypatch.setattr(probe, "_run", child)
    sink = MemorySink()
    absent = [
        HookState("dnsfw_connect6", "/c", "cgroup", attached=False),
        HookState("dnsfw_tc_egress", "eth1 egress", "tcx", attached=False),
        HookState("dnsfw_tc_egress", "eth0 egress", "tcx", attached=True),
    ]

    socks = {"dnsfw_socks": Socks()}
    self_test(sink, socks, None, ["eth0", "eth1"], absent)  # type: ignore[arg-type]

    assert asked == [["connect4", "sendmsg4", "sendmsg6", "bind4", "bind6", "egress"], ["eth0"]]


def test_each_try_says_what_it_was() -> None:
    tried = [probe._tried(name, code) for name, code in GOOD.items()]

    assert len({t.what for t in tried}) == len(GOOD)
    assert all(isinstance(t, Tried) and t.what for t in tried)
