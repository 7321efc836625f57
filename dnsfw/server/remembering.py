"""From the history in memory to the one on disk: in words, veiled where the policy says so.

Few rows a second go there, so that a flood of refusals costs the loop little; what is left
out is counted. Roles of which nothing is to be kept do not get this far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnsfw.engine.effects import Note
from dnsfw.model import SECOND, Addr, Name, RuleId, addr_text
from dnsfw.policy.asked import Asked
from dnsfw.server.clock import Now
from dnsfw.server.history import Happened, Learnt, Seen
from dnsfw.server.history_disk import HistoryDisk, KeptEvent, KeptLearnt, KeptRefusals
from dnsfw.server.veil import Veil
from dnsfw.server.who_asks import NOBODY, Who
from dnsfw.wire.name import to_text

__all__ = ["Remembering"]

_A_SECOND = 300
_BURST = 3000


class Remembering:
    """`history.Remembers`, over one file."""

    def __init__(
        self,
        disk: HistoryDisk,
        veil: Veil,
        now: Now,
        role_name: Callable[[int], str],
        rule_text: Callable[[int], str],
        row: Callable[[Happened], dict[str, Any]],
        without: frozenset[str],
        *,
        askers: bool,
    ) -> None:
        self.disk = disk
        self.veil = veil
        self.left_out = 0
        self._now = now
        self._role_name = role_name
        self._rule_text = rule_text
        self._row = row
        self._without = without
        self._askers = askers
        self._tokens = float(_BURST)
        self._filled = now()

    def happened(self, number: int, seen: Seen) -> None:
        what = seen.what
        role = self._role_name(what.role)
        if role in self._without or not self._may_write():
            return
        row = self._row(what)
        about = what.name if isinstance(what, Note) else Addr(what.addr)
        self.disk.put(
            KeptRefusals(
                role, self.veiled(about, is_addr=not isinstance(what, Note)), row["reason"],
                self._rule(row["rule"]), seen.at, seen.at, 1, self._who(seen.who),
            )
        )  # fmt: skip
        names = [self.veil.name(to_text(name)) for name in seen.names]
        self.disk.put(KeptEvent(number, seen.at, role, self._veiled_row(row, names)))

    def learnt(self, item: Learnt) -> None:
        role = self._role_name(item.role)
        if role in self._without or not self._may_write():
            return
        chain = tuple(self.veil.name(to_text(name)) for name in item.chain)
        self.disk.put(
            KeptLearnt(
                role, self.veiled(item.name), self.veiled(item.addr, is_addr=True),
                self._rule(self._rule_text(RuleId(item.rule))), chain, item.first, item.last, 1,
                self._who(item.who),
            )
        )  # fmt: skip

    def veiled(self, what: Name | Addr, *, is_addr: bool = False) -> str:
        """How the disk calls a name or an address."""
        if is_addr:
            return self.veil.address(addr_text(Addr(what)))
        return self.veil.name(to_text(Name(what)))

    # for a thread that may wait

    def learnt_of(self, role: str, asked: Asked, most: int) -> list[KeptLearnt]:
        """What a name opened, or who opened an address."""
        column = "address" if asked.is_addr else "name"
        value = self.veiled(asked.to, is_addr=asked.is_addr)
        return self.disk.learnt(role, column, value, most)

    def refused_of(self, role: str, asked: Asked) -> KeptRefusals | None:
        """How often it was refused."""
        return self.disk.refused(role, self.veiled(asked.to, is_addr=asked.is_addr))

    def clear(self, item: KeptLearnt, asked: Asked) -> tuple[str, str]:
        """Its name and its address; what was asked for is no secret to who asked."""
        text = addr_text(Addr(asked.to)) if asked.is_addr else to_text(Name(asked.to))
        mine = self.veiled(asked.to, is_addr=asked.is_addr)
        name = text if item.name == mine else item.name
        return name, text if item.address == mine else item.address

    def _veiled_row(self, row: dict[str, Any], names: list[str]) -> dict[str, Any]:
        kept = {**row, "rule": self._rule(row["rule"])}
        if "name" in kept:
            kept["name"] = self.veil.name(kept["name"])
        if "names" in kept:
            kept["names"] = names
        kept["address"] = self.veil.address(kept["address"])
        if self.veil:
            kept.pop("text", None)  # it may say another name
        if not self._askers:
            kept.pop("pid", None)
            kept.pop("command", None)
        return kept

    def _rule(self, text: str) -> str:
        return "" if self.veil else text

    def _who(self, who: Who) -> Who:
        return who if self._askers else NOBODY

    def _may_write(self) -> bool:
        now = self._now()
        filled = self._tokens + (now - self._filled) / SECOND * _A_SECOND
        self._tokens, self._filled = min(float(_BURST), filled), now
        if self._tokens < 1:
            self.left_out += 1
            return False
        self._tokens -= 1
        return True
