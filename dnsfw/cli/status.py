"""`dnsfw status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dnsfw.cli.client import Client, NoDaemon, run_dir_option
from dnsfw.cli.remote_view import status_words
from dnsfw.cli.render import counts, duration, json_option, print_json, table
from dnsfw.cli.status_keys import FALLS, KEYS, WORDS, key_lines
from dnsfw.cli.upstream_view import upstream_lines
from dnsfw.errors import DatapathError

_LABEL = 11
_WIDTH = 80


@click.command("status", short_help="What is guarded, how, and what it counted.")
@click.option(
    "--require-enforcing", is_flag=True,
    help="Exit 3 unless the policy file is in force as written: every role enforcing, every "
    "wanted hook attached, no lockdown, no trial.",
)  # fmt: skip
@click.option("--keys", is_flag=True, help="Say what each key of --json means, and exit.")
@json_option
@run_dir_option
def status(require_enforcing: bool, keys: bool, as_json: bool, run_dir: str | None) -> None:
    """What is guarded, how, and what it counted. Exit 3 when dnsfw does not run.

    \b
      first line  whether what the policy refuses is refused; if not, why
      policy      the file in force (STALE: the file has mistakes since)
      remote      lists and policies over https, and their age
      listening   where questions (DNS) are answered; upstreams: of whom asked
      roles       questions asked and refused, addresses open or closed now
                  (grants), conversations (flows), packets refused (dropped)
      hooks       programs in the kernel, and where they are
      packets     what they decided, by the reason (kernel/README.md)
      dns         the questions that came to the daemon
      in kernel   those that never did: answered or refused in the kernel; and
                  why others were passed on to the daemon
      workers     processes that answer beside it (dns.workers)
      server      what sockets and disk lost; bugs that were survived (faults)

    Words in CAPITALS are for you to look at. The keys of --json are stable:
    they are added to, never renamed or removed; --keys explains each.
    """
    if keys:
        return print_json(dict(KEYS)) if as_json else click.echo("\n".join(key_lines()))
    try:
        state = Client(run_dir).ask("status")
    except NoDaemon:
        if as_json:
            from dnsfw.cli.left_wall import left_wall  # with what the daemon has

            left, armed, _ = left_wall(Client(run_dir).path.parent)
            print_json({"running": False, "wall_stands": left, "armed": armed})
        raise
    state.pop("ok")
    if as_json:
        print_json({"running": True, "wall_stands": True, **state})
    else:
        click.echo("\n".join(_lines(state)))
    if require_enforcing and (why := [*state["not_enforcing"], *state["not_as_written"]]):
        raise DatapathError(f"not enforcing: {'; '.join(why)}")


def _doing(state: dict[str, Any]) -> str:
    """The first line: nobody may take audit for enforcement (row 140)."""
    if not state["enforcing"]:
        return f"NOT ENFORCING: {'; '.join(state['not_enforcing'])}"
    if state["lockdown"] != "off":
        return "LOCKDOWN: nothing leaves"
    return "enforcing"


def _lines(state: dict[str, Any]) -> Iterator[str]:
    first, *more = _fold(f"dnsfw {state['version']}, {_doing(state)}".split(" "), " ", _WIDTH)
    yield first
    yield from (_field("", line) for line in more)
    yield _field("running", f"{duration(state['seconds'])}, pid {state['pid']}, {state['loop']}")
    yield _field("policy", f"{state['policy']} (default {state['default']})")
    if state["policy_stale"]:
        yield _field("STALE", "the file was not loaded; the policy before it is in force:")
        yield from (_field("", line) for line in state["policy_stale"].splitlines())
    yield from temporary_lines(state["temporary"])
    if "log" in state:  # not of a daemon of before
        yield from log_lines(state["log"])
    yield from remote_lines(state["remotes"])
    if state["trial"] is not None:
        left = duration(state["trial"])
        yield _field("TRIAL", f"undone in {left} unless `dnsfw confirm` comes")
    if state["lockdown"] != "off":
        yield _field("LOCKDOWN", f"{state['lockdown']}; `dnsfw lockdown off` ends it")
    if state["helper"]:
        yield from _wrapped("HELPER", state["helper"].split())
    if state["resolv_conf"]:
        yield from _wrapped("RESOLV", state["resolv_conf"].split())
    if (tamper := state["tamper"])["count"]:
        often = counts(tamper["count"], "time")
        told = f"{often}, last {duration(tamper['seconds_ago'])} ago: {tamper['last']}"
        yield from _wrapped("TAMPER", told.split())
    yield from _wrapped("listening", state["listen"], ", ")
    lines = [line.split() for line in upstream_lines(state.get("upstream_rows", []))]
    for number, words in enumerate(lines):
        yield from _wrapped("" if number else "upstreams", words)
    if not lines:
        yield from _wrapped("upstreams", state["upstreams"], ", ")
    if (takeover := state["takeover"])["namespaces"]:
        where = counts(takeover["namespaces"], "network namespace")
        lost = takeover["given_up"]
        given_up = f", {lost} given up" if lost else ""
        yield _field("takeover", f"port 53 leads here in {where}{given_up}")
    yield from _roles(state)
    yield from _hooks(state)
    yield from _packets(state)
    yield from _numbers("dns", state["dns"])
    yield from _kernel(state["kernel_answers"])
    yield from _workers(state.get("workers", []))  # not of a daemon of before
    yield from _numbers("server", state["server"])


def temporary_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What holds for a time, and for how long still."""
    for row in rows:
        text = f"{row['word']} {row['to']}" if row["to"] else "nothing is refused"
        role = row["role"] or "every role"
        why = f": {row['reason']}" if row["reason"] else ""
        told = f"{text}, {role}, {duration(row['seconds'])} left, by uid {row['by']}{why}"
        yield from _wrapped("PAUSED" if row["word"] == "pause" else "temporary", told.split())


def remote_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Each source over https; loudly what is not as it should be."""
    for row in rows:
        good = row["state"] == "good"
        yield from _wrapped("remote" if good else row["state"].upper(), status_words(row).split())


def log_lines(log: dict[str, Any]) -> Iterator[str]:
    """What is kept of who asked for what, and loudly why it is not."""
    names, history = log["names"], log["history"]
    if names is not None:
        hashed = ", hashed" if names["hash"] else ""
        lost = f", {names['lost']} lost" if names["lost"] else ""
        told = f"{names['names']} names in {names['directory']}{hashed}, "
        yield from _wrapped("log", f"{told}{counts(names['written'], 'line')}{lost}".split())
    if history is not None:
        lost = f", {history['lost']} lost" if history["lost"] else ""
        yield from _wrapped("history", f"{history['file']}{lost}".split())
    for wrong in dict.fromkeys([log["wrong"], *(w["wrong"] for w in (names, history) if w)]):
        if wrong:
            yield from _wrapped("NO LOG", wrong.split())


def _field(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}".rstrip()


def _roles(state: dict[str, Any]) -> Iterator[str]:
    """A row a role, and below it who has it."""
    head = ("role", "mode", "default", "queries", "refused", "grants", "flows", "dropped")
    rows = [
        (
            role["name"],
            "AUDIT" if role["mode"] == "audit" else role["mode"],
            role["default"],
            role["queries"],
            role["refused"] or (f"{role['audited']} would be" if role["audited"] else 0),
            role["grants"],
            role["flows"],
            role["packets"]["denied"],
        )
        for role in state["roles"]
    ]
    first, *lines = table(head, rows).splitlines()
    yield _field("roles", first)
    for role, line in zip(state["roles"], lines, strict=True):
        yield _field("", line)
        if role["subjects"]:
            yield from _below(role["subjects"], ", ")
        elsewhere = [where for where in role["hooks"] if where not in state["roles"][0]["hooks"]]
        if elsewhere:
            yield from _below(["judged on", *elsewhere])
    for text in state["absent"]:
        yield from _below(["waiting:", *text.split()])


def _below(words: list[str], comma: str = " ") -> Iterator[str]:
    """Words under a role's row, set in by two."""
    for line in _fold(words, comma, _WIDTH - _LABEL - 2):
        yield _field("", f"  {line}")


def _hooks(state: dict[str, Any]) -> Iterator[str]:
    """One line a place: a hook's name says little without where it is."""
    places: dict[str, list[str]] = {}
    for hook in state["hooks"]:
        lost = "" if hook["attached"] else " (LOST)"
        places.setdefault(hook["where"], []).append(hook["name"] + lost)
    label = "hooks"
    for where, names in places.items():
        yield from _wrapped(label, [f"{where}:", *names])
        label = ""


def _packets(state: dict[str, Any]) -> Iterator[str]:
    if not state["packets"]:
        return
    rows = [
        (reason, n["allowed"], n["denied"], n["audited"]) for reason, n in state["packets"].items()
    ]
    lines = table(("reason", "allowed", "denied", "audited"), rows).splitlines()
    for index, line in enumerate(lines):
        yield _field("" if index else "packets", line)


def _kernel(kernel: dict[str, Any]) -> Iterator[str]:
    """What was answered without the daemon; what came to it, and why."""
    if not kernel["on"]:
        yield _field("in kernel", "off: every question comes to the daemon")
        return
    told = [
        f"answered {kernel['answered']}", f"refused {kernel['refused']}",
        f"answers kept {sum(kernel['held'].values())}", f"{-(-kernel['bytes'] // 1024)} kB",
    ]  # fmt: skip
    yield from _wrapped("in kernel", told, ", ")
    if passed := [f"{FALLS.get(why, why)} {n}" for why, n in kernel["passed_on"].items()]:
        first = f"passed on to the daemon: {passed.pop(0)}"
        yield from (_field("", line) for line in _fold([first, *passed], ", ", _WIDTH - _LABEL))
    yield from (_field("", f"not on {lost}") for lost in kernel["missing"])


def _workers(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Each process that answers beside the daemon."""
    for number, row in enumerate(rows):
        again = f", restarted {counts(row['restarts'], 'time')}" if row["restarts"] else ""
        who = f"pid {row['pid']}" if row["pid"] else "NOT RUNNING, the daemon answers for it"
        starting = ", starting" if row["state"] == "starting" else ""
        told = f"{who}{starting}, answered {row['answered']}, handed on {row['handed_on']}{again}"
        yield from _wrapped("" if number else "workers", told.split(", "), ", ")


def _numbers(label: str, numbers: dict[str, Any]) -> Iterator[str]:
    told = [
        f"{WORDS.get(name, name.replace('_', ' '))} {value}"
        for name, value in numbers.items()
        if value and not name.endswith("_bytes")  # --json has all of them
    ]
    if told:
        yield from _wrapped(label, told, ", ")


def _wrapped(label: str, words: list[str], comma: str = " ", width: int = _WIDTH) -> Iterator[str]:
    """Words after a label, on as many lines as they need."""
    for line in _fold(words, comma, width - _LABEL):
        yield _field(label, line)
        label = ""


def _fold(words: list[str], comma: str, width: int) -> Iterator[str]:
    """Words on as many lines as they need."""
    line = ""
    for word in words:
        longer = f"{line}{comma if line else ''}{word}"
        if line and len(longer) > width - len(comma.rstrip()):
            yield line + comma.rstrip()
            line = word
        else:
            line = longer
    yield line
