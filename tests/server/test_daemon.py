"""The whole daemon, without root: start, serve, reload, lock down, end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from dnsfw.cli.upstream_view import upstream_lines
from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.model import HOST, Lockdown, Verdict, addr_from
from dnsfw.server.clock import boot_now
from dnsfw.server.lock import AlreadyRunning
from tests.support.memory_kernel import MemoryKernel
from tests.support.nanodns import NanoDns, lie_then_answer, truncate
from tests.support.running import ALLOW_EXAMPLE, make, running
from tests.support.until import until

ADDR = addr_from("192.0.2.7")


def addresses(reply: DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in reply.rr if rr.rtype == QTYPE.A]


def judged(kernel: MemoryKernel) -> Verdict:
    return kernel.sink.judge(HOST, ADDR, 6, 443, boot_now())[0]


async def test_an_allowed_name_is_answered_and_open(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        assert judged(run.kernel) is Verdict.DENY

        reply = await run.query("www.example.com")

        assert addresses(reply) == ["192.0.2.7"]
        assert judged(run.kernel) is Verdict.ALLOW


@pytest.mark.usefixtures("answers")
async def test_row_62_a_denied_name_sends_no_byte_upstream(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        before = len(dns.heard)

        reply = await run.query("secret.evil.example")

        assert reply.header.rcode == RCODE.NXDOMAIN
        assert len(dns.heard) == before


@pytest.mark.usefixtures("answers")
async def test_row_93_a_truncated_answer_is_asked_again_over_tcp(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        dns.script(truncate)

        assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]
        assert [heard[2] for heard in dns.heard[-2:]] == ["udp", "tcp"]


@pytest.mark.usefixtures("answers")
async def test_row_80_forged_answers_before_the_real_one_are_ignored(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        dns.script(lie_then_answer())

        assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]


@pytest.mark.usefixtures("answers")
async def test_row_79_equal_questions_are_asked_once(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]

        replies = await asyncio.gather(*(run.query("www.example.com") for _ in range(50)))

        assert all(addresses(reply) == ["192.0.2.7"] for reply in replies)
        assert sum(name == "www.example.com" for name, _, _ in dns.heard) == 1


@pytest.mark.usefixtures("answers")
async def test_row_107_a_dead_upstream_is_passed_over(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, ["127.0.0.1:9", dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]

        assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]


async def test_row_50_a_packet_of_death_is_one_lost_packet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        engine = run.daemon.service.engine
        real = engine.on_query

        def deadly(wire: bytes, client: object, now: object) -> object:
            if b"death" in wire:
                raise ZeroDivisionError
            return real(wire, client, now)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "on_query", deadly)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await run.exchange(b"death" * 10, patience=0.01)

        assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]
        assert run.daemon.faults.count == 20
        assert run.log.text.count("ZeroDivisionError") == 1


async def test_garbage_on_the_listener_disturbs_nobody(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        for size in (1, 11, 12, 13, 100, 4096, 9000):
            with pytest.raises(TimeoutError):
                await run.exchange(b"\xff" * size, patience=0.01)

        assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]
        assert run.daemon.faults.count == 0


async def test_listeners_are_marked_and_registered(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        listening = [listener.socket.fileno() for listener in run.daemon.service.listeners]

        assert set(listening) <= set(run.kernel.owned)
        assert [str(e) for e in run.kernel.listening] == [f"127.0.0.1:{run.port}"]


async def test_ready_comes_after_the_probes(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert run.kernel.probes == 1
        assert run.said[0].startswith("ready: ")


async def test_a_probe_that_fails_is_no_ready_and_no_wall(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.kernel.trouble = DatapathError("the refused probe passed")

    with pytest.raises(DatapathError, match="refused probe"):
        await run.daemon.run()

    assert not run.kernel.standing
    assert not run.said


async def test_row_53_a_start_that_fails_leaves_an_adopted_wall_standing(tmp_path: Path) -> None:
    run = make(tmp_path, kernel=MemoryKernel(MemoryKernel().sink))
    run.kernel.trouble = DatapathError("no")

    with pytest.raises(DatapathError):
        await run.daemon.run()

    assert run.kernel.standing
    assert run.kernel.closed


async def test_row_52_a_second_daemon_is_refused_with_the_pid(tmp_path: Path) -> None:
    async with running(tmp_path):
        second = make(tmp_path)

        with pytest.raises(AlreadyRunning, match=str(os.getpid())):
            await second.daemon.run()


@pytest.mark.parametrize("upstream", ["tls://dns.example", "192.0.2.1:0", "nonsense"])
async def test_a_bad_upstream_is_the_operators_mistake(tmp_path: Path, upstream: str) -> None:
    with pytest.raises(ConfigError):
        await make(tmp_path, [upstream]).daemon.run()


async def test_an_upstream_that_leads_back_to_us_is_found(tmp_path: Path) -> None:
    """A forwarder between us and ourselves: no address tells."""
    loop = asyncio.get_running_loop()
    run = make(tmp_path)

    class Forwarder(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            transport.sendto(data, ("127.0.0.1", run.port))

    transport, _ = await loop.create_datagram_endpoint(Forwarder, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    object.__setattr__(run.daemon.options, "upstreams", (f"{host}:{port}",))

    with pytest.raises(ConfigError, match="asks dnsfw itself"):
        await run.daemon.run()

    transport.close()
    assert not run.kernel.standing


async def test_a_silent_upstream_is_told_and_does_not_stop_the_start(tmp_path: Path) -> None:
    """`status` says the same as the log."""
    async with NanoDns() as dns, running(tmp_path, ["127.0.0.1:9", dns.endpoint]) as run:
        _, status = await run.control("status")
        (line,) = [line for line in run.log.text.splitlines() if "does not answer" in line]

    said = list(upstream_lines(status["upstream_rows"]))
    assert line == "upstream 127.0.0.1:9 does not answer (asked once, at the start)"
    assert said[0] == line.removeprefix("upstream ").replace(" does", ": does")
    assert said[1] == f"{dns.endpoint}: not asked yet"


# the end


async def test_sigterm_leaves_the_wall(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        os.kill(os.getpid(), signal.SIGTERM)
        await run.ended()

        assert run.kernel.standing
        assert "stays up" in run.said[-1]


async def test_ctrl_c_removes_everything(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        os.kill(os.getpid(), signal.SIGINT)
        await run.ended()

        assert not run.kernel.standing
        assert not run.run_dir.exists()


async def test_down_answers_when_all_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, last = await run.control("down")

        assert last["ok"] and not run.run_dir.exists()
        assert not run.kernel.standing
        await run.ended()


async def test_a_trial_undoes_itself(tmp_path: Path) -> None:
    async with running(tmp_path, trial=0.05) as run:
        await run.ended()

        assert not run.kernel.standing
        assert "nobody confirmed" in run.log.text


async def test_a_confirmed_trial_stays(tmp_path: Path) -> None:
    async with running(tmp_path, trial=30.0) as run:
        _, last = await run.control("confirm")
        assert last["ok"]
        _, again = await run.control("confirm")
        assert not again["ok"]
        run.daemon.leave()
        await run.ended()

        assert run.kernel.standing


async def test_a_trial_that_is_stopped_leaves_no_wall(tmp_path: Path) -> None:
    async with running(tmp_path, trial=30.0) as run:
        run.daemon.leave()
        await run.ended()

        assert not run.kernel.standing


# restart


async def test_row_48_a_restart_adopts_grants_and_their_names(tmp_path: Path) -> None:
    async with NanoDns() as dns:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        async with running(tmp_path, [dns.endpoint]) as run:
            await run.query("www.example.com")
            sink = run.kernel.sink
        async with running(tmp_path, [dns.endpoint], kernel=MemoryKernel(sink)) as again:
            assert judged(again.kernel) is Verdict.ALLOW
            rows, _ = await again.control("grants")

            assert rows[0]["names"] == ["www.example.com"]


async def test_a_restart_closes_what_the_policy_of_now_refuses(tmp_path: Path) -> None:
    async with NanoDns() as dns:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        async with running(tmp_path, [dns.endpoint]) as run:
            await run.query("www.example.com")
            sink = run.kernel.sink
        policy = ALLOW_EXAMPLE + "  - deny: www.example.com\n"
        async with running(tmp_path, [dns.endpoint], policy, MemoryKernel(sink)) as again:
            assert judged(again.kernel) is Verdict.DENY


# reload


async def test_a_reload_says_what_changes_and_closes_at_once(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        await run.query("www.example.com")
        run.policy.write_text(ALLOW_EXAMPLE + "  - deny: www.example.com\n")

        _, last = await run.control("reload")

        assert any("deny www.example.com" in change for change in last["changes"])
        assert judged(run.kernel) is Verdict.DENY
        assert (await run.query("www.example.com")).header.rcode == RCODE.NXDOMAIN


async def test_row_124_a_bad_file_keeps_the_old_policy_and_says_so(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        run.policy.write_text("version: 1\ndefault: den")

        _, last = await run.control("reload")
        _, status = await run.control("status")

        assert last["exit"] == 2
        assert "policy.yaml:2" in last["error"]
        assert "policy.yaml:2" in status["policy_stale"]
        assert addresses(await run.query("www.example.com")) == ["192.0.2.7"]


async def test_sighup_reloads(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text(ALLOW_EXAMPLE.replace("example.com", "example.net"))

        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "reloaded" in run.log.text)

        assert "example.net" in run.daemon.reloader.policy.host.rules[0].text


async def test_sighup_with_a_bad_file_is_logged_and_survived(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text("no policy")

        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "reload failed" in run.log.text)

        assert not run.task.done()


async def test_a_start_with_a_bad_policy_touches_nothing(tmp_path: Path) -> None:
    run = make(tmp_path, policy="version: 1\nrules: x\n")

    with pytest.raises(PolicyError):
        await run.daemon.run()

    assert not run.kernel.owned


# lockdown


async def test_lockdown_refuses_queries_and_asks_nobody(tmp_path: Path) -> None:
    async with NanoDns() as dns, running(tmp_path, [dns.endpoint]) as run:
        await run.control("lockdown", state="on")
        before = len(dns.heard)

        reply = await run.query("www.example.com")

        assert reply.header.rcode == RCODE.REFUSED
        assert len(dns.heard) == before
        assert run.kernel.sink.locked is Lockdown.ON


async def test_lockdown_survives_a_restart(tmp_path: Path) -> None:
    async with NanoDns() as dns:
        async with running(tmp_path, [dns.endpoint]) as run:
            await run.control("lockdown", state="hard")
            sink = run.kernel.sink
        heard = len(dns.heard)
        async with running(tmp_path, [dns.endpoint], kernel=MemoryKernel(sink)) as again:
            assert (await again.query("www.example.com")).header.rcode == RCODE.REFUSED
            assert len(dns.heard) == heard
            await again.control("lockdown", state="off")
            dns.zone["www.example.com", "A"] = ["192.0.2.7"]
            assert addresses(await again.query("www.example.com")) == ["192.0.2.7"]
