"""The command line: `dnsfw COMMAND`, one file a command, imported when it is used.

Exit codes: 0 done, 1 the answer is no, 2 the operator's mistake, 3 the host lacks
something or enforcement is off. Errors go to stderr in words, never as a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from traceback import print_exc
from typing import NoReturn

import click

from dnsfw import __version__
from dnsfw.errors import ConfigError, DatapathError, PolicyError, WireError
from dnsfw.server.faults import place_of

__all__ = ["EXIT_HOST", "EXIT_MISTAKE", "EXIT_NO", "EXIT_OK", "cli", "main"]

EXIT_OK = 0
EXIT_NO = 1
EXIT_MISTAKE = 2
EXIT_HOST = 3
_EXIT_INTERRUPTED = 130  # what a shell reports of Ctrl-C

# In the order of --help. Each lives in the module of its name.
COMMANDS = {
    "Run": {
        "up": "Start the firewall, in the foreground.",
        "arm": "Put the wall up at boot, without the daemon.",
        "run": "One command under guard, and what it was refused.",
        "enroll": "Give a running process a role.",
        "down": "Remove everything dnsfw put into the kernel.",
        "confirm": "Keep what `up --try` started.",
        "reload": "Put the policy file in force and print what changes.",
        "allow": "Allow a destination for a time.",
        "deny": "Deny a destination for a time.",
        "pause": "Refuse nothing for a time.",
        "lockdown": "Let nothing out, or end that.",
    },
    "Look": {
        "status": "What is guarded, how, and what it counted.",
        "grants": "Which addresses are open or closed now, and why.",
        "flows": "Conversations that were allowed.",
        "watch": "What is refused, as it happens.",
        "top": "Who asks and is refused most, now.",
        "query": "Look a name up through the policy.",
        "doctor": "What this host can and cannot do.",
    },
    "Policy (no root needed)": {
        "check": "Every mistake of a policy file at once.",
        "test": "The tests of a policy, one line each.",
        "explain": "The verdict on a destination, and the rule that gave it.",
        "diff": "What changes from one policy to another, and for whom.",
        "replay": "Everything a log has seen, judged by a policy.",
        "learn": "The smallest policy for what was observed.",
        "import": "Another tool's policy, as one of ours.",
        "export": "The policy in another tool's format.",
        "schema": "The JSON Schema of policy files.",
    },
}


class _Commands(click.Group):
    """Imports a command's module when it is asked for: `check` must not load the daemon."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for group in COMMANDS.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        word = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        found: click.Command = getattr(import_module(f"dnsfw.cli.{word}"), word)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the command that was probably meant."""
        if args and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            if args[0] not in known:
                from difflib import get_close_matches  # only who errs pays for it

                if near := get_close_matches(args[0], known, n=1, cutoff=0.6):
                    ctx.fail(f"No such command '{args[0]}'; did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, group in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(group.items()))


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Exit codes: 0 done, 1 the answer is no, 2 a mistake in what was asked, "
    "3 the host lacks something or enforcement is off.",
)
@click.version_option(__version__, prog_name="dnsfw", message="%(prog)s %(version)s")
def cli() -> None:
    """An egress firewall that understands names.

    \b
    To try it    sudo dnsfw run --allow example.com -- curl http://example.com
    To guard     sudo dnsfw up --try 60s       (undone unless: dnsfw confirm)
    To ask why   dnsfw explain example.com:443
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; the edge of the process, where every error becomes words."""
    sys.exit(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        code = cli.main(argv, prog_name="dnsfw", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else EXIT_OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit:  # click's answer to a broken pipe, as in `dnsfw grants | head`
        return EXIT_OK
    except click.ClickException as error:
        error.show(sys.stderr)
        return EXIT_MISTAKE
    except (click.Abort, KeyboardInterrupt):
        return _EXIT_INTERRUPTED
    except PolicyError as error:
        _complain(str(error))
        return EXIT_MISTAKE
    except (ConfigError, WireError) as error:
        _complain(f"dnsfw: {error}")
        return EXIT_MISTAKE
    except DatapathError as error:
        _complain(f"dnsfw: {error}")
        return EXIT_HOST
    except BrokenPipeError:  # the same, at the last flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        _complain(f"dnsfw: {_internal(error)}")
        return EXIT_HOST


def _complain(text: str) -> None:
    click.echo(text, err=True)


def _internal(error: BaseException) -> str:
    """A bug in one line; the traceback only for who asks for it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if os.environ.get("DNSFW_DEBUG"):
        print_exc()
    return (
        f"internal error: {type(error).__name__}: {error} ({place_of(error)}); "
        "please report it with the output of DNSFW_DEBUG=1"
    )
