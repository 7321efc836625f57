from __future__ import annotations

import json

from click.testing import CliRunner

from dnsfw.cli.schema import schema
from dnsfw.policy.syntax import json_schema


def test_schema_prints_the_json_schema() -> None:
    result = CliRunner().invoke(schema, [])

    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()


def test_help_fits_eighty_columns() -> None:
    text = CliRunner().invoke(schema, ["--help"]).stdout

    assert max(map(len, text.splitlines())) <= 80
