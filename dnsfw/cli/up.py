"""`dnsfw up`: the firewall in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dnsfw.cli.client import run_dir_option
from dnsfw.cli.render import seconds_of
from dnsfw.server.hurry import hurry
from dnsfw.server.options import Options, run_dir

F = TypeVar("F", bound=Callable[..., Any])

_GUARD = (
    click.option(
        "--policy", metavar="FILE", type=click.Path(),
        help="[default: $DNSFW_POLICY, /etc/dnsfw/policy.yaml, the shipped starter]",
    ),
    click.option(
        "--cgroup", metavar="PATH", type=click.Path(),
        help="Guard the sockets of this cgroup and below.",
    ),
    click.option(
        "--interface", "interfaces", metavar="NAME", multiple=True,
        help="Guard what leaves by this interface. May be repeated.",
    ),
    click.option(
        "--backend", type=click.Choice(["libbpf", "bcc"]), default="libbpf", show_default=True,
        help="Load the shipped object, or compile the same source on this host.",
    ),
    click.option(
        "--degraded", is_flag=True,
        help="Start although a wanted hook cannot be attached. `status` says which.",
    ),
)  # fmt: skip


def guard_options(command: F) -> F:
    """What `up` and `arm` must agree on for the one to take over from the other."""
    for option in reversed(_GUARD):
        command = option(command)
    return command


@click.command("up", short_help="Start the firewall, in the foreground.")
@guard_options
@click.option(
    "--listen", metavar="ADDR:PORT", multiple=True,
    help="Answer DNS here. May be repeated.  [default: dns.listen of the policy]",
)  # fmt: skip
@click.option(
    "--upstream", "upstreams", metavar="WHERE", multiple=True,
    help="Ask this resolver: `9.9.9.9`, `tls://9.9.9.9#dns.quad9.net`, "
    "`https://…`; `system` is the host's own. May be repeated.  "
    "[default: dns.upstreams of the policy]",
)  # fmt: skip
@click.option(
    "--try", "trial", metavar="TIME",
    help="Undo everything after TIME (60s, 5m), unless `dnsfw confirm` comes.",
)  # fmt: skip
@click.option(
    "--watch", is_flag=True,
    help="Reload when the files of the policy change; a mistake leaves the last good policy.",
)  # fmt: skip
@click.option(
    "--dns-only", is_flag=True,
    help="Refuse names, and nothing else: no BPF, no root where the port allows it.",
)  # fmt: skip
@click.option(
    "--enroll-socket", metavar="PATH",
    help="Take enrolment requests of an older tool here; see policies/README.md.",
)  # fmt: skip
@run_dir_option
def up(
    policy: str | None,
    cgroup: str | None,
    interfaces: tuple[str, ...],
    listen: tuple[str, ...],
    upstreams: tuple[str, ...],
    trial: str | None,
    watch: bool,
    backend: str,
    degraded: bool,
    dns_only: bool,
    enroll_socket: str | None,
    run_dir: str | None,
) -> None:
    """Start the firewall, in the foreground. Prints one `ready` line when it stands.

    Without --cgroup and --interface it guards the host: the root cgroup and every
    interface but loopback. With --interface alone nothing can refuse a connect() at
    once: what is denied is dropped, and the program waits for its time-out.

    Ctrl-C and `dnsfw down` remove everything. SIGTERM and a crash leave the wall up;
    the next start takes it over without a gap. SIGHUP reloads the policy.

    \b
    Examples:
      dnsfw up --try 60s                        the host, undone unless confirmed
      dnsfw up --cgroup /system.slice           services, and no login shell
      dnsfw up --cgroup /ci --interface eth0    a build, its raw sockets too
      dnsfw up --policy ~/.config/secexit/policy.json    another tool's file
      dnsfw up --dns-only --listen 127.0.0.1:5353    NOTHING stops addresses
    """
    if trial is None:
        hurry(_run_dir(run_dir))
    options = Options(
        policy=policy,
        listen=listen,
        upstreams=upstreams,
        cgroup=cgroup,
        interfaces=interfaces,
        backend=backend,
        degraded=degraded,
        trial=seconds_of(trial) if trial is not None else None,
        enroll_socket=Path(enroll_socket).absolute() if enroll_socket is not None else None,
        run_dir=_run_dir(run_dir),
        watch=watch,
        dns_only=dns_only,
    )
    from dnsfw.server.process import serve  # the daemon, and nobody else, pays for it

    serve(options)


_run_dir = run_dir
