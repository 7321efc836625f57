"""A policy's revision only grows, over reloads and restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.server.revision import Revision
from tests.support.running import make, running


def policy(revision: int | None) -> Policy:
    return compile_text(text(revision))


def text(revision: int | None) -> str:
    line = "" if revision is None else f"revision: {revision}\n"
    return f"version: 1\ndefault: allow\n{line}"


@pytest.mark.parametrize(("was", "new"), [(7, 7), (7, 8), (None, 1), (7, None), (0, 0)])
def test_the_same_a_newer_and_none_at_all_are_fine(
    was: int | None, new: int | None, tmp_path: Path
) -> None:
    Revision(tmp_path).take(policy(was))

    Revision(tmp_path).check(policy(new))


def test_an_older_one_is_refused_until_the_wall_is_gone(tmp_path: Path) -> None:
    Revision(tmp_path).take(policy(7))

    with pytest.raises(ConfigError, match="has revision 6, 7 was in force"):
        Revision(tmp_path).check(policy(6))

    Revision(tmp_path).remove()
    Revision(tmp_path).check(policy(6))


@pytest.mark.parametrize("content", ["", "x\n", "9" * 5000], ids=["empty", "word", "long"])
def test_a_file_that_is_no_number_is_nobodys(content: str, tmp_path: Path) -> None:
    (tmp_path / "revision").write_text(content)

    Revision(tmp_path).check(policy(10**17))


async def test_a_reload_and_a_restart_do_not_go_back(tmp_path: Path) -> None:
    async with running(tmp_path, policy=text(7)) as run:
        run.policy.write_text(text(6))
        _, refused = await run.control("reload")
        run.policy.write_text(text(8))
        _, taken = await run.control("reload")

    older = make(tmp_path, policy=text(7))
    with pytest.raises(ConfigError, match="8 was in force"):
        await older.daemon.run()

    assert (refused["ok"], taken["ok"]) == (False, True)
    assert "does not go back" in refused["error"]


async def test_a_wall_that_was_removed_leaves_no_revision(tmp_path: Path) -> None:
    async with running(tmp_path, policy=text(7)) as run:
        await run.control("down")

    assert not (tmp_path / "run" / "revision").exists()
