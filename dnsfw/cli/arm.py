"""`dnsfw arm`: the wall before the daemon."""

from __future__ import annotations

import click

from dnsfw.cli.client import run_dir_option
from dnsfw.cli.up import guard_options
from dnsfw.server.options import Options, run_dir


@click.command("arm", short_help="Put the wall up at boot, without the daemon.")
@guard_options
@run_dir_option
def arm(
    policy: str | None,
    cgroup: str | None,
    interfaces: tuple[str, ...],
    backend: str,
    degraded: bool,
    run_dir: str | None,
) -> None:
    """Put the wall up and end: for the early boot, before there is a network.

    Address rules hold at once. Names stay closed until `dnsfw up` (with the same
    options) takes the wall over, without a gap: until then nobody answers them.
    Without --cgroup and --interface it guards the host. Interfaces that appear
    later are guarded by `up`; sockets of the cgroup are guarded on all of them.

    A wall that stands already is left as it is.
    """
    from dnsfw.server.arm import arm as put_up  # BPF, netlink: not for `--help`
    from dnsfw.server.removal import wall_stands
    from dnsfw.server.wall import open_wall

    options = Options(
        policy=policy,
        cgroup=cgroup,
        interfaces=interfaces,
        backend=backend,
        degraded=degraded,
        run_dir=_run_dir(run_dir),
        answers=False,  # nobody is there who could say what is still true
    )
    done = put_up(options, open_wall, wall_stands())
    if done.stood:
        click.echo("armed already: a wall stands, and was left as it is")
        return
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    for lost in done.missing:
        click.echo(f"degraded: {lost}", err=True)
    for subject in done.unassigned:
        click.echo(f"not there yet: {subject}", err=True)
    for connection in done.ended:
        click.echo(connection)
    click.echo(f"armed with {done.policy}: names are closed until `dnsfw up` takes over")


_run_dir = run_dir
