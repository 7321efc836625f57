"""Turns kernel events and the engine's notes into happenings, for log and watchers.

A happening is a flat dictionary of plain values, safe to print as it is: names are
escaped by `to_text`, what a process calls itself by `safe`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Protocol

from dnsfw.datapath import abi
from dnsfw.engine.effects import Client, Note
from dnsfw.engine.engine import Engine
from dnsfw.model import Addr, Reason, RoleId, RuleId, Verdict, addr_text
from dnsfw.policy.policy import Policy
from dnsfw.server.escape import safe
from dnsfw.server.happenings import Digest, Watchers
from dnsfw.server.history import Happened, History
from dnsfw.server.kernel import EventSource
from dnsfw.server.kernel_refusals import Refused
from dnsfw.server.who_asks import NOBODY, Who
from dnsfw.wire.name import to_text

__all__ = [
    "Listener",
    "Reporter",
    "alike",
    "describe",
    "protocol_text",
    "reason_text",
    "role_text",
]

_PROTOCOLS = {
    1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp", 132: "sctp",
    136: "udplite",
}  # fmt: skip
_NAMES_SHOWN = 3
_HOST = "host"
_SOCKET = "sock-create"
_TO_SOMEBODY = frozenset({"refused", "audited", "filtered", "shared"})  # notes after a reply


def reason_text(reason: int) -> str:
    """`never-resolved`: the enum's word as people write it."""
    try:
        return Reason(reason).name.lower().replace("_", "-")
    except ValueError:
        return f"reason-{reason}"


def role_text(role: int) -> str:
    try:
        return abi.RoleId(role).name.lower()
    except ValueError:
        return str(role)


def protocol_text(proto: int) -> str:
    return _PROTOCOLS.get(proto, str(proto))


class Listener(Protocol):
    """Who hears every note and every event as it is, besides log and watchers."""

    def note(self, note: Note) -> None: ...

    def event(self, event: abi.Event) -> None: ...


class Reporter:
    """Everything that happened goes through here; it neither waits nor fails."""

    def __init__(
        self,
        engine: Engine,
        policy: Callable[[], Policy],
        digest: Digest,
        watchers: Watchers,
        upstreams: Sequence[object] = (),
        role_name: Callable[[int], str] = role_text,
        who: Callable[[Client | None], Who] = lambda client: NOBODY,
    ) -> None:
        self.role_name = role_name
        self.asking: Callable[[], Client | None] = lambda: None  # who is being refused
        self.by_kernel: Refused | None = None  # what is being told, if it is one
        self.listeners: list[Listener] = []
        self.counts: Counter[tuple[RoleId, str]] = Counter()  # names refused, audited, ...
        self.history = History(engine.last_names, who=who)
        self._upstreams = upstreams
        self._engine = engine
        self._policy = policy
        self._digest = digest
        self._watchers = watchers

    def refused(self, refused: Refused) -> None:
        """A name that the kernel refused by itself: it has counted it."""
        self.by_kernel = refused
        self.note(refused.note)
        self.by_kernel = None

    def note(self, note: Note) -> None:
        """Something the engine wants known. Costs little when nobody watches: a flood of
        refused queries comes through here.
        """
        if self.by_kernel is None:
            self.counts[note.role, note.kind] += 1
        for listener in self.listeners:
            listener.note(note)
        key = (note.kind, note.role, note.name, note.addr, note.rule, note.upstream)
        client = self.asking() if note.kind in _TO_SOMEBODY else None
        if client is not None and client.role != note.role:
            client = None
        who = self.by_kernel.who if self.by_kernel is not None else None
        number = self.history.happened(note, client, who)
        self._tell(key, lambda: self._of_note(note), number)

    def drain(self, events: EventSource) -> None:
        """Read the ring buffer: what the kernel refused since the last time."""
        for event in events.read():
            for listener in self.listeners:
                listener.event(event)
            # Our own self-test, and what only asks us to open doors, are no news.
            if event.role != abi.RoleId.PROBE and not asks_for_doors(event):
                number = self.history.happened(event)
                self._tell(alike(event), partial(self._of_event, event), number)

    def said(self, kind: str, text: str) -> None:
        """Something the daemon itself did or found."""
        self._tell((kind, text), lambda: {"kind": kind, "text": safe(text)})

    def row(self, what: Happened) -> dict[str, Any]:
        """One that was told before, as `watch` tells it."""
        return self._of_note(what) if isinstance(what, Note) else self._of_event(what)

    def rule_text(self, rule: RuleId | int) -> str:
        """A rule as its policy writes it; empty for the default and for nobody's."""
        if rule == abi.RuleId.BUILTIN:
            return "built in: metadata services"
        found = self._policy().rule(RuleId(rule))
        return safe(found.text) if found is not None else ""

    def _rule(self, rule: RuleId | int) -> dict[str, str]:
        """What decided, with the id that `dnsfw explain --rule` takes, and its line."""
        found = self._policy().rule(RuleId(rule))
        told = {"rule": self.rule_text(rule), "rule_id": "", "place": ""}
        if found is not None:
            told |= {"rule_id": f"{found.id:08x}", "place": str(found.where)}
        return told

    def _of_note(self, note: Note) -> dict[str, Any]:
        text = note.text
        if note.upstream is not None:
            text = f"upstream {self._upstreams[note.upstream]}: {text}"
        return {
            "kind": note.kind,
            "verdict": note.verdict.name.lower(),
            "reason": reason_text(note.reason),
            "role": self.role_name(note.role),
            "name": to_text(note.name) if note.name else "",
            **self._rule(note.rule),
            "address": addr_text(note.addr) if note.addr is not None else "",
            "text": safe(text),
        }

    def _of_event(self, event: abi.Event) -> dict[str, Any]:
        addr = Addr(event.addr)
        names = self._engine.last_names(RoleId(event.role), addr)[:_NAMES_SHOWN]
        reason = event.reason
        if reason == Reason.NEVER_RESOLVED and names:
            reason = Reason.EXPIRED  # the sweep was here before the packet: the table forgot
        try:
            hook = abi.Hook(event.hook).name.lower().replace("_", "-")
        except ValueError:
            hook = str(event.hook)
        return {
            "kind": "audited" if event.verdict == Verdict.ALLOW else "denied",
            "verdict": "allow" if event.verdict == Verdict.ALLOW else "deny",
            "reason": reason_text(reason),
            "role": self.role_name(event.role),
            "names": [to_text(name) for name in names],
            "address": addr_text(addr),
            "port": event.port,
            "protocol": protocol_text(event.proto),
            **self._rule(event.rule),
            "pid": event.pid,
            "command": safe(event.comm),
            "hook": hook,
        }

    def _tell(
        self, key: Hashable, happening: Callable[[], dict[str, Any]], number: int | None = None
    ) -> None:
        self._digest.add(key, lambda: describe(happening()))
        if self._watchers:
            numbered = {} if number is None else {"id": number}
            self._watchers.put({**numbered, "at": time.time(), **happening()})


def asks_for_doors(event: abi.Event) -> bool:
    """A socket that may come to ask: nothing was refused."""
    return event.hook == abi.Hook.SOCK_CREATE and event.reason == Reason.NO_DOOR


def alike(event: abi.Event) -> Hashable:
    """What makes two events one line: all but the time and the local port."""
    return (event.reason, event.verdict, event.role, event.addr, event.port, event.proto, event.pid)


def describe(happening: dict[str, Any]) -> str:
    """One line for people: what, to where, why, who, and as whom where it is not `host`."""
    kind = "would refuse" if happening["kind"] == "audited" else happening["kind"]
    role = happening.get("role", _HOST)
    whose = f", role {role}" if role != _HOST else ""
    if "port" in happening:
        where = _where(happening["address"], happening["port"], happening["protocol"])
        names = f" ({', '.join(happening['names'])})" if happening["names"] else ""
        who = happening["command"] or "?"
        pid = f"[{happening['pid']}]" if happening["pid"] else ""
        rule = f", rule {happening['rule']}" if happening["rule"] else ""
        if happening["hook"] == _SOCKET:  # refused, for what it sends names nobody
            where, names = "an MPTCP socket", ""
        return f"{kind} {where}{names}: {happening['reason']}{rule}, by {who}{pid}{whose}"
    if "verdict" in happening:
        parts = [happening["name"], happening["address"]]
        what = " ".join(part for part in parts if part)
        why = [happening["text"] or happening["reason"]]
        if happening["rule"]:
            why.append(f"rule {happening['rule']}")
        return f"{kind} {what}: {', '.join(why)}{whose}"
    return f"{kind}: {happening.get('text') or happening.get('count', '')}"


def _where(address: str, port: int, protocol: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}/{protocol}" if protocol in {"tcp", "udp"} else f"{host}/{protocol}"
