"""Several processes that answer (`dns.workers`): a whole daemon with real workers, a kernel in
memory. What the real kernel adds is in netns/test_workers.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dnslib import RCODE, DNSRecord

from dnsfw.errors import DatapathError
from dnsfw.server.worker_words import pack_query
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, Running, running
from tests.support.until import until

POLICY = ALLOW_EXAMPLE + "dns: {workers: 3, kernel_answers: off}\n"
WWW = "www.example.com"


def rows(run: Running) -> list[dict[str, Any]]:
    assert run.daemon.service.workers is not None
    return run.daemon.service.workers.rows()


def serving(run: Running) -> bool:
    return all(row["state"] == "serving" for row in rows(run))


def answered(run: Running) -> int:
    return sum(int(row["answered"]) for row in rows(run))


@asynccontextmanager
async def workers(
    tmp_path: Path, dns: NanoDns, policy: str = POLICY, **options: Any
) -> AsyncIterator[Running]:
    """A daemon whose workers are all there."""
    async with running(tmp_path, [dns.endpoint], policy, **options) as run:
        await until(lambda: serving(run))
        yield run


@pytest.fixture
async def dns() -> AsyncIterator[NanoDns]:
    async with NanoDns() as server:
        server.zone[WWW, "A"] = ["192.0.2.7"]
        yield server


def address(reply: DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in reply.rr]


async def test_repeated_queries_are_answered_by_workers_and_alike(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        replies = [await run.query(WWW) for _ in range(60)]  # each from a port of its own

        assert {tuple(address(reply)) for reply in replies} == {("192.0.2.7",)}
        assert {len(reply.ar) for reply in replies} == {1}
        assert all(row["handed_on"] for row in rows(run))
        assert all(row["answered"] for row in rows(run)), rows(run)
        assert sum(name == WWW + "." or name == WWW for name, _, _ in dns.heard) == 1


async def test_what_no_policy_lets_pass_is_refused_by_whoever_reads_it(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        replies = [await run.query("secret.evil.example") for _ in range(20)]

        assert {reply.header.rcode for reply in replies} == {RCODE.NXDOMAIN}
        assert answered(run) == 0


def pids(run: Running) -> list[int]:
    return [row["pid"] for row in rows(run)]


async def warmed(run: Running, name: str = WWW) -> None:
    """Every worker has its copy."""
    await until(lambda: serving(run))
    before = [row["answered"] for row in rows(run)]
    for _ in range(300):
        await run.query(name)
        if all(row["answered"] > b for row, b in zip(rows(run), before, strict=True)):
            return
    raise AssertionError(rows(run))


async def test_status_shows_each_process(tmp_path: Path, dns: NanoDns) -> None:
    async with workers(tmp_path, dns) as run:
        await warmed(run)
        _, status = await run.control("status")

    assert [row["state"] for row in status["workers"]] == ["serving", "serving"]
    assert all(row["answered"] and row["handed_on"] for row in status["workers"])
    assert "3 processes" in run.said[0]


async def test_the_daemon_counts_what_its_workers_answered(tmp_path: Path, dns: NanoDns) -> None:
    async with workers(tmp_path, dns) as run:
        before = run.daemon.service.engine.stats()["queries"]
        for _ in range(100):
            await run.query(WWW)

        stats = run.daemon.service.engine.stats
        await until(lambda: stats()["queries"] == before + 100)
        assert answered(run) > 0


async def test_after_a_reload_no_worker_tells_what_is_refused_now(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        for number in range(5):
            await warmed(run)
            run.policy.write_text(POLICY.replace("*.example.com", f"*.other{number}.example"))
            await run.daemon.reloader.reload()
            refused = [await run.query(WWW) for _ in range(20)]
            run.policy.write_text(POLICY)
            await run.daemon.reloader.reload()

            assert {reply.header.rcode for reply in refused} == {RCODE.NXDOMAIN}


async def test_in_a_lockdown_no_worker_tells_anything(tmp_path: Path, dns: NanoDns) -> None:
    async with workers(tmp_path, dns) as run:
        await warmed(run)
        await run.control("lockdown", state="on")
        told = [await run.query(WWW) for _ in range(20)]
        await run.control("lockdown", state="off")
        again = [await run.query(WWW) for _ in range(20)]

    assert not any(address(reply) for reply in told)
    assert all(address(reply) for reply in again)


async def test_a_worker_that_is_killed_costs_nobody_an_answer(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        await warmed(run)
        (first, _), answers = pids(run), 0
        os.kill(first, signal.SIGKILL)
        for _ in range(50):
            answers += bool(address(await run.query(WWW)))
        await until(lambda: serving(run))

        assert answers == 50
        assert [row["restarts"] for row in rows(run)] == [1, 0]
        assert pids(run)[0] != first
        await warmed(run)  # and the new one answers
        assert f"pid {first}" in run.log.text and "signal 9" in run.log.text


async def test_in_place_of_a_worker_that_cannot_start_the_daemon_answers(
    tmp_path: Path, dns: NanoDns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workers(tmp_path, dns) as run:
        await warmed(run)
        monkeypatch.setattr("dnsfw.server.workers.Link", _no_process)
        for pid in pids(run):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(pids(run)))
        replies = [await run.query(WWW) for _ in range(40)]
        await until(lambda: "no more processes" in run.log.text)
        monkeypatch.undo()
        await until(lambda: serving(run))  # it goes on trying

    assert all(address(reply) for reply in replies)


def _no_process(*_: object, **__: object) -> None:
    raise DatapathError("no more processes")


async def test_all_that_waits_for_a_worker_that_stopped_is_answered_by_the_daemon(
    tmp_path: Path, dns: NanoDns
) -> None:
    """It reads nothing; what came meanwhile is in its socket, which is the daemon's, too."""
    async with workers(tmp_path, dns) as run:
        await warmed(run)
        for pid in pids(run):
            os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(run.query(WWW)) for _ in range(30)]
        await asyncio.sleep(0.1)
        stuck = sum(not one.done() for one in waiting)
        for pid in pids(run):
            os.kill(pid, signal.SIGKILL)

        replies = await asyncio.gather(*waiting)

    assert stuck > 0
    assert all(address(reply) for reply in replies)


async def test_one_that_stops_in_the_middle_of_a_batch_holds_up_no_reload(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        await warmed(run)
        service = run.daemon.service.workers
        assert service is not None
        seat = service._seats[0]
        assert seat.link is not None
        pid = seat.link.pid
        os.kill(pid, signal.SIGSTOP)
        seat.link.page.enter()  # as if that had been in a batch

        await run.daemon.reloader.reload()

        assert seat.link is None or seat.link.pid != pid
        assert "did not finish its batch" in run.log.text
        assert all([address(await run.query(WWW)) for _ in range(20)])


async def test_one_that_hangs_is_ended_and_replaced(
    tmp_path: Path, dns: NanoDns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dnsfw.server import workers as module

    async with workers(tmp_path, dns) as run:
        service = run.daemon.service.workers
        assert service is not None
        first, _ = pids(run)
        service.look()
        os.kill(first, signal.SIGSTOP)
        monkeypatch.setattr(module, "_SILENT", 0.5)
        await until(lambda: (service.look(), pids(run)[0] not in (first, None))[1])
        monkeypatch.undo()
        await until(lambda: serving(run))

    assert "no sign of life" in run.log.text


@pytest.mark.parametrize(
    "junk",
    [
        b"?", b"T", b"Tnull", b"T[]", b'T{"renew":1,"until":2}', b'T{"allow":-1}', b"Qx",
        b'T{"hits":{"x":1},"dropped":{},"truncated":0,"unsent":0}', b'T{"share":"x","on":true}',
        b'T{"share":99,"on":true}', b"Q" + b"\x09" + bytes(55), b'T{"allow":1e400}',
        b'T{"renew":[0,"00",0,0],"until":1}', b"T" + b"[" * 20_000,
        b'T{"hits":[],"dropped":{},"truncated":0,"unsent":0}',
        b'T{"hits":{"256":1},"dropped":{},"truncated":0,"unsent":0}',
        b'T{"hits":{},"dropped":{"-1":1},"truncated":0,"unsent":0}',
    ],
)  # fmt: skip
async def test_a_worker_that_talks_nonsense_is_ended(
    tmp_path: Path, dns: NanoDns, junk: bytes
) -> None:
    async with workers(tmp_path, dns, POLICY.replace("3", "2")) as run:
        service = run.daemon.service.workers
        assert service is not None
        seat = service._seats[0]
        link = seat.link
        assert link is not None
        monkey = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        monkey[1].send(junk)
        real, link.socket = link.socket, monkey[0]
        link.socket.setblocking(False)
        try:
            service._hear(seat, link)
            assert seat.link is not link
        finally:
            run.daemon.service._loop.remove_reader(real.fileno())
            real.close()
            monkey[1].close()
        assert "never should" in run.log.text


async def test_a_worker_that_died_in_the_middle_of_nonsense_leaves_no_descriptor(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns, POLICY.replace("3", "2")) as run:
        service = run.daemon.service.workers
        assert service is not None
        seat = service._seats[0]
        link = seat.link
        assert link is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.send(b"Qx")
        (real, link.socket), seat.link = (link.socket, ours), None
        ours.setblocking(False)
        try:
            with contextlib.suppress(ValueError):
                service._bury(seat, link)
            assert ours.fileno() == -1
        finally:
            run.daemon.service._loop.remove_reader(real.fileno())
            real.close()
            theirs.close()


async def test_who_cannot_be_told_that_addresses_changed_is_replaced(
    tmp_path: Path, dns: NanoDns
) -> None:
    """Else it would go on taking strangers for neighbours."""
    async with workers(tmp_path, dns) as run:
        service = run.daemon.service.workers
        assert service is not None
        first, other = pids(run)
        os.kill(first, signal.SIGSTOP)
        link = service._seats[0].link
        assert link is not None
        with contextlib.suppress(BlockingIOError):
            while True:  # as if more copies had been sent than it has had time for
                link.socket.send(b"C" + bytes(1 << 15))

        service.forget_neighbours()

        assert pids(run) == [None, other]
        await until(lambda: serving(run))
    assert "addresses" in run.log.text


async def test_a_name_in_use_is_asked_for_anew_before_it_ends(
    tmp_path: Path, dns: NanoDns
) -> None:
    """The workers say so: the daemon hears no query for it."""
    dns.ttl = 5
    async with workers(tmp_path, dns) as run:
        asked = [0]

        def heard() -> int:
            return sum(name.startswith("www.") for name, _, _ in dns.heard)

        async def ask() -> bool:
            asked[0] += 1
            assert address(await run.query(WWW))
            return run.daemon.service.engine.stats()["renewed"] > 0

        for _ in range(200):
            if await ask():
                break
            await asyncio.sleep(0.05)

        assert run.daemon.service.engine.stats()["renewed"] == 1
        await until(lambda: heard() == 2)
        assert answered(run) > asked[0] // 4


async def test_a_changed_number_of_workers_waits_for_the_next_start(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        run.policy.write_text(POLICY.replace("workers: 3", "workers: 2"))
        done = await run.daemon.reloader.reload()

        assert any("dns.workers" in line and "next start" in line for line in done.warnings)
        assert any("dns.workers" in line for line in done.changes)
        assert len(rows(run)) == 2


async def test_no_process_is_left_when_the_daemon_has_ended(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        there = pids(run)

    for pid in there:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_one_process_is_the_daemon_alone(tmp_path: Path, dns: NanoDns) -> None:
    async with running(tmp_path, [dns.endpoint], ALLOW_EXAMPLE) as run:
        _, status = await run.control("status")

        assert run.daemon.service.workers is None
        assert status["workers"] == []
        assert "processes" not in run.said[0]


async def test_row_103_what_each_process_can_answer_is_added_up(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        service, told = run.daemon.service.workers, []
        assert service is not None
        service._allow = told.append
        run.daemon.service.rates.allow(100)
        service._take_told(service._seats[0], {"allow": 50})
        service._take_told(service._seats[1], {"allow": 20})
        service._take_told(service._seats[0], {"allow": 0})

        assert told == [100, 150, 170, 120]


async def test_row_103_the_kernel_limits_where_a_worker_is_behind(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        service = run.daemon.service.workers
        assert service is not None
        seat = service._seats[0]
        fd = seat.listeners[0].socket.fileno()
        service._take_told(seat, {"share": 0, "on": True})
        limited = set(run.kernel.sharing)
        service._take_told(seat, {"share": 0, "on": False})

        assert limited == {fd} and not run.kernel.sharing


async def test_row_103_of_what_workers_hand_on_nobody_has_more_than_his_part(
    tmp_path: Path, dns: NanoDns
) -> None:
    async with workers(tmp_path, dns) as run:
        service = run.daemon.service
        monkey = [False]
        service.rates.behind()
        service.rates.admits = lambda role, address: monkey[0]  # type: ignore[method-assign]
        assert service.workers is not None
        heard = service.engine.stats()["queries"]
        seat = service.workers._seats[0]
        wire = b"Q" + pack_query(0, 0, b"\2\0\0\7\x7f\0\0\1", b"", DNSRecord.question(WWW).pack())
        assert seat.link is not None
        service.workers._take_queries(seat, seat.link, wire)
        assert service.engine.stats()["queries"] == heard
        monkey[0] = True
        service.workers._take_queries(seat, seat.link, wire)
        assert service.engine.stats()["queries"] == heard + 1
