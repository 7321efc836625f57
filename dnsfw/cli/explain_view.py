"""The lines of `dnsfw explain` for one destination, from a file's row or from the daemon's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from dnsfw.cli.render import counts, duration
from dnsfw.policy.problems import Position

__all__ = ["explained_lines", "rule_lines"]

REASONS = {
    "by-name": "a name rule",
    "name-default": "the default: no rule names it",
    "bad-label": "its octets: labels hold letters, digits, - and _ only",
    "address-rule": "an address rule",
    "builtin": "a built-in deny: metadata",
    "loopback": "loopback is open",
    "loopback-other": "the role's loopback",
    "never-resolved": "the default: no allowed name has opened it",
    "default": "the default: no rule names it",
    "qtype": "`qtypes`, below",
}
TYPES = {
    "all": "every type",
    "normal": "what hosts use; not NULL or private types",
    "strict": "A, AAAA, CNAME, HTTPS, SVCB, SRV, PTR",
}
_SHOWN = 8
_TODAY = 43_200  # seconds: a time of day that may be taken for another day's is none


def explained_lines(row: dict[str, Any]) -> Iterator[str]:
    """What decides first; then, of a daemon, what is open and what it remembers."""
    if row.get("live"):
        stale = ", whose file has changed and was not loaded" if row["stale"] else ""
        yield f"live: the running daemon, by {row['policy']}{stale}"
    if event := row.get("event"):
        what = event.get("text") or event["reason"]
        yield f"event {event['id']} at {_clock(event['at'])}: {event['kind']}, {what}"
        if event.get("names"):
            yield f"  held   by {', '.join(event['names'])} at that moment"
        if event.get("asker"):
            yield f"  asker  {event['asker']}"
    yield from _judged(row)
    if row.get("live"):
        yield from _live(row)


def _judged(row: dict[str, Any]) -> Iterator[str]:
    told: set[str] = set()
    yield f"{row['destination']}: {_word(row['verdict'])}"
    by_type = row["reason"] == "qtype"  # the rule allows the name, not the question
    if by_type or not row["rule"]:
        yield f"  by     {REASONS[row['reason']]}"
    if row["rule"]:
        yield f"  {'name' if by_type else 'by':<6} {row['rule']['text']}"
        yield f"         {_place(row['rule'])}"
    if row["runner_up"]:
        yield f"  not    {row['runner_up']['text']}"
        yield f"         {_place(row['runner_up'])}"
        yield f"         {row['why']}"
    if len(row["shares"]) > 1:
        for share in row["shares"]:
            ports = share["ports"] if share["rule"] else "the rest"
            line = f"  ports  {ports}: {_word(share['verdict'])}"
            if line not in told:  # a share of many ranges comes in pieces
                yield line
            told.add(line)
    if questions := row.get("questions"):
        yield from _questions(questions)
    for note in row["notes"]:
        yield f"  note   {note}"


def rule_lines(row: dict[str, Any]) -> Iterator[str]:
    """One rule, and whose policy it is of."""
    rule = row["rule"]
    whose = "the running daemon, by" if row["live"] else "no daemon asked: by"
    stale = ", whose file has changed and was not loaded" if row.get("stale") else ""
    yield f"{whose} {row['policy']}{stale}"
    yield f"rule {rule['id']}: {rule['text']}"
    yield f"  at     {_place(rule)}"
    yield f"  role   {rule['role']}"
    if rule["note"]:
        yield f"  note   {rule['note']}"


def _questions(told: dict[str, Any]) -> Iterator[str]:
    """What may be asked of a name that is allowed, and how much names may say."""
    meaning = f": {TYPES[told['types']]}" if told["types"] in TYPES else ""
    if told["type"]:
        verdict = "asked for" if told["asked"] else "not asked for: the answer is empty"
        yield f"  type   {told['type']} is {verdict}"
    if told["type"] or told["types"] != "all":
        yield f"  types  {told['types']}, by the {told['types_of']}{meaning}"
    if told["guard"]:
        yield f"  guard  {told['guard']}, by the {told['guard_of']}"
        if told["would"]:
            word = "would be held up" if told["held"] else "would be told of, and asked"
            yield f"         the name {word} now:"
            yield f"         {told['would']}"


def _live(row: dict[str, Any]) -> Iterator[str]:
    for grant in row["grants"][:_SHOWN]:
        names = ", ".join(grant["names"][:2]) or "a name that is not remembered"
        word = "open" if grant["verdict"] == "allow" else "closed"
        left = duration(grant["seconds"])
        yield f"  now    {grant['address']} {grant['ports']} {word} for {left}: {names}"
    opened = [grant for grant in row["grants"] if grant["verdict"] == "allow"]
    still = {(name, grant["address"]) for grant in opened for name in grant["names"]}
    for item in row["learnt"][:_SHOWN]:
        # The disk does not know: what an earlier daemon opened may be open still.
        live = (item["seconds"] or 0) > 0 or (item["name"], item["address"]) in still
        over = "" if live else ", over by now"
        way = "".join(f" -> {name}" for name in item["chain"])
        yield f"  learnt {item['name']}{way} -> {item['address']}{over}"
        asker = item["asker"] or "dnsfw itself"
        when = f"{_clock(item['first'])}, last {_clock(item['last'])}"
        yield f"         first {when}, {counts(item['times'], 'time')}"
        yield f"         last for {asker}"
        if item["rule"]:
            yield f"         {item['rule']}"
    if refused := row["refused"]:
        first, last = _clock(refused["first"]), _clock(refused["last"])
        often = counts(refused["count"], "time")
        yield f"  told   {often}: {refused['reason']}, first {first}, last {last}"
        if refused["asker"]:
            yield f"         last to {refused['asker']}"
    if row.get("kernel"):
        yield from _kernel(row["kernel"])
    if row["flows"]:
        yield f"  flows  {row['flows']} under way"
    if (count := row.get("counters")) and count["packets"]:
        asked = f"{counts(count['queries'], 'query', 'queries')}, {count['refused']} refused"
        allowed, denied = count["packets"]["allowed"], count["packets"]["denied"]
        sent = f"packets {allowed} allowed, {denied} denied"
        yield f"  role   {row['role']} in all: {asked}; {sent}"


def _kernel(row: dict[str, Any]) -> Iterator[str]:
    """Whether it is answered without the daemon."""
    for held in row["held"][:_SHOWN]:
        flags = "".join(f", {flag.upper()}" for flag in ("do", "cd") if held[flag])
        word = "refuses" if held["refusal"] else "answers"
        left = "" if held["refusal"] else f"{duration(held['seconds'])} left, "
        yield f"  kernel {word} {held['type']}{flags}: {left}{counts(held['hits'], 'hit')}"
    if row["unasked"]:
        yield "  kernel refuses it unasked, by its table of suffixes"
    if row["why"]:
        yield f"  kernel not there: {row['why']}"


def _word(verdict: str) -> str:
    return "allowed" if verdict == "allow" else "denied"


def _place(rule: dict[str, Any]) -> str:
    return str(Position(rule["file"], rule["line"], rule["column"]))


def _clock(at: float) -> str:
    """With the day, where it was another."""
    form = "%H:%M:%S" if time.time() - at < _TODAY else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, time.localtime(at))
