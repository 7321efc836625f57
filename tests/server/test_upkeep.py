"""Every second: sweeping, repairing, living on whatever the host says."""

from __future__ import annotations

from pathlib import Path

from dnsfw.errors import DatapathError
from dnsfw.model import SECOND, Nanos, addr_from
from dnsfw.server.notify import Notify
from dnsfw.server.upkeep import Upkeep
from tests.support.nanodns import NanoDns
from tests.support.running import Running, running


def upkeep_of(run: Running) -> Upkeep:
    daemon = run.daemon
    return Upkeep(
        run.kernel, daemon.service.performer, daemon.service.upstreams, daemon._digest,
        Notify({}), daemon.now, daemon.faults, daemon.reporter.said,
        daemon.service.refresh_addresses,
    )  # fmt: skip


async def test_expired_grants_leave_the_kernels_table(tmp_path: Path) -> None:
    async with NanoDns(ttl=5) as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        assert len(list(run.kernel.sink.entries())) == 1
        real = run.daemon.now
        later = lambda: Nanos(real() + 600 * SECOND)  # noqa: E731
        run.daemon.service.performer._now = later

        upkeep_of(run).once()

        assert list(run.kernel.sink.entries()) == []


async def test_row_44_a_removed_hook_is_put_back_and_told(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.kernel.broken = ["connect4 was removed; it is back"]

        upkeep_of(run).once()

        assert "tamper: connect4 was removed; it is back" in run.log.text


async def test_trouble_with_the_host_is_told_and_survived(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        upkeep = upkeep_of(run)

        def refuse() -> tuple[str, ...]:
            raise DatapathError("bpffs is gone")

        run.kernel.repair = refuse  # type: ignore[method-assign]
        upkeep.once()

        assert upkeep.troubles == 1
        assert "bpffs is gone" in run.log.text


async def test_a_bug_in_the_beat_is_a_fault_not_an_end(tmp_path: Path) -> None:
    async with running(tmp_path) as run:

        def broken() -> tuple[str, ...]:
            raise ZeroDivisionError

        run.kernel.repair = broken  # type: ignore[method-assign]
        upkeep_of(run).once()

        assert run.daemon.faults.count == 1
        assert not run.task.done()


async def test_a_new_address_of_the_host_is_learned(tmp_path: Path) -> None:
    """Under `default: deny` no answer may lead to the host itself."""
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["198.51.100.1"]
        run.kernel.own_addresses = frozenset({addr_from("198.51.100.1")})

        upkeep_of(run).look()
        reply = await run.query("www.example.com")

        assert not reply.rr
