"""`dnsfw enroll`."""

from __future__ import annotations

import click

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import counts, json_option, print_json


@click.command("enroll", short_help="Give a running process a role.")
@click.option("--role", metavar="ROLE", required=True, help="The role; `host` ends an enrolment.")
@click.option("--pid", metavar="PID", type=int, required=True, help="The process.")
@click.option(
    "--force", is_flag=True,
    help="Even if it belongs to a systemd unit whose cgroup is not delegated.",
)  # fmt: skip
@json_option
@run_dir_option
def enroll(role: str, pid: int, force: bool, as_json: bool, run_dir: str | None) -> None:
    """Give a running process a role: it is moved into a cgroup of the role, with its
    threads and children, and whatever it starts later is there too.

    The sockets that it holds get the role; connections that the role refuses are ended.
    A subject of the policy is better for what starts again: a unit, a user, a program.
    """
    done = Client(run_dir).ask("enroll", role=role, pid=pid, force=force)
    if as_json:
        print_json({key: done[key] for key in _SHOWN})
        return
    for note in done["notes"]:
        click.echo(f"note: {note}", err=True)
    children = len(done["pids"]) - 1
    also = f" with {counts(children, 'child', 'children')}" if children else ""
    click.echo(f"process {pid}{also} is {done['role']} now, in {done['cgroup']}")
    click.echo(
        f"{counts(done['sockets'], 'socket')} of it, {counts(done['ended'], 'connection')} ended"
    )


_SHOWN = ("role", "cgroup", "pids", "sockets", "ended", "notes")
