"""What a daemon writes into its log, replay says again under the same policy: the reply, the
log, explain and replay judge alike, over random policies and answers.
"""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import pytest

from dnsfw.engine.effects import Ask, Client, Effect, Note, OpenThenReply, Reply, Transport
from dnsfw.engine.explain import explain_for
from dnsfw.engine.replay import Judge
from dnsfw.model import Mode, Name
from dnsfw.policy.asked import Asked
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.policy.seen import Seen, read_seen
from dnsfw.server.asklog_rows import Heard, name_row
from dnsfw.server.veil import CLEAR
from dnsfw.server.who_asks import NOBODY
from dnsfw.wire import message
from dnsfw.wire.name import from_text, to_text
from dnsfw.wire.reply import write_query
from tests.prop.test_engine import NAMES
from tests.prop.test_explain import Host, _wire

SEEDS = range(int(os.environ.get("DNSFW_FUZZ_SEEDS", "12")))
_HELD = {"shared", "table-full"}  # what other names hold: a log of one name knows nothing of it


class Logged(Host):
    """A host whose replies are written down as the log writes them."""

    def ask(self, name: Name, role: RolePolicy) -> tuple[list[dict[str, Any]], set[str]]:
        """The rows of one question, and the kinds of what was told besides."""
        client = Client("c", role.role, Transport.UDP)
        wire = write_query(self.rng.randrange(1 << 16), name, message.A)
        effects = list(self.engine.on_query(wire, client, self.now))
        for ask in [effect for effect in effects if isinstance(effect, Ask)]:
            asked = message.read_query(ask.wire)
            if asked.qtype == message.A:
                answer = self._answer(to_text(asked.name))
                effects += self.engine.on_answer(ask.ask, _wire(ask, answer), self.now)
        self.perform(list(effects))
        notes = tuple(effect for effect in effects if isinstance(effect, Note))
        rows = [
            row
            for reply in _replies(effects)
            if reply.client is client
            and (row := name_row(self._heard(reply, notes), CLEAR)) is not None
        ]
        return rows, {note.kind for note in notes}

    def _heard(self, reply: Reply, notes: tuple[Note, ...]) -> Heard:
        return Heard(1.0, reply.client.role, reply.wire, notes, NOBODY, self.policy)


def _replies(effects: list[Effect]) -> list[Reply]:
    found: list[Reply] = []
    for effect in effects:
        if isinstance(effect, Reply):
            found.append(effect)
        elif isinstance(effect, OpenThenReply):
            found += effect.replies
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_log_replayed_under_its_own_policy_changes_nothing(seed: int) -> None:
    rng = Random(1000 + seed)
    host = Logged(rng)
    judge = Judge(host.policy)
    told = 0
    for _ in range(80):
        role = rng.choice(list(host.policy.roles.values()))
        text = rng.choice([name for name in NAMES if "localhost" not in name])
        rows, kinds = host.ask(from_text(text), role)
        found = explain_for(role, Asked(from_text(text), False, KNOWN, text))
        if any("itself" in note for note in found.notes) or kinds & _HELD:
            continue
        for row in rows:
            if row["reason"] == "filtered":  # without its addresses there is nothing to judge
                assert not list(read_seen([json.dumps(row)]))
                continue
            (seen,) = read_seen([json.dumps(row)])
            assert isinstance(seen, Seen)
            now = judge.judge(seen)
            assert now is not None and seen.role == role.name
            if role.mode is Mode.ENFORCE:
                assert now.verdict is seen.was, (row, now)
            assert now.verdict is found.verdict or seen.addresses, (row, now, found)
            told += 1
        if rng.random() < 0.1:
            host.wait()
        if rng.random() < 0.05:
            host.swap()
            judge = Judge(host.policy)
    assert told > 20
