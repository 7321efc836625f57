"""Whether the next process may keep what the kernel answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dnsfw.model import Addr, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.server.judged import Judged

ONE = "version: 1\ndefault: deny\nrules: [allow: a.com]\n"


class State:
    """What a daemon is asked for."""

    def __init__(self, text: str = ONE) -> None:
        self.policy = compile_text(text)
        self.own: frozenset[Addr] = frozenset()

    def same(self, run_dir: Path, epoch: int) -> bool:
        return Judged(run_dir).same(epoch, self.policy, self.own)


async def noted(run_dir: Path, epoch: int) -> None:
    judged = Judged(run_dir)
    judged.look(epoch, compile_text(ONE), frozenset())
    assert judged._busy is not None
    await asyncio.wait([judged._busy])
    await asyncio.sleep(0)


async def test_the_same_policy_and_epoch_are_known_again(tmp_path: Path) -> None:
    await noted(tmp_path, 7)

    assert State().same(tmp_path, 7)


async def test_what_was_taken_back_since_is_not(tmp_path: Path) -> None:
    await noted(tmp_path, 7)

    assert not State().same(tmp_path, 8)


async def test_another_policy_or_address_is_not_the_same(tmp_path: Path) -> None:
    await noted(tmp_path, 7)
    moved = State()
    moved.own = frozenset({addr_from("192.0.2.1")})

    assert not State(ONE.replace("a.com", "b.com")).same(tmp_path, 7)
    assert not moved.same(tmp_path, 7)


async def test_without_a_file_or_with_a_torn_one_nobody_knows(tmp_path: Path) -> None:
    assert not State().same(tmp_path, 0)
    (tmp_path / "answers").write_bytes(b"\xff7 ab")
    assert not State().same(tmp_path, 7)


async def test_a_disk_that_fails_is_no_fault(tmp_path: Path) -> None:
    await noted(tmp_path / "gone", 7)

    assert not State().same(tmp_path / "gone", 7)
    Judged(tmp_path / "gone").remove()
