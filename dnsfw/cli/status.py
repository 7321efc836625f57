"""`dnsfw status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dnsfw.cli.client import Client, NoDaemon, run_dir_option
from dnsfw.cli.render import duration, json_option, print_json, table
from dnsfw.errors import DatapathError
from dnsfw.server.removal import wall_stands

_LABEL = 11
_LEFT = (
    "the daemon does not run; the wall it left stands and opens nothing new. "
    "`sudo dnsfw up` (with the same options) takes it over, `sudo dnsfw down` removes it"
)


@click.command("status", short_help="What is guarded, how, and what it counted.")
@click.option(
    "--require-enforcing", is_flag=True,
    help="Exit 3 unless the policy is enforced by every wanted hook (audit mode is not).",
)  # fmt: skip
@json_option
@run_dir_option
def status(require_enforcing: bool, as_json: bool, run_dir: str | None) -> None:
    """What is guarded, how, and what it counted. Exit 3 when dnsfw does not run."""
    try:
        state = Client(run_dir).ask("status")
    except NoDaemon as error:
        left = wall_stands()
        if as_json:
            print_json({"running": False, "wall_stands": left})
        raise (DatapathError(_LEFT) if left else error) from None
    state.pop("ok")
    if as_json:
        print_json({"running": True, "wall_stands": True, **state})
    else:
        click.echo("\n".join(_lines(state)))
    if require_enforcing and not state["enforcing"]:
        raise DatapathError(f"not enforcing: {_why_not(state)}")


def _why_not(state: dict[str, Any]) -> str:
    if state["missing"]:
        return "degraded, " + "; ".join(state["missing"])
    lost = [f"{hook['name']} on {hook['where']}" for hook in state["hooks"] if not hook["attached"]]
    if lost:
        return "not attached: " + ", ".join(lost)
    return f"mode is {state['mode']}" if state["hooks"] else "no hook is attached"


def _lines(state: dict[str, Any]) -> Iterator[str]:
    doing = "enforcing" if state["enforcing"] else f"NOT ENFORCING: {_why_not(state)}"
    yield f"dnsfw {state['version']}, {doing}"
    yield _field("running", f"{duration(state['seconds'])}, pid {state['pid']}, {state['loop']}")
    yield _field("policy", f"{state['policy']} (default {state['default']})")
    if state["policy_stale"]:
        yield _field("STALE", "the file was not loaded; the policy before it is in force:")
        yield from (_field("", line) for line in state["policy_stale"].splitlines())
    if state["trial"] is not None:
        left = duration(state["trial"])
        yield _field("TRIAL", f"undone in {left} unless `dnsfw confirm` comes")
    if state["lockdown"] != "off":
        yield _field("LOCKDOWN", f"{state['lockdown']}; `dnsfw lockdown off` ends it")
    yield _field("listening", ", ".join(state["listen"]))
    yield _field("upstreams", ", ".join(state["upstreams"]))
    yield from _hooks(state)
    yield from _packets(state)
    yield from _numbers("dns", state["dns"])
    yield from _numbers("server", state["server"])


def _field(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}".rstrip()


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


def _numbers(label: str, numbers: dict[str, Any]) -> Iterator[str]:
    told = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in numbers.items()
        if value and not name.endswith("_bytes")  # --json has all of them
    ]
    if told:
        yield from _wrapped(label, told, ", ")


def _wrapped(label: str, words: list[str], comma: str = " ", width: int = 80) -> Iterator[str]:
    """Words after a label, on as many lines as they need."""
    line = ""
    for word in words:
        longer = f"{line}{comma if line else ''}{word}"
        if line and len(longer) > width - _LABEL - len(comma.rstrip()):
            yield _field(label, line + comma.rstrip())
            label, line = "", word
        else:
            line = longer
    yield _field(label, line)
