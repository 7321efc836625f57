"""`dnsfw run`: one command under guard."""

from __future__ import annotations

import time

import click


@click.command(
    "run",
    short_help="One command under guard.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--policy", metavar="FILE",
    help="The rules of this file; those of --allow and --deny add to them.  [default, without "
    "--allow, --deny, --default and --audit: as for `up`]",
)  # fmt: skip
@click.option(
    "--allow", metavar="DEST", multiple=True,
    help="Allow this name, address or prefix. May be repeated.",
)  # fmt: skip
@click.option("--deny", metavar="DEST", multiple=True, help="Refuse it. May be repeated.")
@click.option(
    "--default", type=click.Choice(["deny", "allow"]),
    help="What no rule names.  [default: deny with --allow, or --audit alone; allow with "
    "--deny alone]",
)  # fmt: skip
@click.option("--role", metavar="NAME", help="Use the rules of this role of the policy file.")
@click.option("--audit", is_flag=True, help="Refuse nothing: judge, and say at the end.")
@click.option(
    "--report", metavar="FILE", help="Write what was seen to FILE.json or FILE.yaml."
)
@click.option("--user", metavar="USER[:GROUP]", help="Run it as this user.")
@click.option(
    "--upstream", "upstreams", metavar="WHERE", multiple=True,
    help="Ask this resolver, as in `up`.  [default: what /etc/resolv.conf names]",
)  # fmt: skip
@click.option(
    "--net", type=click.Choice(["host", "private"]), default="host", show_default=True,
    help="private: a network namespace of its own behind NAT.",
)  # fmt: skip
@click.option("--no-raw", is_flag=True, help="No raw, packet, XDP or vsock sockets.")
@click.option("--no-escape", is_flag=True, help="No way into another cgroup, for root too.")
@click.option(
    "--backend", type=click.Choice(["libbpf", "bcc"]), default="libbpf", hidden=True
)
@click.option("--quiet", "-q", is_flag=True, help="No summary at the end.")
@click.option("--verbose", "-v", is_flag=True, help="Say each refusal at once, and counts.")
@click.pass_context
def run(
    ctx: click.Context,
    command: tuple[str, ...],
    policy: str | None,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    default: str | None,
    role: str | None,
    audit: bool,
    report: str | None,
    user: str | None,
    upstreams: tuple[str, ...],
    net: str,
    no_raw: bool,
    no_escape: bool,
    backend: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run COMMAND, and everything it starts, behind a wall of its own.

    \b
    sudo dnsfw run --allow '*.pypi.org:443' --allow '*.pythonhosted.org:443' \\
        -- pip download requests           only these names
    sudo dnsfw run --allow 10.20.0.0/16:5432 -- ./migrate
                                           only these prefixes
    sudo dnsfw run --default deny -- make test
                                           no outbound network at all
    sudo dnsfw run --audit --report seen.yaml -- ./build.sh
    dnsfw learn --report seen.yaml         what it needs, as a policy

    Nobody else is touched, and no daemon is needed. DNS is taken over for the
    command alone. It begins when the wall stands, and when it ends, everything it
    started ends too. Signals, terminal and exit status are the command's own; at
    the end, what was refused is said on stderr.

    \b
    Root inside has ways past the wall: raw frames, other cgroups. Close them by
    --user, or --no-raw and --no-escape, or --net private. See the README.

    Exit status: the command's; 128+n after signal n; 127 not found, 126 not
    executable; 2 and 3 are dnsfw's own, and then nothing ran.
    """
    if not command:
        raise click.UsageError("name a command: dnsfw run --allow example.com:443 -- curl ...")
    from dnsfw.server.run_options import RunOptions
    from dnsfw.server.run_policy import RunRules
    from dnsfw.server.runner import run_command  # BPF and the engine: only who runs pays

    options = RunOptions(
        command=command,
        rules=RunRules(policy, role, allow, deny, default, audit),
        upstreams=upstreams,
        report=report,
        user=user,
        net="private" if net == "private" else "host",
        no_raw=no_raw,
        no_escape=no_escape,
        quiet=quiet,
        verbose=verbose,
        backend=backend,
    )
    ctx.exit(run_command(options, time.time))
