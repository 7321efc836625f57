"""Whether the next process may keep what the kernel answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dnsfw.model import Addr, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.server.judged import Judged

ONE = "version: 1\ndefault: deny\nrules: [allow: a.com]\n"


class State:
    """What a daemon is asked for."""

    def __init__(self, text: str = ONE) -> None:
        self.policy = compile_text(text)
        self.own: frozenset[Addr] = frozenset()

    def judged(self, run_dir: Path) -> Judged:
        return Judged(run_dir, self._policy, lambda: self.own)

    def _policy(self) -> Policy:
        return self.policy


async def noted(judged: Judged, epoch: int) -> None:
    judged.look(epoch)
    assert judged._busy is not None
    await asyncio.wait([judged._busy])
    await asyncio.sleep(0)


async def test_the_same_policy_and_epoch_are_known_again(tmp_path: Path) -> None:
    await noted(State().judged(tmp_path), 7)

    assert State().judged(tmp_path).same(7)


async def test_what_was_taken_back_since_is_not(tmp_path: Path) -> None:
    await noted(State().judged(tmp_path), 7)

    assert not State().judged(tmp_path).same(8)


async def test_another_policy_or_address_is_not_the_same(tmp_path: Path) -> None:
    await noted(State().judged(tmp_path), 7)
    moved = State()
    moved.own = frozenset({addr_from("192.0.2.1")})

    assert not State(ONE.replace("a.com", "b.com")).judged(tmp_path).same(7)
    assert not moved.judged(tmp_path).same(7)


async def test_without_a_file_or_with_a_torn_one_nobody_knows(tmp_path: Path) -> None:
    assert not State().judged(tmp_path).same(0)
    (tmp_path / "answers").write_bytes(b"\xff7 ab")
    assert not State().judged(tmp_path).same(7)


async def test_a_disk_that_fails_is_no_fault(tmp_path: Path) -> None:
    judged = State().judged(tmp_path / "gone")

    await noted(judged, 7)

    assert not judged.same(7)
    judged.remove()
