"""`dnsfw schema`: the JSON Schema of a policy file."""

from __future__ import annotations

import click

from dnsfw.cli.render import print_json
from dnsfw.policy.syntax import json_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of a policy file, for editors and CI.

    \b
    Name it in a policy's first line to get completion in an editor:
    # yaml-language-server: $schema=./dnsfw.schema.json
    """
    print_json(json_schema())
